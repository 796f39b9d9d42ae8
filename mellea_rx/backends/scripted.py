"""A backend that plays what it is told: for tests and examples, with no model and no network."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

from reactivex import Observable

from mellea_rx.core.backend import Capabilities
from mellea_rx.core.chunk import Chunk, Usage
from mellea_rx.core.locks import ProcessLock
from mellea_rx.core.options import Options
from mellea_rx.core.request import Request
from mellea_rx.core.source import ChunkSource, Push
from mellea_rx.core.watch import StallWatch
from mellea_rx.errors import InvalidInputError

__all__ = ["Answer", "Pause", "Piece", "ScriptedBackend", "pieces_of", "play"]


class Pause(float):
    """So many seconds of silence, in the middle of an answer; `math.inf` is for ever."""


Piece: TypeAlias = "str | Chunk | Pause | BaseException"
Answer: TypeAlias = "str | BaseException | Iterable[Piece] | Callable[[Request], Answer]"
"""A text (played word by word), a list of pieces, an error, or a function of the request."""


class ScriptedBackend:
    """Plays answers, one per request, in order; the last one again and again.

    Args:
        answers: What to play. A text goes out word by word; in a list, each text and `Chunk` goes
            out as it is, a `Pause` is silence, and an exception is raised there. A function gets
            the `Request` and returns one of these. A `Chunk` may say the finish reason; it is
            "stop" else.
        delay: Seconds before each piece.
        model_id: The model's name.
        model_options: Options for every request which does not set them itself.

    Example:
        >>> from mellea_rx import MelleaSession
        >>> MelleaSession(ScriptedBackend("Hello there.")).instruct("Greet me.").value
        'Hello there.'

    Attributes:
        requests: What was asked so far, oldest first.
        running: How many answers are being played now.
    """

    name = "scripted"
    capabilities = Capabilities(
        continues=True, schema=True, tools=True, images=True, image_urls=True
    )

    def __init__(
        self,
        *answers: Answer,
        delay: float = 0.0,
        model_id: str = "scripted",
        model_options: Mapping[Any, Any] | None = None,
    ) -> None:
        if delay < 0:
            raise InvalidInputError(f"delay must be 0 or more seconds, not {delay!r}")
        self.model = model_id
        self.model_options = Options(model_options)
        self.requests: tuple[Request, ...] = ()
        self.running = 0
        self._answers = answers or ("This is a scripted answer.",)
        self._delay = delay
        self._lock = ProcessLock()

    def check(self, options: Options) -> None:
        """Every option is fine."""

    def stream(self, request: Request) -> Observable[Chunk]:
        """Play the next answer; see `Backend.stream`."""
        return ChunkSource(partial(self._play, request))

    async def models(self) -> list[str]:
        """Its one model."""
        return [self.model]

    def close(self) -> None:
        """Nothing to let go of."""

    async def _play(self, request: Request, push: Push) -> None:
        with self._lock:
            answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
            self.requests = (*self.requests, request)
            self.running += 1
        reason = "stop"

        def take(chunk: Chunk) -> None:
            nonlocal reason
            reason = chunk.finish_reason or reason
            push(chunk)

        try:
            with StallWatch(request.options, "the script") as watch:
                tokens = await play(pieces_of(answer, request), take, watch, delay=self._delay)
            words = sum(len(message.content.split()) for message in request.messages)
            push(Chunk(usage=Usage(words, tokens), finish_reason=reason, model=self.model))
        finally:
            with self._lock:
                self.running -= 1


async def play(
    pieces: Iterable[Piece], push: Push, watch: StallWatch, *, delay: float = 0.0
) -> int:
    """Play an answer.

    Args:
        pieces: What it is made of.
        push: Takes its chunks.
        watch: Told of each.
        delay: Seconds before each chunk.

    Returns:
        How many chunks there were.

    Raises:
        BaseException: An error among the pieces.
    """
    count = 0
    for piece in pieces:
        if isinstance(piece, BaseException):
            raise piece
        await _silence(piece if isinstance(piece, Pause) else delay)
        if isinstance(piece, Pause):
            continue
        watch.alive()
        count += 1
        push(piece if isinstance(piece, Chunk) else Chunk(piece))
    return count


async def _silence(seconds: float) -> None:
    if seconds == math.inf:  # no timer: in virtual time, nothing to wait for
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(seconds)


def pieces_of(answer: Answer, request: Request) -> Iterable[Piece]:
    """The pieces that an answer is played in."""
    if callable(answer):
        return pieces_of(answer(request), request)
    if isinstance(answer, BaseException):
        return [answer]
    if not isinstance(answer, str):
        return answer
    words = answer.split(" ")
    return [word + " " for word in words[:-1]] + [words[-1]]
