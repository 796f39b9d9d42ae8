"""What goes wrong with answers, by name: each makes an answer for a `ScriptedBackend`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

from mellea_rx.backends.scripted import Answer, Pause, Piece, pieces_of
from mellea_rx.core.request import Request
from mellea_rx.errors import GenerationFailedError, InvalidInputError, StreamInterruptedError

__all__ = ["STALL", "breaking", "dripping", "failing", "stalling"]

STALL = Pause(math.inf)
"""Silence without end, anywhere in an answer; `ModelOption.STREAM_TIMEOUT` ends it."""


def stalling(answer: Answer, *, after: int) -> Answer:
    """The answer, which falls silent for ever.

    Args:
        answer: What is said; a text goes word by word.
        after: How many pieces of it are said before that (pauses do not count).

    Example:
        >>> from mellea_rx import MelleaSession, ModelOption, ScriptedBackend
        >>> backend = ScriptedBackend(stalling("Once upon a time", after=2))
        >>> MelleaSession(backend, model_options={ModelOption.STREAM_TIMEOUT: 0.01}).instruct("Go.")
        Traceback (most recent call last):
        mellea_rx.errors.IdleTimeoutError: the script stopped sending: nothing came for 0.01 s ...

    Raises:
        InvalidInputError: `after` is negative.
    """
    return _cut(answer, after, lambda: STALL)


def failing(
    answer: Answer,
    *,
    after: int,
    error: Callable[[], Exception] = lambda: GenerationFailedError("the model crashed"),
) -> Answer:
    """The answer, in the middle of which the model fails.

    Args:
        answer: What is said; a text goes word by word.
        after: How many pieces of it are said before that (pauses do not count).
        error: Makes the error, anew for every request.

    Example:
        >>> from mellea_rx import MelleaSession, ScriptedBackend
        >>> MelleaSession(ScriptedBackend(failing("Once upon", after=1), "again")).instruct("Go.")
        Traceback (most recent call last):
        mellea_rx.errors.GenerationFailedError: the model crashed

    Raises:
        InvalidInputError: `after` is negative.
    """
    return _cut(answer, after, error)


def breaking(answer: Answer, *, after: int) -> Answer:
    """The answer, in the middle of which the connection breaks; the text so far is kept.

    Args:
        answer: What is said; a text goes word by word.
        after: How many pieces of it are said before that (pauses do not count).

    Raises:
        InvalidInputError: `after` is negative.
    """
    return _cut(answer, after, lambda: StreamInterruptedError("the connection broke"))


def dripping(answer: Answer, *, every: float) -> Answer:
    """The answer, slowly: each piece after so many seconds.

    Args:
        answer: What is said; a text goes word by word.
        every: Seconds before each piece.

    Raises:
        InvalidInputError: `every` is negative.
    """
    if not every >= 0:
        raise InvalidInputError(f"every must be 0 or more seconds, not {every!r}")

    def play(request: Request) -> list[Piece]:
        return [part for piece in pieces_of(answer, request) for part in (Pause(every), piece)]

    return play


def _cut(answer: Answer, after: int, fault: Callable[[], Piece]) -> Answer:
    if after < 0:
        raise InvalidInputError(f"after must be 0 or more pieces, not {after!r}")

    def play(request: Request) -> list[Piece]:
        # Anew for each request: an error keeps the text that it was raised over.
        return [*_first(after, pieces_of(answer, request)), fault()]

    return play


def _first(count: int, pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces up to so many that are said; pauses do not count."""
    for piece in pieces:
        if count == 0:
            return
        yield piece
        count -= not isinstance(piece, Pause)
