"""The loop and dispatcher that a subscription runs on. Operators ask for it as they subscribe."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any

from reactivex import abc

from mellea_rx.core.outlet import Outlet, loop_for, outlet_for
from mellea_rx.errors import CallerLoopClosedError

__all__ = ["Home", "home_for"]


@dataclass(frozen=True, slots=True)
class Home:
    """The loop and dispatcher that a subscription runs on.

    Attributes:
        outlet: Calls the subscriber.
        loop: Runs the subscriber's async functions; None where the subscriber has no event loop.
    """

    outlet: Outlet
    loop: asyncio.AbstractEventLoop | None

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Future[None]:
        """Run a coroutine on the subscriber's loop, or on a new loop in a thread where it has none.

        Args:
            work: Makes the coroutine.

        Returns:
            A future that cancels the coroutine, from any thread.

        Raises:
            CallerLoopClosedError: The subscriber's loop is closed.
        """
        if self.loop is not None:
            return _run(work, self.loop)
        loop = asyncio.new_event_loop()
        threading.Thread(
            target=_serve, args=(loop,), name="mellea-rx-subscription", daemon=True
        ).start()
        future = _run(work, loop)

        def stop(_: Future[None]) -> None:
            loop.call_soon_threadsafe(loop.stop)

        # Added on the loop, so that it stands behind the callback by which a cancellation of the
        # future reaches the coroutine: they are called in order, and that one needs the loop open.
        loop.call_soon_threadsafe(future.add_done_callback, stop)
        return future

    def call(self, function: Callable[[], object], lost: Callable[[], object]) -> None:
        """Have the dispatcher call a function soon, with the context variables of this code.

        Args:
            function: The function.
            lost: Called instead, on any thread, when the dispatcher's place is gone.
        """
        self.outlet.wake(_ScheduledCall(function, lost, copy_context()))


@dataclass(frozen=True, slots=True)
class _ScheduledCall:
    """A function that a dispatcher calls; once, so its context is entered once."""

    function: Callable[[], object]
    lost: Callable[[], object]
    context: Context

    def deliver(self) -> None:
        self.context.run(self.function)

    def undeliverable(self) -> None:
        self.lost()


def home_for(scheduler: abc.SchedulerBase | None) -> Home:
    """The loop and dispatcher of a subscription that is made here, now, with this scheduler."""
    return Home(outlet_for(scheduler), loop_for(scheduler))


def _run(
    work: Callable[[], Coroutine[Any, Any, None]], loop: asyncio.AbstractEventLoop
) -> Future[None]:
    coroutine = work()
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError as error:
        coroutine.close()
        raise CallerLoopClosedError("the event loop of this subscription is closed") from error


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()
