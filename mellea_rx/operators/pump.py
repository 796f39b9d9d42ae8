"""Work over a stream of inputs: so much at once, and no input pulled before it can be done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from inspect import isawaitable, iscoroutinefunction
from typing import Any, Generic, TypeAlias, TypeVar

from reactivex import Observable

from mellea_rx.core.emitter import AsyncSource, Emit
from mellea_rx.core.worker_threads import in_worker_thread
from mellea_rx.errors import GenerationCancelledError
from mellea_rx.operators.from_async_iterable import Inputs, pull

__all__ = ["Ready", "Work", "pumped"]

A = TypeVar("A")
R = TypeVar("R")

Caller: TypeAlias = Callable[[Callable[[A], Any], A], Awaitable[Any]]
"""Calls a function of the user's: an async one here, a sync one in a worker thread."""

Work: TypeAlias = Callable[[int, A, Caller[A], Emit[R]], Awaitable[None]]
"""What to do with an input: gets its number, itself, a caller, and what takes its one result."""

Ready: TypeAlias = Callable[[], Awaitable[None]]
"""Returns when the next piece of work may begin."""


def pumped(
    inputs: Inputs[A],
    begin: Callable[[], tuple[Work[A, R], Ready]],
    *,
    max_concurrent: int,
    ordered: bool,
) -> Observable[R]:
    """The results of some work for each input.

    An input is pulled when there is room for its work, and there is room again when its work is
    done and its result taken. So no more inputs are on their way than may be worked at, however
    slow the work or the subscriber.

    Args:
        inputs: Pulled from, anew for each subscription.
        begin: Makes what the work of one subscription is done by.
        max_concurrent: How many are worked at.
        ordered: Whether results come in the order of their inputs.
    """

    async def produce(emit: Emit[R]) -> None:
        work, ready = begin()
        slots = asyncio.Semaphore(max_concurrent)
        try:
            async with asyncio.TaskGroup() as group, aclosing(pull(inputs)) as items:
                pump = _Pump(work, emit, slots, group, ordered)
                await pump.drive(items, ready)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    return AsyncSource(produce)


@dataclass(frozen=True, slots=True)
class _Pump(Generic[A, R]):
    work: Work[A, R]
    emit: Emit[R]
    slots: asyncio.Semaphore
    group: asyncio.TaskGroup
    ordered: bool

    async def drive(self, items: AsyncIterator[A], ready: Ready) -> None:
        """Pull and start, until there is nothing more."""
        index = 0
        before: asyncio.Event | None = None
        while True:
            await self.slots.acquire()
            await ready()
            try:
                item = await anext(items)
            except StopAsyncIteration:
                return
            after = asyncio.Event()
            self.group.create_task(self._one(index, item, before, after))
            index += 1
            before = after if self.ordered else None

    async def _one(
        self, index: int, item: A, before: asyncio.Event | None, after: asyncio.Event
    ) -> None:
        async def give(result: R) -> None:
            if before is not None:
                await before.wait()
            await self.emit(result)
            after.set()

        try:
            await self.work(index, item, self._call, give)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise GenerationCancelledError(
                f"the work for input {index} was cancelled, from within"
            ) from None
        self.slots.release()

    async def _call(self, function: Callable[[A], Any], item: A) -> Any:
        if iscoroutinefunction(function):
            return await function(item)
        result: Any = await in_worker_thread(function, item)
        # An Observable can be awaited, but here it is a result.
        if isawaitable(result) and not isinstance(result, Observable):
            return await result
        return result
