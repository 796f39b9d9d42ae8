"""Observables as iterators: `to_async_iterator` and `to_iterator`, with bounded buffers."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Generic, Literal, Protocol, Self, TypeVar, cast

from reactivex import Observable
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.scheduler import EventLoopScheduler

from mellea_rx.core.runtime.delivery import running_loop
from mellea_rx.core.runtime.engine import engine, engine_loop
from mellea_rx.core.runtime.stored_errors import raisable
from mellea_rx.core.runtime.waiting import Pending
from mellea_rx.core.streams.broadcast import Buffer
from mellea_rx.core.streams.buffers import ChunkAccumulator
from mellea_rx.core.streams.reader import PullReader
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.validation import require_choice, require_positive_int
from mellea_rx.errors import BackpressureError, BlockingWaitError, InvalidInputError
from mellea_rx.operators.items import Tagged, is_retraction

T = TypeVar("T")

Overflow = Literal["coalesce", "block", "drop_oldest", "error"]


class BoundedBacklog(Buffer[T], Protocol[T]):
    """A buffer that may have a bound."""

    @property
    def is_full(self) -> bool:
        """Whether the buffer is full."""
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
                'maxsize= has no meaning with overflow="coalesce", which joins waiting items'
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
        if is_retraction(item):  # text after it must not be joined with text before it
            self._open.clear()
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
        self._fold: ChunkAccumulator | None = None

    def add(self, item: object) -> None:
        if self._fold is None:
            self._fold = ChunkAccumulator()
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
    if is_retraction(item):
        return None
    if isinstance(item, Tagged):
        return item.index
    return type(item) if isinstance(item, (str, Chunk)) else None


def _chunk(item: object) -> Chunk:
    if isinstance(item, Tagged):
        return item.chunk
    return item if isinstance(item, Chunk) else Chunk(cast("str", item))


END: Any = object()
"""The result of a read at the end."""


class Channel(PullReader[T]):
    """An observer that keeps items until its reader takes them.

    A read returns the next item, or `END`; it raises the source's error. The first read subscribes.

    Args:
        source: Subscribed to by the first read.
        overflow: The treatment of an item while `maxsize` others wait.
        maxsize: How many may wait; None for any number.

    Raises:
        InvalidInputError: `overflow` or `maxsize` cannot be used.
    """

    REFUSAL = "two readers wait in one iterator: make one for each, or let one read"

    def __init__(self, source: Observable[T], overflow: Overflow, maxsize: int | None) -> None:
        super().__init__()
        self._source: Observable[T] | None = source
        self._blocks = overflow == "block"
        self._backlog: BoundedBacklog[Any] = backlog(overflow, maxsize)
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)  # of which a source that blocks waits
        self._subscription = SingleAssignmentDisposable()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False
        self._error: Exception | None = None

    # The source's side.

    def _on_next(self, item: T) -> None:
        with self._lock:
            if self._blocks and running_loop() is None:
                self._changed.wait_for(lambda: self._ended or not self._backlog.is_full)
            if self._ended:
                return
            error = self._refusal()
            if error is None:
                self._backlog.add(item)
            else:
                self._ended, self._error = True, error
        self.wake()
        if error is not None:
            self._subscription.dispose()

    def _refusal(self) -> Exception | None:
        """The error for an item that does not fit; None where it fits."""
        if not self._backlog.is_full:
            return None
        if self._blocks:
            return BlockingWaitError(
                'overflow="block" would stop an event loop here, for this source calls on one: '
                "choose another overflow"
            )
        return BackpressureError(
            f"{len(self._backlog)} items wait for this reader, as many as maxsize allows: "
            'read faster, or choose another overflow ("coalesce", "block", "drop_oldest")'
        )

    def _end(self, error: Exception | None = None) -> None:
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()
        self.wake()

    # The reader's side.

    @property
    def lock(self) -> AbstractContextManager[Any]:
        return self._lock

    def _has_news(self) -> bool:
        return bool(self._backlog) or self._ended

    def _take(self) -> T:
        if self._backlog:
            item: T = self._backlog.take()
            if self._blocks:
                self._changed.notify_all()
            return item
        if self._error is not None:
            raise raisable(self._error)
        end: T = END
        return end

    def _event(self) -> threading.Event:
        return threading.Event()  # set by the source's own thread, which no engine knows

    def _begin_wait(self, pending: Pending) -> None:
        if not pending.blocks:
            self._loop = asyncio.get_running_loop()
        elif engine_loop() is not None:
            raise BlockingWaitError(
                "a blocking wait on the engine's own thread would stop every call of the process"
            )
        source, self._source = self._source, None
        if source is not None:
            self._subscription.disposable = source.subscribe(
                self._on_next,
                self._end,
                self._end,
                scheduler=_thread() if pending.blocks or self._blocks else None,
            )

    # Its end.

    def close(self) -> None:
        """End the source. Idempotent; from any thread."""
        with self._changed:
            self._ended, self._source = True, None
            self._changed.notify_all()
        self.wake()
        self._subscription.dispose()

    def abandon(self) -> None:
        """End the source soon; for the finalizer of a reader, which may run anywhere.

        (Also in a thread that holds a lock that disposing takes; so a callback of the reader's loop
        does it, or of the engine where the reader has none.)
        """
        if self._source is not None or self._ended:
            return
        if self._loop is not None and _soon(self._loop, self.close):
            return
        try:
            _soon(engine().loop, self.close)
        except RuntimeError:
            pass  # the interpreter goes down: no thread starts, and all calls end


def _thread() -> EventLoopScheduler:
    """A thread for one source, which may block it; it ends when it has nothing to do."""

    def start(target: Callable[..., None]) -> threading.Thread:
        return threading.Thread(target=target, name="mellea-rx-iterator", daemon=True)

    return EventLoopScheduler(start, exit_if_empty=True)


def _soon(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> bool:
    """Call a function in a callback of a loop. Returns False when the loop is closed."""
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        return False
    return True


def to_async_iterator(
    source: Observable[T], *, overflow: Overflow = "coalesce", maxsize: int | None = None
) -> AsyncItems[T]:
    """An Observable to iterate with `async for`.

        source:                                 -a--b-c-d-|
        slowly(6, to_async_iterator(source)):   -a-----bc----d-----|

    (`slowly` stands for a reader that takes six seconds for each item.)

    The first step subscribes. Leaving it ends the subscription: by `async with`, `aclose()`, or by
    dropping it, as `break` does; then thunks under a combinator that nobody else takes are
    cancelled. One reader: a second one that waits at once gets `ConcurrentReaderError`.

    Example:
        >>> async for item in to_async_iterator(merge(a, b)):      # doctest: +SKIP
        ...     print(item.index, item)

    Args:
        source: Any Observable.
        overflow: The treatment of items that the reader does not take in time. "coalesce": texts,
            chunks, and chunks of one source are joined; other items wait. "block": the
            source waits, in a thread of its own. "drop_oldest": the newest are kept. "error": the
            reader gets the items that wait, then `BackpressureError`.
        maxsize: How many items may wait, for all but "coalesce"; None for any number.

    Returns:
        An async iterator and async context manager.

    Raises:
        InvalidInputError: An argument that cannot be used.
        Exception: (on reading) The source's error.
    """
    return AsyncItems(_channel("to_async_iterator", source, overflow, maxsize))


def to_iterator(
    source: Observable[T], *, overflow: Overflow = "coalesce", maxsize: int | None = None
) -> Items[T]:
    """An Observable to iterate with `for`, in code without an event loop.

    It blocks its thread; the source is called on a thread of its own, so it works where a loop runs
    too. The first step subscribes. Leaving it ends the subscription: by `with`, `close()`, or by
    dropping it, as `break` does.

    Example:
        >>> import reactivex as rx
        >>> [item for item in to_iterator(rx.of(1, 2, 3))]
        [1, 2, 3]

    Args:
        source: Any Observable.
        overflow: As that of `to_async_iterator`.
        maxsize: How many items may wait, for all but "coalesce"; None for any number.

    Returns:
        An iterator and context manager.

    Raises:
        InvalidInputError: An argument that cannot be used.
        Exception: (on reading) The source's error.
    """
    return Items(_channel("to_iterator", source, overflow, maxsize))


def _channel(
    name: str, source: Observable[T], overflow: Overflow, maxsize: int | None
) -> Channel[T]:
    if not isinstance(source, Observable):
        raise InvalidInputError(f"{name} takes an Observable, not a {type(source).__name__}")
    return Channel(source, overflow, maxsize)


class _Reader(Generic[T]):
    """A reader of a channel; dropping it ends the channel."""

    __slots__ = ("__weakref__", "_channel")

    def __init__(self, channel: Channel[T]) -> None:
        self._channel = channel

    def __del__(self) -> None:
        self._channel.abandon()


class AsyncItems(_Reader[T], AsyncIterator[T]):
    """The result of `to_async_iterator`: an async iterator and async context manager."""

    __slots__ = ()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            item = await self._channel
        except StopAsyncIteration as error:  # of a user's function; here it would mean the end
            raise RuntimeError("the stream failed with StopAsyncIteration") from error
        if item is END:
            raise StopAsyncIteration
        return item

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def close(self) -> None:
        """End the subscription, and the wait of a reader. Idempotent; from any thread."""
        self._channel.close()

    async def aclose(self) -> None:
        """Do as `close`."""
        self.close()


class Items(_Reader[T], Iterator[T]):
    """The result of `to_iterator`: an iterator and context manager."""

    __slots__ = ()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        item = self._channel.read_blocking()
        if item is END:
            raise StopIteration
        return item

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the subscription. Idempotent."""
        self._channel.close()
