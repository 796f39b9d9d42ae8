"""Cold observables of chunks that run on the engine, and how a pipeline takes from one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from mellea_rx.core.chunk import Chunk
from mellea_rx.core.engine import engine
from mellea_rx.core.observers import finish

__all__ = ["ChunkSource", "Push", "forward"]

Push = Callable[[Chunk], None]
"""Takes one chunk; never blocks."""


class ChunkSource(Observable[Chunk]):
    """An Observable that runs `produce` on the engine, anew for each subscription.

    Disposing the subscription cancels it; what it raises goes to `on_error`.

        produce:   push a   push b   return
        source:    ---a--------b--------|

    Args:
        produce: Calls what it is given for every chunk, and returns at the end.
    """

    def __init__(self, produce: Callable[[Push], Awaitable[None]]) -> None:
        super().__init__()
        self.produce = produce

    def _subscribe_core(
        self, observer: abc.ObserverBase[Chunk], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        produce = self.produce

        async def run() -> None:
            try:
                await produce(observer.on_next)
            except Exception as error:
                finish(observer, error)
            else:
                observer.on_completed()

        return Disposable(engine().spawn(run).cancel)


def forward(source: Observable[Chunk], push: Push) -> Awaitable[None]:
    """Subscribe to `source`, `push` all its chunks, return when it completed.

    Runs on the engine. The source may emit on any thread; being cancelled disposes it.

    Raises:
        Exception: (when awaited) What the source failed with.
    """
    if isinstance(source, ChunkSource):
        # Ours runs on the engine as well: in this very task, without a subscription in between.
        return source.produce(push)
    return _forward(source, push)


async def _forward(source: Observable[Chunk], push: Push) -> None:
    running = engine()
    done: asyncio.Future[None] = running.loop.create_future()

    def finish(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    subscription = source.subscribe(
        push,
        lambda error: running.call(finish, error),
        lambda: running.call(finish, None),
    )
    try:
        await done
    finally:
        subscription.dispose()
