"""Observables made by a coroutine, which runs anew for each subscriber, on its subscriber's loop.

`CoroutineObservable` is behind the operators that await something of the user's (`from_async`,
`map_generate`). `AckChannel` hands over its items, and acknowledges each when it is delivered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from reactivex import abc
from reactivex.disposable import Disposable

from mellea_rx.core.runtime.delivery import delivery_target_for
from mellea_rx.core.runtime.waiting import LoopWait
from mellea_rx.core.streams.broadcast import Broadcast, NoHistory, Subscriber, SubscriberBuffer
from mellea_rx.core.streams.observable import Stream
from mellea_rx.core.streams.retraction import Effect, Retraction
from mellea_rx.core.streams.subscriptions import ObserverSubscription
from mellea_rx.errors import GenerationCancelledError, UnexpectedError

T = TypeVar("T")

Emit = Callable[[T], Awaitable[None]]
"""Emits an item; returns when it is delivered. So a slow subscriber holds the source up."""


class CoroutineObservable(Stream[T]):
    """An Observable that runs `produce` on its subscriber's loop, anew for each subscription.

    Without a loop (sync code, or a scheduler of another kind) it runs on one of its own, in a
    thread. Disposing the subscription cancels it; its exception goes to `on_error`.

        produce:   emit a   emit b   return
        source:    ---a--------b--------|

    Args:
        produce: Awaits its argument, `emit`, with every item, and returns at the end.
    """

    def __init__(self, produce: Callable[[Emit[T]], Awaitable[None]]) -> None:
        super().__init__()
        self._produce = produce

    def _subscribe_core(
        self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        target = delivery_target_for(scheduler)
        channel: AckChannel[T] = AckChannel()
        subscription = ObserverSubscription(
            channel, observer, target.dispatcher, channel.buffer, keep=self
        )
        channel.runs(target.spawn(partial(self._run, channel)))
        return Disposable(subscription.dispose)

    async def _run(self, channel: AckChannel[T]) -> None:
        try:
            await self._produce(channel.emit)
        except Exception as error:
            channel.end(error)
        except asyncio.CancelledError:
            channel.end(GenerationCancelledError("the source was cancelled"))
            raise
        except BaseException as error:  # it ends the loop: nothing else would end the channel
            channel.end(UnexpectedError(f"the source raised {type(error).__name__}"))
            raise
        else:
            channel.end()


class _Posted(NamedTuple, Generic[T]):
    """An item on its way.

    Attributes:
        item: The item.
        acknowledge: Called when it is delivered.
    """

    item: T
    acknowledge: Callable[[], object] | None


class _AckQueue(Generic[T]):
    """A buffer that acknowledges an item as it is taken for delivery."""

    __slots__ = ("_posted",)

    def __init__(self) -> None:
        self._posted: deque[_Posted[T]] = deque()

    def add(self, posted: _Posted[T]) -> None:
        self._posted.append(posted)

    def take(self) -> T:
        item, acknowledge = self._posted.popleft()
        if acknowledge is not None:
            acknowledge()
        return item

    def retract(self, retraction: Retraction) -> Effect:
        return Effect.NONE  # the items have no text

    def __bool__(self) -> bool:
        return bool(self._posted)


class AckChannel(Broadcast[Any], Generic[T]):
    """Hands items to one subscriber, in order, and acknowledges each.

    Attributes:
        buffer: The buffer that its subscriber has to use.
    """

    def __init__(self) -> None:
        super().__init__(NoHistory())
        self.buffer: SubscriberBuffer[Any] = _AckQueue()
        self._work: Future[None] | None = None
        self._is_attached = False

    # The writer's side, from any thread.

    async def emit(self, item: T) -> None:
        """Hand over an item; returns when it is delivered."""
        delivered = LoopWait()
        self.post(item, delivered.wake)
        try:
            await delivered
        finally:
            delivered.leave()

    def post(self, item: T, acknowledge: Callable[[], object] | None = None) -> None:
        """Hand over an item. Ignored when the subscriber has left.

        Args:
            item: Delivered after those before it.
            acknowledge: Called when it is delivered, with the lock held: it must not block.
        """
        self.write(_Posted(item, acknowledge))

    @property
    def is_left(self) -> bool:
        """Whether the subscriber has left."""
        return not self._is_attached

    def runs(self, work: Future[None]) -> None:
        """Cancel this work when the subscriber leaves."""
        self._work = work
        # Set before the look at the subscriber, which may leave in another thread meanwhile:
        # `detach` looks in the other order, so one of the two cancels the work.
        if not self._is_attached:
            work.cancel()

    # The subscriber's side.

    def attach(self, subscriber: Subscriber[Any]) -> None:
        self._is_attached = True
        super().attach(subscriber)

    def detach(self, subscriber: Subscriber[Any]) -> None:
        self._is_attached = False
        super().detach(subscriber)
        if self._work is not None:
            self._work.cancel()
