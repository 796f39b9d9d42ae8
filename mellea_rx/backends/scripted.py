"""A backend that plays prepared answers, without a model and a network: for tests and examples."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

from reactivex import Observable

from mellea_rx.core.interfaces.backend import Capabilities
from mellea_rx.core.runtime.fork import ForkSafeLock
from mellea_rx.core.streams.chunk_source import ChunkSource, Push
from mellea_rx.core.streams.idle_timeout import IdleTimeout
from mellea_rx.core.types.chunk import Chunk, Usage
from mellea_rx.core.types.options import Options
from mellea_rx.core.types.request import Request
from mellea_rx.core.types.validation import require_type
from mellea_rx.errors import InvalidInputError

__all__ = ["Answer", "Pause", "Piece", "ScriptedBackend", "pieces_of", "play"]


class Pause(float):
    """Seconds of silence within an answer; `math.inf` for an answer that never goes on."""


Piece: TypeAlias = "str | Chunk | Pause | BaseException"
Answer: TypeAlias = "str | BaseException | Iterable[Piece] | Callable[[Request], Answer]"
"""A text (played word by word), a list of pieces, an error, or a function of the request."""


class ScriptedBackend:
    """Plays answers, one per request, in order; the last one for all further requests.

    Args:
        answers: The answers. A str is played word by word. In a list, each str or `Chunk` is one
            chunk, a `Pause` is silence, and an exception is raised at its place. A function gets
            the `Request` and returns one of these. The finish reason is that of a `Chunk` which
            has one, else "stop".
        delay: Seconds before each piece.
        model_id: The model's name.
        model_options: Options for every request that does not set them itself.

    Example:
        >>> from mellea_rx import MelleaSession
        >>> MelleaSession(ScriptedBackend("Hello there.")).instruct("Greet me.").value
        'Hello there.'

    Attributes:
        requests: The requests so far, oldest first.
        running: The number of answers that are being played now.
    """

    name = "scripted"
    capabilities = Capabilities(prefill=True, schema=True, tools=True, images=True, image_urls=True)

    def __init__(
        self,
        *answers: Answer,
        delay: float = 0.0,
        model_id: str = "scripted",
        model_options: Mapping[Any, Any] | None = None,
    ) -> None:
        require_type("model_id", model_id, str, "a str")
        require_type("delay", delay, (int, float), "a number of seconds")
        if delay < 0:
            raise InvalidInputError(f"delay must be 0 or more seconds, not {delay!r}")
        self.model = model_id
        self.model_options = Options(model_options)
        self.requests: tuple[Request, ...] = ()
        self.running = 0
        self._answers = answers or ("This is a scripted answer.",)
        self._delay = delay
        self._lock = ForkSafeLock()

    def check(self, options: Options) -> None:
        """Accepts every option."""

    def stream(self, request: Request) -> Observable[Chunk]:
        """Play the next answer; see `Backend.stream`."""
        return ChunkSource(partial(self._play, request))

    async def models(self) -> list[str]:
        """The name of its one model."""
        return [self.model]

    def close(self) -> None:
        """Does nothing: there are no connections."""

    async def _play(self, request: Request, push: Push) -> None:
        # Requests of several engines run on several threads. Under the lock each gets a separate
        # answer, and no request or count is lost.
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
            with IdleTimeout(request.options, "the script") as watch:
                tokens = await play(pieces_of(answer, request), take, watch, delay=self._delay)
            words = sum(len(message.content.split()) for message in request.messages)
            push(Chunk(usage=Usage(words, tokens), finish_reason=reason, model=self.model))
        finally:
            with self._lock:
                self.running -= 1


async def play(
    pieces: Iterable[Piece], push: Push, watch: IdleTimeout, *, delay: float = 0.0
) -> int:
    """Play an answer.

    Args:
        pieces: Its pieces.
        push: Accepts its chunks.
        watch: Its idle timeout, which each chunk restarts.
        delay: Seconds before each chunk.

    Returns:
        The number of chunks.

    Raises:
        BaseException: An exception among the pieces.
    """
    count = 0
    for piece in pieces:
        if isinstance(piece, BaseException):
            raise piece
        await _silence(piece if isinstance(piece, Pause) else delay)
        if isinstance(piece, Pause):
            continue
        watch.touch()
        count += 1
        push(piece if isinstance(piece, Chunk) else Chunk(piece))
    return count


async def _silence(seconds: float) -> None:
    if seconds == math.inf:  # a timer would let virtual time advance; a future has none
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(seconds)


def pieces_of(answer: Answer, request: Request) -> Iterable[Piece]:
    """The pieces of an answer."""
    if callable(answer):
        return pieces_of(answer(request), request)
    if isinstance(answer, BaseException):
        return [answer]
    if not isinstance(answer, str):
        return answer
    words = answer.split(" ")
    return [word + " " for word in words[:-1]] + [words[-1]]
