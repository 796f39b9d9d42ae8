"""An operator out of a decoder: what has `feed` and `flush` needs no subscription of its own."""

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
    """Takes items in, gives items out, without I/O. What it raises ends the stream."""

    def feed(self, item: A_contra, /) -> Iterable[B_co]:
        """What one more item gives."""
        ...

    def flush(self) -> Iterable[B_co]:
        """What is left at the end."""
        ...


def decode(
    make: Callable[[], Decoder[A, B]],
) -> Callable[[Observable[A]], Observable[B]]:
    """Run a stream through a decoder, a fresh one for each subscription.

    What is left in it goes out at the end, and before an error too: nothing that came is lost.

        source:          -a--b--c---|
        decode(pairs):   ----ab-----(c|)

    Example:
        >>> import reactivex as rx
        >>> from reactivex import operators as ops
        >>> from mellea_rx.core.units import splitter
        >>> rx.of("one t", "wo").pipe(decode(lambda: splitter("word")), ops.to_list()).run()
        ['one ', 'two']

    Args:
        make: Makes a decoder. What the decoder raises goes to `on_error`.
    """

    def operator(source: Observable[A]) -> Observable[B]:
        def subscribe(
            observer: abc.ObserverBase[B], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            decoder = make()

            def on_next(item: A) -> None:
                failure = _give(lambda: decoder.feed(item), observer)
                if failure is not None:
                    observer.on_error(failure)

            def on_error(error: Exception) -> None:
                _give(decoder.flush, observer)  # why it broke off matters more than that it did
                observer.on_error(error)

            def on_completed() -> None:
                failure = _give(decoder.flush, observer)
                if failure is not None:
                    observer.on_error(failure)
                else:
                    observer.on_completed()

            return source.subscribe(on_next, on_error, on_completed, scheduler=scheduler)

        return Stream(subscribe)

    return operator


def _give(step: Callable[[], Iterable[B]], observer: abc.ObserverBase[B]) -> Exception | None:
    """Hand on what a step gives; what it raises, but not what the observer does, is returned."""
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
