"""Plays a recording: a backend without a model or a network."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterator
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path
from typing import Any

from reactivex import Observable

from mellea_rx.backends.scripted import Pause, Piece, play
from mellea_rx.core.backend import Capabilities
from mellea_rx.core.chunk import Chunk
from mellea_rx.core.locks import ProcessLock
from mellea_rx.core.options import Options
from mellea_rx.core.request import Request
from mellea_rx.core.source import ChunkSource, Push
from mellea_rx.core.watch import StallWatch
from mellea_rx.errors import InvalidInputError, RecordingError
from mellea_rx.testing.recordings import Exchange, encoded, plain, read_recording

__all__ = ["Replay", "replay"]

SHOWN = 200
"""How much of a prompt an error shows, in characters."""
COMPARED = 2000
"""How much of a prompt is compared to find the nearest, in characters."""


class Replay:
    """A backend that answers from a recording; `replay()` makes one.

    A request is answered by what was recorded for the same messages, options and schema, however
    it is taken (`STREAM`, time limits, `RETRIES`, `ON_INTERRUPT`). What was asked several
    times is played in that order, the last again and again.

    Attributes:
        name: The recorded backend's name.
        model: Its model.
        model_options: Its options.
        capabilities: What it said that it can do.
        requests: What was asked so far, oldest first.
    """

    def __init__(self, path: Path, speed: float) -> None:
        heading, exchanges, self._torn = read_recording(path)
        self.name = heading.backend
        self.model = heading.model
        self.model_options = Options(heading.options)
        self.capabilities = Capabilities(**heading.capabilities)
        self.requests: tuple[Request, ...] = ()
        self._path = path
        self._speed = speed
        self._exchanges = exchanges
        self._answers: dict[str, list[Exchange]] = defaultdict(list)
        for each in exchanges:
            self._answers[each.key].append(each)
        self._lock = ProcessLock()

    def check(self, options: Options) -> None:
        """Every option is fine: what was not recorded has no answer."""

    def stream(self, request: Request) -> Observable[Chunk]:
        """Play what was recorded for this request; see `Backend.stream`.

        Fails with a `RecordingError` where nothing was.
        """
        return ChunkSource(partial(self._play, request))

    async def models(self) -> list[str]:
        """The recorded model."""
        return [self.model]

    def close(self) -> None:
        """Nothing to let go of."""

    async def _play(self, request: Request, push: Push) -> None:
        pieces = self._pieces(self._take(request))
        with StallWatch(request.options, "the recording") as watch:
            await play(pieces, push, watch)

    def _take(self, request: Request) -> Exchange:
        asked = plain(request)
        with self._lock:
            self.requests = (*self.requests, request)
            answers = self._answers.get(encoded(asked))
            if answers:
                return answers.pop(0) if len(answers) > 1 else answers[0]
        raise RecordingError(self._unknown(asked))

    def _pieces(self, exchange: Exchange) -> Iterator[Piece]:
        now = 0.0
        for at, chunk in exchange.chunks:
            yield from self._pause(at - now)
            yield chunk
            now = at
        yield from self._pause(exchange.seconds - now)
        if exchange.cut:
            yield RecordingError(
                f"the recording of this request ends here, after {exchange.seconds:g} s: it was "
                f"cancelled then; record it anew ({self._path})"
            )
        if exchange.failure is not None:
            yield exchange.failure.error()

    def _pause(self, seconds: float) -> Iterator[Pause]:
        if self._speed and seconds > 0:
            yield Pause(seconds / self._speed)

    def _unknown(self, asked: dict[str, Any]) -> str:
        lines = [f"{self._path} has no recording of this request: {_said(asked)}"]
        if self._exchanges:
            near = max(self._exchanges, key=lambda each: _likeness(asked, each.request)).request
            lines.append(f"  the nearest that it has: {_said(near)}")
            lines.append(f"  they differ in: {', '.join(_differences(asked, near))}")
        if self._torn:
            lines.append(f"  the recording is not whole: {self._torn}")
        lines.append("  record it: run this once with Recorder(backend, path)")
        return "\n".join(lines)

    def __repr__(self) -> str:
        if "_path" not in vars(self):  # a traceback may show one that could not be made
            return f"<{type(self).__name__}>"
        return f"<{type(self).__name__} of {self.name!r} from {str(self._path)!r}>"


def replay(path: str | os.PathLike[str], *, speed: float = 1.0) -> Replay:
    """A backend that plays what a `Recorder` saved, offline.

    Args:
        path: The recording.
        speed: How much faster than it was; 0 leaves every pause out.

    Example:
        >>> from mellea_rx import MelleaSession
        >>> m = MelleaSession(replay("greeting.jsonl", speed=0))  # doctest: +SKIP

    Raises:
        RecordingError: It cannot be read; or (when read) it has no answer to a request. A last
            line that is not whole is left out, and the message says so.
        InvalidInputError: `speed` is negative.
    """
    if not (math.isfinite(speed) and speed >= 0):
        raise InvalidInputError(f"speed must be 0 or more, not {speed!r}")
    return Replay(Path(path), speed)


def _prompt(request: dict[str, Any]) -> str:
    return "\n".join(message.get("content", "") for message in request["messages"])


def _said(request: dict[str, Any]) -> str:
    text = _prompt(request)
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")


def _likeness(one: dict[str, Any], other: dict[str, Any]) -> float:
    first, second = _prompt(one), _prompt(other)
    alike = SequenceMatcher(None, first[-COMPARED:], second[-COMPARED:], autojunk=False).ratio()
    # Of equal prompts, the one with the same options and schema.
    same = [name for name, value in one.items() if value == other.get(name)]
    return alike + len(same) / 100


def _differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Where two requests differ: "messages[0].content", "options.@temperature" …"""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in {**one, **other}:
            within = f"{path}.{name}" if path else name
            yield from _differences(one.get(name), other.get(name), within)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (first, second) in enumerate(zip(one, other, strict=True)):
            yield from _differences(first, second, f"{path}[{index}]")
    elif one != other:
        yield path
