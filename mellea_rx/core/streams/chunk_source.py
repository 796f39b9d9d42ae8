"""Cold Observables of chunks that run on the engine, and the sinks that take an answer.

Backends return a `ChunkSource`; a pipeline awaits it directly with `drain`, and any other
Observable is subscribed to.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable, SingleAssignmentDisposable

from mellea_rx.core.runtime.cross_thread_result import CrossThreadResult
from mellea_rx.core.runtime.delivery import DeliveryTarget
from mellea_rx.core.runtime.engine import engine
from mellea_rx.core.streams.buffers import ChunkAccumulator
from mellea_rx.core.streams.observable import Stream, safe_terminate
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.validation import kind_with_article
from mellea_rx.errors import CallerLoopClosedError, MelleaRxError, UnexpectedError


class AnswerSink(Protocol):
    """Receives one answer."""

    @property
    def text(self) -> str:
        """The text so far."""
        ...

    @property
    def has_content(self) -> bool:
        """Whether any content has come."""
        ...

    def push(self, chunk: Chunk, /) -> None:
        """Receive a chunk."""
        ...

    def retrying(self, error: MelleaRxError, pause: float, *, restarts: bool) -> None:
        """Note that the request will be repeated.

        Args:
            error: Why.
            pause: Seconds until then.
            restarts: Whether the answer so far is void.
        """
        ...

    def restart(self, error: MelleaRxError) -> bool:
        """Discard the answer so far. Returns False where that is impossible."""
        ...


class CollectingSink:
    """A sink that collects the chunks."""

    def __init__(self) -> None:
        self._fold = ChunkAccumulator()

    @property
    def answer(self) -> Chunk:
        """The answer so far, as one chunk."""
        return self._fold.snapshot()

    @property
    def text(self) -> str:
        """The text of the answer so far."""
        return self._fold.snapshot().text

    @property
    def has_content(self) -> bool:
        """Whether any chunk has come."""
        return bool(self._fold)

    def push(self, chunk: Chunk) -> None:
        """Add a chunk."""
        self._fold.add(chunk)

    def retrying(self, error: MelleaRxError, pause: float, *, restarts: bool) -> None:
        """Does nothing."""

    def restart(self, error: MelleaRxError) -> bool:
        """Discard the chunks."""
        self._fold = ChunkAccumulator()
        return True


T = TypeVar("T")

Push = Callable[[Chunk], None]
"""Accepts one chunk; never blocks."""

_CLOSED_LOOP_CHECK = 1.0
"""Seconds between two checks whether the user's loop is closed."""


class ChunkSource(Stream[Chunk]):
    """An Observable that runs `produce` on the engine, anew for each subscription.

    Disposing the subscription cancels it; its exception goes to `on_error`.

        produce:   push a   push b   return
        source:    ---a--------b--------|

    Args:
        produce: Calls its argument, `push`, with every chunk, and returns at the end.
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
                safe_terminate(observer, error)
            else:
                observer.on_completed()

        return Disposable(engine().spawn(run, lost=partial(safe_terminate, observer)).cancel)


def drain(source: Observable[Chunk], push: Push, backend: str) -> Awaitable[None]:
    """Subscribe to `source`, `push` all its chunks, return when it completed.

    Runs on the engine. The source may emit on any thread; being cancelled disposes it.

    Args:
        source: The result of a backend's `stream`.
        push: Called with each chunk. An error that it raises ends the subscription.
        backend: The backend's name, for messages.

    Raises:
        UnexpectedError: The source is no Observable; or (when awaited) it emitted an item that is
            no `Chunk`.
        Exception: (when awaited) The source's error, or that of `push`.
    """
    if isinstance(source, ChunkSource):
        # It runs on the engine as well: so in this very task, without a subscription in between.
        return source.produce(push)
    if not isinstance(source, abc.ObservableBase):
        if inspect.iscoroutine(source):
            source.close()  # else Python warns that it was never awaited
        raise _wrong_stream(backend, "returned", source)
    return _drain(source, push, backend)


async def _drain(source: Observable[Chunk], push: Push, backend: str) -> None:
    end: CrossThreadResult[None] = CrossThreadResult()

    def take(chunk: Chunk) -> None:
        # An error is not raised into the source, which may lose it in a thread of its own.
        if end.is_set:
            return
        if not isinstance(chunk, Chunk):
            end.fail(_wrong_stream(backend, "emitted", chunk))
            return
        try:
            push(chunk)
        except Exception as error:
            end.fail(error)

    subscription = source.subscribe(take, end.fail, partial(end.succeed, None))
    try:
        await end.on_loop()
    finally:
        subscription.dispose()


def _wrong_stream(backend: str, verb: str, value: object) -> UnexpectedError:
    return UnexpectedError(
        f"backend {backend!r}: stream() must return an Observable of Chunk; "
        f"it {verb} {kind_with_article(value)}"
    )


async def drain_at(
    target: DeliveryTarget, source: Observable[T], push: Callable[[T], None]
) -> None:
    """Drain a source of the user's; it is subscribed to on the loop or thread of its user.

    Args:
        target: The loop and dispatcher that the source is subscribed to on.
        source: The source.
        push: Called with each item, by the source.

    Raises:
        CallerLoopClosedError: That loop is closed.
        Exception: The source's error.
    """
    end: CrossThreadResult[None] = CrossThreadResult()
    subscription = SingleAssignmentDisposable()

    def begin() -> None:
        subscription.disposable = source.subscribe(push, end.fail, partial(end.succeed, None))

    target.call(begin, lost=lambda: end.fail(_closed()))
    come = end.on_loop()
    try:
        while not come.done():
            await asyncio.wait({come}, timeout=_CLOSED_LOOP_CHECK)
            if target.loop is not None and target.loop.is_closed():
                end.fail(_closed())
        await come
    finally:
        subscription.dispose()


def _closed() -> CallerLoopClosedError:
    return CallerLoopClosedError(
        "the event loop that made this thunk of an Observable was closed: await it before that"
    )
