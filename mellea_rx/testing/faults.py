"""Faults: functions that turn an answer of a `ScriptedBackend` into one that fails or is slow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

from mellea_rx.backends.scripted import Answer, Pause, Piece, pieces_of
from mellea_rx.core.types.request import Request
from mellea_rx.errors import GenerationFailedError, InvalidInputError, StreamInterruptedError

__all__ = ["STALL", "breaking", "dripping", "failing", "stalling"]

STALL = Pause(math.inf)
"""An endless pause, for any place in an answer; `ModelOption.STREAM_TIMEOUT` ends it."""


def stalling(answer: Answer, *, after: int) -> Answer:
    """Make an answer that stops sending, and never ends.

    Args:
        answer: The answer; a text is sent word by word.
        after: The number of pieces that are sent before (pauses do not count).

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
    """Make an answer that fails with an error of the model.

    Args:
        answer: The answer; a text is sent word by word.
        after: The number of pieces that are sent before (pauses do not count).
        error: Called for each request to make its error.

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
    """Make an answer whose connection breaks; the text received before is kept.

    Args:
        answer: The answer; a text is sent word by word.
        after: The number of pieces that are sent before (pauses do not count).

    Raises:
        InvalidInputError: `after` is negative.
    """
    return _cut(answer, after, lambda: StreamInterruptedError("the connection broke"))


def dripping(answer: Answer, *, every: float) -> Answer:
    """Make a slow answer, with a pause before each piece.

    Args:
        answer: The answer; a text is sent word by word.
        every: The pause before each piece, in seconds.

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
        # A new error for each request: the text received before is stored on the error.
        return [*_first(after, pieces_of(answer, request)), fault()]

    return play


def _first(count: int, pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The first `count` pieces, and the pauses before and between them."""
    for piece in pieces:
        if count == 0:
            return
        yield piece
        count -= not isinstance(piece, Pause)
