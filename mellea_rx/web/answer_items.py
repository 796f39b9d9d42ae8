"""The items of an answer in their order, for the encoders of web protocols.

An item is a `Chunk`, a `Retracted`, or an event of the call that a chunk does not tell of.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import Disposable, SerialDisposable

from mellea_rx.core.streams.retraction import Retraction
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.chunk import Chunk, Retracted
from mellea_rx.core.types.events import Event, Rejected, ToolCalled, ToolReturned
from mellea_rx.core.types.validation import kind_of
from mellea_rx.errors import InvalidInputError, RetractedError

Source: TypeAlias = ModelOutputThunk[Any] | Observable[Any]
"""A thunk, or any Observable of chunks or texts."""


def answer_items(source: Source) -> Observable[Chunk | Event]:
    """The items of a source.

    Of a thunk they are its chunks, and the events that no chunk tells of: rejected attempts, and
    the tool calls of `react`'s steps with their results.

    Raises:
        InvalidInputError: It is not a source.
    """
    if isinstance(source, ModelOutputThunk):
        return _with_events(source)
    if isinstance(source, Observable):
        return source.pipe(ops.map(_as_chunk))
    if inspect.iscoroutine(source):
        source.close()  # else Python warns that it was never awaited, in the place of this error
        raise InvalidInputError("a coroutine is no thunk: write `await m.ainstruct(...)`")
    raise InvalidInputError(
        f"a thunk, or an Observable of chunks or texts, can be sent; not {kind_of(source)}"
    )


class _Events:
    """The events of a call that are told, as soon as they are recorded.

    (Not a subscription of `thunk.events`: its events would be delivered apart from the chunks, and
    so before or after a chunk that was generated after them.)

    Args:
        on_news: Called soon after an event, on the running loop.
    """

    is_idle = True  # it keeps no call running

    def __init__(self, on_news: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_news = on_news
        self.recorded: deque[Event] = deque()

    def add(self, event: Event, /) -> bool:
        """Keep an event. Called by the engine's thread, with the lock of the call held."""
        if not isinstance(event, (ToolCalled, ToolReturned, Rejected)):
            return False
        self.recorded.append(event)
        return True

    def end(self) -> bool:
        return False

    def retract(self, retraction: Retraction, /) -> bool:
        return False

    def wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody reads
            self._loop.call_soon_threadsafe(self._on_news)


def _with_events(thunk: ModelOutputThunk[Any]) -> Observable[Chunk | Event]:
    """A thunk's chunks, each after the events that were recorded before it.

    A tool call that no chunk has is told with its result; those of the answer itself come with its
    chunks.
    """

    def subscribe(
        observer: abc.ObserverBase[Chunk | Event], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        called: list[Event] = []
        is_open = True

        def flush() -> None:
            while is_open and events.recorded:
                event = events.recorded.popleft()
                if isinstance(event, ToolCalled):
                    called.append(event)
                    continue
                told = called if isinstance(event, ToolReturned) else []
                for each in (*told, event):
                    observer.on_next(each)
                called.clear()

        def on_next(chunk: Chunk) -> None:
            flush()
            observer.on_next(chunk)

        def on_error(error: Exception) -> None:
            flush()
            observer.on_error(error)

        def on_completed() -> None:
            flush()
            observer.on_completed()

        def dispose() -> None:
            nonlocal is_open
            is_open = False
            log.detach(events)
            subscription.dispose()

        events, log = _Events(flush), thunk._generation.event_log()
        log.attach(events)
        subscription = _standing(thunk).subscribe(
            on_next, on_error, on_completed, scheduler=scheduler
        )
        return Disposable(dispose)

    return Observable(subscribe)


def _as_chunk(item: Any) -> Chunk:
    if isinstance(item, Chunk):
        return item
    if isinstance(item, str):
        return Chunk(item)
    raise InvalidInputError(f"only chunks and texts can be sent, not {kind_of(item)}")


def _standing(thunk: ModelOutputThunk[Any]) -> Observable[Chunk]:
    """The chunks of a thunk; text that is void is told by a `Retracted` item in every policy.

    A subscriber that cannot be told fails, and one that comes later gets the text that stands. So
    all text is retracted, and subscribed to anew.
    """

    def subscribe(
        observer: abc.ObserverBase[Chunk], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        subscription = SerialDisposable()
        sent = 0

        def on_next(chunk: Chunk) -> None:
            nonlocal sent
            sent += -chunk.characters if isinstance(chunk, Retracted) else len(chunk.text)
            observer.on_next(chunk)

        def on_error(error: Exception) -> None:
            nonlocal sent
            if isinstance(error, RetractedError):
                void, sent = sent, 0
                observer.on_next(Retracted(characters=void, reason=error.reason))
                begin()
            else:
                observer.on_error(error)

        def begin() -> None:
            subscription.disposable = thunk.subscribe(
                on_next, on_error, observer.on_completed, scheduler=scheduler
            )

        begin()
        return subscription

    return Observable(subscribe)


Cancel: TypeAlias = Callable[[], object]


def cancel_of(source: Source) -> Cancel:
    """A function that ends a thunk's request. An Observable ends with its subscription."""
    return source.cancel if isinstance(source, ModelOutputThunk) else _nothing


def _nothing() -> None:
    """The end of the subscription is all there is to do."""
