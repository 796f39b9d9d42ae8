"""A future as an Observable."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import Any, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from mellea_rx.core.consumers import ObserverSubscription
from mellea_rx.core.emitter import AckChannel
from mellea_rx.core.home import home_for
from mellea_rx.core.outlet import running_loop
from mellea_rx.core.stream import Stream
from mellea_rx.errors import GenerationCancelledError, InvalidInputError

__all__ = ["from_future"]

T = TypeVar("T")


def from_future(
    future: asyncio.Future[T] | concurrent.futures.Future[T],
) -> Observable[T]:
    """The result of a future or task: one item.

        from_future(later(3, "x")):   ---(x|)

    (`later` stands for a future that is done after three seconds.)

    Any number of subscribers share it, on any threads; a late one gets the result at once.
    Disposing a subscription does not cancel the future. (`reactivex.from_future` cancels it for all
    subscribers when one leaves.)

    Example:
        >>> from concurrent.futures import Future
        >>> future: Future[str] = Future()
        >>> future.set_result("done")
        >>> from_future(future).run()
        'done'

    Args:
        future: A future of asyncio (of any loop), or of a thread pool.

    Returns:
        An Observable of its result; it fails with the future's exception, and with
        `GenerationCancelledError` when the future is cancelled.

    Raises:
        InvalidInputError: It is no future.
    """
    if not (asyncio.isfuture(future) or isinstance(future, concurrent.futures.Future)):
        raise InvalidInputError(
            f"from_future takes a future or task, not a {type(future).__name__}"
        )

    def subscribe(
        observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        channel: AckChannel[T] = AckChannel()
        outlet = home_for(scheduler).outlet
        subscriber = ObserverSubscription(channel, observer, outlet, channel.buffer, keep=future)
        _when_done(future, lambda done: _tell(channel, done))
        return Disposable(subscriber.dispose)

    return Stream(subscribe)


def _tell(channel: AckChannel[T], done: Any) -> None:
    if done.cancelled():
        channel.end(GenerationCancelledError("the future was cancelled"))
    elif (error := done.exception()) is not None:
        channel.end(error)
    else:
        channel.post(done.result())
        channel.end(None)


def _when_done(future: Any, callback: Any) -> None:
    """Call back with the future, from any thread: asyncio's futures belong to their loop."""
    if isinstance(future, concurrent.futures.Future) or future.get_loop() is running_loop():
        future.add_done_callback(callback)
    elif future.done():
        callback(future)
    else:
        future.get_loop().call_soon_threadsafe(future.add_done_callback, callback)
