"""The interface of the web protocols, into which an answer is encoded, and JSON for all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
from reactivex import Observable, abc

from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.events import Event
from mellea_rx.errors import MelleaRxError


class Encoder(Protocol):
    """Writes one answer in a protocol. Each method returns text to be sent, or ""."""

    def start(self) -> str:
        """The beginning."""
        ...

    def item(self, item: Chunk | Event, /) -> str:
        """An item of the answer."""
        ...

    def completed(self) -> str:
        """The end of a complete answer."""
        ...

    def failed(self, error: Exception, /) -> str:
        """The end of an answer that failed."""
        ...


def encoded(items: Observable[Chunk | Event], encoder: Encoder) -> Observable[str]:
    """The text to be sent. It never fails: an error is a part of every protocol."""

    def subscribe(
        observer: abc.ObserverBase[str], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        def send(text: str) -> None:
            if text:
                observer.on_next(text)

        def on_error(error: Exception) -> None:
            send(encoder.failed(error))
            observer.on_completed()

        def on_completed() -> None:
            send(encoder.completed())
            observer.on_completed()

        send(encoder.start())
        return items.subscribe(
            lambda item: send(encoder.item(item)), on_error, on_completed, scheduler=scheduler
        )

    return Observable(subscribe)


def to_json(value: Mapping[str, Any]) -> str:
    """A value as JSON on one line, also for readers that take U+2028 and its like for line ends.

    (A model may generate half a surrogate pair, which UTF-8 cannot have and JSON can, escaped; the
    other half may follow in the next piece.)
    """
    try:
        text = msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text if text.isascii() else text.translate(_LINE_ENDS)


_LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}


def error_words(error: Exception) -> tuple[str, str]:
    """The class and message of an error, for a client.

    Messages of this library show no key; those of other code may show anything, so they are left
    out.
    """
    if isinstance(error, MelleaRxError):
        return type(error).__name__, str(error)
    return "InternalError", "the server failed"
