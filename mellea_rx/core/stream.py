"""Observables that raise a helpful error where they are used as a sequence or a text.

RxPY's `observable[n]` is the stream of its n-th item, for every n. Python treats any object with
`__getitem__` as a sequence, so a plain `for`, `in`, `list` or `join` over an Observable counts up
for ever and fills the memory; a web handler that returned one by mistake would stop its server.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from reactivex import Observable

__all__ = ["Stream", "stream_of"]

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
S = TypeVar("S", bound=Observable[Any])


class Stream(Observable[T_co]):
    """An Observable that is no sequence.

    The results of `pipe` and of the operators that are methods are streams as well. Slices are
    RxPY's: `stream[2:5]` is a stream of three items.
    """

    ADVICE = "iterate it with to_iterator(it) or to_async_iterator(it) of mellea_rx.operators"
    """The advice in its messages."""

    if not TYPE_CHECKING:  # RxPY's overloads have the types

        def pipe(self, *operators: Any) -> Any:
            """The result of RxPY's `pipe`, as a stream."""
            return stream_of(super().pipe(*operators))

    def __iter__(self) -> Iterator[NoReturn]:
        raise TypeError(f"a {type(self).__name__} is no sequence: {self.ADVICE}")

    def __contains__(self, item: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} contains nothing: {self.ADVICE}")

    def __add__(self, other: Observable[T]) -> Observable[T_co | T]:
        """The items of this stream, then those of another, like RxPY's `concat`."""
        return stream_of(super().__add__(self._streams(other)))  # type: ignore[arg-type]

    def __radd__(self, other: object) -> NoReturn:
        self._streams(other)
        raise AssertionError("a stream before a stream is added by `__add__`")

    def __iadd__(self, other: Observable[T]) -> Observable[T_co | T]:
        return self + other

    def _streams(self, other: T) -> T:
        if isinstance(other, Observable):
            return other
        raise TypeError(
            f"a {type(self).__name__} and a {type(other).__name__} cannot be added: {self.ADVICE}"
        )

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            warnings.warn(
                f"a {type(self).__name__} is no text, and equal to none: {self.ADVICE}",
                stacklevel=2,
            )
        return NotImplemented

    __hash__ = Observable.__hash__


def stream_of(source: S) -> S:
    """A plain Observable as a stream; an object of a subclass unchanged."""
    if type(source) is not Observable:
        return source
    return cast("S", Stream(source._subscribe_core))
