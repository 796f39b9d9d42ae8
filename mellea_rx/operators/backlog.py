"""Buffers of pull readers, one for each `overflow=` policy of `to_async_iterator`."""

from __future__ import annotations

from collections import deque
from typing import Any, Generic, Literal, Protocol, TypeVar, cast

from mellea_rx.core.arguments import require_choice, require_positive_int
from mellea_rx.core.broadcast import Buffer
from mellea_rx.core.chunk import Chunk
from mellea_rx.core.fold import Fold
from mellea_rx.errors import InvalidInputError
from mellea_rx.operators.tagged import Tagged

__all__ = ["BoundedBacklog", "Overflow", "backlog"]

T = TypeVar("T")

Overflow = Literal["coalesce", "block", "drop_oldest", "error"]


class BoundedBacklog(Buffer[T], Protocol[T]):
    """A buffer that may have a bound."""

    @property
    def is_full(self) -> bool:
        """Whether the buffer has no room for another item."""
        ...

    def __len__(self) -> int: ...


def backlog(overflow: Overflow, maxsize: int | None) -> BoundedBacklog[Any]:
    """Make the buffer of an overflow policy.

    Args:
        overflow: "coalesce" joins the items that can be joined. The other policies keep items as
            they are.
        maxsize: The largest number of waiting items; None for no bound.

    Raises:
        InvalidInputError: `overflow` is unknown, or is "coalesce" and `maxsize` is given.
    """
    require_choice("overflow", overflow, Overflow)
    if overflow == "coalesce":
        if maxsize is not None:
            raise InvalidInputError(
                'maxsize is for the other kinds: "coalesce" joins the items that wait'
            )
        return _Joined()
    return _Queue(
        None if maxsize is None else require_positive_int("maxsize", maxsize),
        overflow == "drop_oldest",
    )


class _Queue(Generic[T]):
    def __init__(self, maxsize: int | None, drops: bool) -> None:
        self._items: deque[T] = deque(maxlen=maxsize if drops else None)
        self._maxsize = None if drops else maxsize

    @property
    def is_full(self) -> bool:
        return self._maxsize is not None and len(self._items) >= self._maxsize

    def add(self, item: T) -> None:
        self._items.append(item)

    def take(self) -> T:
        return self._items.popleft()

    def __len__(self) -> int:
        return len(self._items)

    def __bool__(self) -> bool:
        return bool(self._items)


class _Joined:
    """Joins texts, chunks, and chunks of one source; any other item waits as it is.

    At most one item of each type, and of each source, waits, so that the memory in use is that of
    the text itself.
    """

    is_full = False

    def __init__(self) -> None:
        self._waiting: deque[_Joint] = deque()
        self._open: dict[object, _Joint] = {}

    def add(self, item: object) -> None:
        key = _key(item)
        joint = self._open.get(key) if key is not None else None
        if joint is None:
            joint = _Joint(item, key)
            self._waiting.append(joint)
            if key is not None:
                self._open[key] = joint
        else:
            joint.add(item)

    def take(self) -> Any:
        joint = self._waiting.popleft()
        self._open.pop(joint.key, None)
        return joint.item()

    def __len__(self) -> int:
        return len(self._waiting)

    def __bool__(self) -> bool:
        return bool(self._waiting)


class _Joint:
    """Items that are joined into one. A single item stays as it is."""

    __slots__ = ("_first", "_fold", "key")

    def __init__(self, first: object, key: object) -> None:
        self.key = key
        self._first = first
        self._fold: Fold | None = None

    def add(self, item: object) -> None:
        if self._fold is None:
            self._fold = Fold()
            self._fold.add(_chunk(self._first))
        self._fold.add(_chunk(item))

    def item(self) -> object:
        if self._fold is None:
            return self._first
        whole = self._fold.take()
        if isinstance(self._first, Tagged):
            return Tagged(self._first.index, self._first.source, whole)
        return whole if isinstance(self._first, Chunk) else whole.text


def _key(item: object) -> object:
    """Return a key that is equal for items that can be joined; None for any other item."""
    if isinstance(item, Tagged):
        return item.index
    return type(item) if isinstance(item, (str, Chunk)) else None


def _chunk(item: object) -> Chunk:
    if isinstance(item, Tagged):
        return item.chunk
    return item if isinstance(item, Chunk) else Chunk(cast("str", item))
