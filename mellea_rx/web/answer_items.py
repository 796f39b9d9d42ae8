"""The items of an answer in their order, for the encoders of web protocols.

An item is a `Chunk`, a `Retracted`, or an event of the call that a chunk does not tell of.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import reactivex as rx
from msgspec.structs import replace
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import SerialDisposable

from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.chunk import Chunk, Retracted
from mellea_rx.core.types.events import Event, Rejected, ToolCalled, ToolReturned
from mellea_rx.core.types.validation import kind_of
from mellea_rx.errors import InvalidInputError, RetractedError

Source: TypeAlias = ModelOutputThunk[Any] | Observable[Any]
"""A thunk, or any Observable of chunks or texts."""


def answer_items(source: Source) -> Observable[Chunk | Event]:
    """The items of a source.

    Of a thunk, tool calls and their results are told by its events, also those of `react`'s steps,
    and its chunks have none.

    Raises:
        InvalidInputError: It is not a source.
    """
    if isinstance(source, ModelOutputThunk):
        told = source.events.pipe(ops.filter(_is_told))
        return rx.merge(_standing(source), told)
    if isinstance(source, Observable):
        return source.pipe(ops.map(_as_chunk))
    if inspect.iscoroutine(source):
        source.close()  # else Python warns that it was never awaited, in the place of this error
        raise InvalidInputError("a coroutine is no thunk: write `await m.ainstruct(...)`")
    raise InvalidInputError(
        f"a thunk, or an Observable of chunks or texts, can be sent; not {kind_of(source)}"
    )


def _is_told(event: Event) -> bool:
    return isinstance(event, (ToolCalled, ToolReturned, Rejected))


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
            observer.on_next(replace(chunk, tool_calls=()) if chunk.tool_calls else chunk)

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
