"""Observables made by a coroutine that runs where their subscriber lives."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from typing import Generic, TypeVar

from reactivex import abc
from reactivex.disposable import Disposable

from mellea_rx.core.consumers import Subscriber
from mellea_rx.core.home import home_for
from mellea_rx.core.hub import Consumer
from mellea_rx.core.stream import Stream
from mellea_rx.errors import GenerationCancelledError, UnexpectedError

__all__ = ["AsyncSource", "Emit", "Emitter"]

T = TypeVar("T")

Emit = Callable[[T], Awaitable[None]]
"""Gives the subscriber an item; returns when it takes it. So a slow one holds the source up."""


class AsyncSource(Stream[T]):
    """An Observable that runs `produce` on its subscriber's loop, anew for each subscription.

    Without a loop (sync code, or a scheduler of another kind) it runs on one of its own, in a
    thread. Disposing the subscription cancels it; what it raises goes to `on_error`.

        produce:   emit a   emit b   return
        source:    ---a--------b--------|

    Args:
        produce: Calls what it is given for every item, awaits it, and returns at the end.
    """

    def __init__(self, produce: Callable[[Emit[T]], Awaitable[None]]) -> None:
        super().__init__()
        self._produce = produce

    def _subscribe_core(
        self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        home = home_for(scheduler)
        emitter: Emitter[T] = Emitter()
        subscriber = Subscriber(emitter, observer, home.outlet, emitter, keep=self)
        emitter.runs(home.spawn(partial(self._run, emitter)))
        return Disposable(subscriber.dispose)

    async def _run(self, emitter: Emitter[T]) -> None:
        try:
            await self._produce(emitter.emit)
        except Exception as error:
            emitter.end(error)
        except asyncio.CancelledError:
            emitter.end(GenerationCancelledError("the source was cancelled"))
            raise
        except BaseException as error:  # the loop ends by it: nobody else would tell of the end
            emitter.end(UnexpectedError(f"the source raised {type(error).__name__}"))
            raise
        else:
            emitter.end(None)


class Emitter(Generic[T]):
    """A hub of items for one subscriber, which takes them in order, one by one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.error: Exception | None = None
        self._items: deque[T] = deque()
        self._told: deque[Callable[[], object]] = deque()
        self._consumer: Consumer[T] | None = None
        self._work: Future[None] | None = None

    # The writer's side, from any thread.

    async def emit(self, item: T) -> None:
        """Give the subscriber an item; returns when it takes it."""
        loop = asyncio.get_running_loop()
        taken = loop.create_future()
        self.post(item, partial(_settle, loop, taken))
        await taken

    def post(self, item: T, told: Callable[[], object] | None = None) -> None:
        """Leave an item for the subscriber.

        Args:
            item: Delivered after those before it.
            told: Called when the subscriber takes it.
        """
        with self.lock:
            consumer = self._consumer
            if consumer is None:
                return
            self._told.append(told or _nobody)
            woken = consumer.add(item)
        if woken:
            consumer.wake()

    def end(self, error: Exception | None) -> None:
        """No more items. Once.

        Args:
            error: Why the source failed; None when it is complete.
        """
        with self.lock:
            self.error = error
            consumer = self._consumer
            woken = consumer is not None and consumer.end()
        if woken and consumer is not None:
            consumer.wake()

    @property
    def is_left(self) -> bool:
        """Whether the subscriber has gone."""
        return self._consumer is None

    def runs(self, work: Future[None]) -> None:
        """Cancel this work when the subscriber has gone."""
        self._work = work
        if self._consumer is None:
            work.cancel()

    # The subscriber's side: a hub, and its backlog.

    def attach(self, consumer: Consumer[T]) -> None:
        """The one subscriber."""
        self._consumer = consumer

    def detach(self, consumer: Consumer[T]) -> None:
        """It has gone."""
        self._consumer = None
        if self._work is not None:
            self._work.cancel()

    def taken(self) -> None:
        """It has got the end."""

    def add(self, item: T) -> None:
        """Keep an item until it is taken."""
        self._items.append(item)

    def take(self) -> T:
        """The next item."""
        self._told.popleft()()
        return self._items.popleft()

    def __bool__(self) -> bool:
        return bool(self._items)


def _nobody() -> None:
    pass


def _settle(loop: asyncio.AbstractEventLoop, taken: asyncio.Future[None]) -> None:
    def settle() -> None:
        if not taken.done():
            taken.set_result(None)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        pass  # that loop is closed, and what waited on it has ended
