"""Operators made of incremental decoders: `decode`, and the `Decoder` protocol.

`by_unit`, `partial_object` and `split_thinking` are decoders behind `decode`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from reactivex import Observable, abc

from mellea_rx.core.stream import Stream

__all__ = ["Decoder", "decode"]

A = TypeVar("A")
B = TypeVar("B")
A_contra = TypeVar("A_contra", contravariant=True)
B_co = TypeVar("B_co", covariant=True)


class Decoder(Protocol[A_contra, B_co]):
    """Turns items into other items, without I/O. An exception that it raises ends the stream."""

    def feed(self, item: A_contra, /) -> Iterable[B_co]:
        """Take an item; return the items that are complete with it."""
        ...

    def flush(self) -> Iterable[B_co]:
        """Return the remaining items at the end."""
        ...


def decode(
    make: Callable[[], Decoder[A, B]],
) -> Callable[[Observable[A]], Observable[B]]:
    """Run a stream through a decoder, with a new one for each subscription.

    At the end of the source, and before its error, the decoder is flushed, so that no input is
    lost.

        source:          -a--b--c---|
        decode(pairs):   ----ab-----(c|)

    Example:
        >>> import reactivex as rx
        >>> from reactivex import operators as ops
        >>> from mellea_rx.core.units import splitter
        >>> rx.of("one t", "wo").pipe(decode(lambda: splitter("word")), ops.to_list()).run()
        ['one ', 'two']

    Args:
        make: Makes a decoder. An exception that the decoder raises goes to `on_error`.

    Returns:
        An operator that takes the decoder's inputs.
    """

    def operator(source: Observable[A]) -> Observable[B]:
        def subscribe(
            observer: abc.ObserverBase[B], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            decoder = make()

            def on_next(item: A) -> None:
                failure = _emit(lambda: decoder.feed(item), observer)
                if failure is not None:
                    observer.on_error(failure)

            def on_error(error: Exception) -> None:
                # The source's error is the cause, so an error of `flush` is dropped for it.
                _emit(decoder.flush, observer)
                observer.on_error(error)

            def on_completed() -> None:
                failure = _emit(decoder.flush, observer)
                if failure is not None:
                    observer.on_error(failure)
                else:
                    observer.on_completed()

            return source.subscribe(on_next, on_error, on_completed, scheduler=scheduler)

        return Stream(subscribe)

    return operator


def _emit(step: Callable[[], Iterable[B]], observer: abc.ObserverBase[B]) -> Exception | None:
    """Emit the items of a step; return its exception. One of the observer is raised instead."""
    try:
        items = iter(step())
    except Exception as error:
        return error
    while True:
        try:
            item = next(items)
        except StopIteration:
            return None
        except Exception as error:
            return error
        observer.on_next(item)
