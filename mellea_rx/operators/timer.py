"""A moment in the future, on the clock that the subscriber lives by."""

from __future__ import annotations

import asyncio

import reactivex as rx
from reactivex import Observable, abc
from reactivex.scheduler.eventloop import AsyncIOScheduler

from mellea_rx.core.emitter import AsyncSource, Emit

__all__ = ["timer"]


def timer(seconds: float, scheduler: abc.SchedulerBase | None) -> Observable[int]:
    """One item, 0, after so many seconds.

    Args:
        seconds: How long.
        scheduler: Whose clock; None for the subscriber's event loop. (RxPY's schedulers of loops
            cannot be disposed from another thread, and are left out for the loop itself.)
    """
    if scheduler is not None and not isinstance(scheduler, AsyncIOScheduler):
        return rx.timer(seconds, scheduler=scheduler)

    async def produce(emit: Emit[int]) -> None:
        await asyncio.sleep(seconds)
        await emit(0)

    return AsyncSource(produce)
