"""The base class of the library's Observables, and safe calls of observers.

An observer that raises loses its subscription, and no other subscriber notices. Used by every
module that makes an Observable.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable

from mellea_rx.core.runtime.delivery import running_loop
from mellea_rx.core.runtime.logs import FailureUnhandled, FunctionRaised, error_summary, log

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
S = TypeVar("S", bound=Observable[Any])


class Stream(Observable[T_co]):
    """An Observable that is no sequence.

    The results of `pipe` and of the operators that are methods are streams as well. Slices are
    RxPY's: `stream[2:5]` is a stream of three items.
    """

    _hint = "iterate it with to_iterator(it) or to_async_iterator(it) of mellea_rx.operators"
    """The remedy, for its messages."""

    if not TYPE_CHECKING:  # RxPY's overloads have the types

        def pipe(self, *operators: Any) -> Any:
            """The result of RxPY's `pipe`, as a stream."""
            return stream_of(super().pipe(*operators))

    def __iter__(self) -> Iterator[NoReturn]:
        raise TypeError(f"a {type(self).__name__} is not a sequence: {self._hint}")

    def __contains__(self, item: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be searched with `in`: {self._hint}")

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
            f"a {type(self).__name__} and a {type(other).__name__} cannot be added: {self._hint}"
        )

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            warnings.warn(
                f"a {type(self).__name__} is never equal to a str: {self._hint}",
                stacklevel=2,
            )
        return NotImplemented

    __hash__ = Observable.__hash__


def stream_of(source: S) -> S:
    """A plain Observable as a stream; an object of a subclass unchanged."""
    if type(source) is not Observable:
        return source
    return cast("S", Stream(source._subscribe_core))


def safe_on_next(observer: abc.ObserverBase[T], item: T) -> bool:
    """Call `observer.on_next(item)`, and log an exception that it raises.

    Returns:
        Whether it returned normally. When False, the caller has to dispose the subscription.

    Raises:
        SystemExit: The observer raised it, or KeyboardInterrupt, on an event loop; see
            `is_for_the_loop`. The caller has to dispose the subscription in this case too.
    """
    try:
        observer.on_next(item)
    except BaseException as error:
        log(FunctionRaised("a subscriber raised in on_next; its subscription has ended", error))
        if is_for_the_loop(error):
            raise
        return False
    return True


def safe_terminate(observer: abc.ObserverBase[T], error: Exception | None) -> None:
    """Call `on_error` or `on_completed` of an observer, and log an exception that it raises.

    Args:
        observer: The observer to terminate.
        error: The source's error; None if the source completed.

    Raises:
        SystemExit: The observer raised it, or KeyboardInterrupt, on an event loop; see
            `is_for_the_loop`.
    """
    try:
        if error is not None:
            observer.on_error(error)
        else:
            observer.on_completed()
    except BaseException as raised:
        # RxPY's default `on_error` raises the error that it is called with.
        if error is not None and raised is error:
            log(FailureUnhandled(error_summary(error)))
        else:
            log(FunctionRaised("a subscriber raised in its terminal", raised))
        if is_for_the_loop(raised):
            raise


def is_for_the_loop(error: BaseException) -> bool:
    """Return whether an exception has to leave the event loop that runs in this thread.

    `SystemExit` and `KeyboardInterrupt` end an asyncio program by leaving its loop. On a thread
    without a loop (a delivery thread, a scheduler's thread) they cannot end the program, and are
    handled as any other exception of a subscriber.
    """
    return isinstance(error, (SystemExit, KeyboardInterrupt)) and running_loop() is not None


class SerializedObserver(Generic[T]):
    """An observer that makes the calls of several sources serial, with at most one terminal.

    Sources on any threads may call it. It is the subscription as well: `dispose` ends it, and an
    observer that raises has its subscription disposed.

    Args:
        observer: The observer to call.
    """

    def __init__(self, observer: abc.ObserverBase[T]) -> None:
        self._observer = observer
        # The lock is held during the observer's calls: without that, a second source could call
        # `on_next` on its thread during the first one's call, or after the terminal. It is
        # re-entrant, since the observer may dispose the subscription, or make a source emit, from
        # within its call.
        self._lock = threading.RLock()
        self._ended = False
        self._owned = CompositeDisposable()

    def owns(self, resource: abc.DisposableBase) -> None:
        """Dispose `resource` with the subscription; at once if that has ended."""
        self._owned.add(resource)

    def on_next(self, item: T) -> None:
        """Forward an item, unless the subscription has ended."""
        with self._lock:
            if self._ended:
                return
            is_well = False
            try:
                is_well = safe_on_next(self._observer, item)
            finally:
                if not is_well:
                    self.dispose()

    def on_error(self, error: Exception) -> None:
        """Forward an error as the terminal."""
        self._terminate(error)

    def on_completed(self) -> None:
        """Forward completion as the terminal."""
        self._terminate(None)

    def _terminate(self, error: Exception | None) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
            safe_terminate(self._observer, error)
        # Outside of the lock: disposing sources may run code of theirs that waits for a thread
        # which is about to call this observer.
        self.dispose()

    def dispose(self) -> None:
        """End the subscription. Idempotent, from any thread, also during a call of the observer.

        It takes no lock, so that it never waits for an observer that is being called on another
        thread. That call may still be running when this returns; no further one starts.
        """
        self._ended = True
        self._owned.dispose()
