"""The operator `observe`: a side effect for each item, whose exceptions do not reach the stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops

from mellea_rx.core.logs import FunctionRaised, log
from mellea_rx.core.observers import is_for_the_loop
from mellea_rx.core.stream import stream_of
from mellea_rx.errors import InvalidInputError

__all__ = ["observe"]

T = TypeVar("T")


def observe(
    sink: abc.ObserverBase[Any] | Callable[[T], object],
) -> Callable[[Observable[T]], Observable[T]]:
    """Call `sink` with each item, and emit the stream unchanged.

    It is Rx's `do_action`, except that an exception of the sink does not end the stream: it is
    logged (logger `mellea_rx`), and the sink is not called any more for this subscription. The sink
    is called with an item before the subscriber is.

        source:           -a-b-c-|
        observe(print):   -a-b-c-|

    Example:
        >>> import reactivex as rx
        >>> seen = []
        >>> _ = rx.of("a", "b").pipe(observe(seen.append)).subscribe()
        >>> seen
        ['a', 'b']

    Args:
        sink: A function that takes items, or an observer (such as a `Subject`), which gets the
            terminal too.

    Returns:
        An operator on any stream.

    Raises:
        InvalidInputError: `sink` is neither a function nor an observer.
    """
    on_next = getattr(sink, "on_next", sink)
    if not callable(on_next):
        raise InvalidInputError(f"sink must be a function or an observer, not {sink!r}")
    on_error = getattr(sink, "on_error", None)
    on_completed = getattr(sink, "on_completed", None)

    def operator(source: Observable[T]) -> Observable[T]:
        def watched(_: abc.SchedulerBase) -> Observable[T]:
            guard = _Guard()
            actions = [guard.around(each) for each in (on_next, on_error, on_completed)]
            return source.pipe(cast("Any", ops.do_action(*actions)))

        return stream_of(rx.defer(watched))

    return operator


class _Guard:
    """Calls the functions of one sink until one of them raises."""

    def __init__(self) -> None:
        self._raised = False

    def around(self, function: Callable[..., object] | None) -> Callable[..., None] | None:
        """Return `function` with its exceptions logged; None for None."""
        if function is None:
            return None

        def call(*args: Any) -> None:
            if self._raised:
                return
            try:
                function(*args)
            except BaseException as error:
                self._raised = True
                text = "a sink raised in observe(); it gets nothing more of this stream"
                log(FunctionRaised(text, error))
                if is_for_the_loop(error):
                    raise

        return call
