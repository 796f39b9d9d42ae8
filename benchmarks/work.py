"""A client's work: so many answers of a kind, at once and in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.server import interval, texts

__all__ = ["AT_A_TIME", "Answers", "Ask", "Work", "at_a_time", "each"]

Ask = Callable[[str, list[str]], Coroutine[Any, Any, None]]
"""Streams one answer of a model; each piece of text is appended as it comes."""
Answers = Callable[[str, Sequence[list[str]]], Awaitable[None]]
"""The same for many answers at once, one for each list."""


@dataclass(frozen=True)
class Work:
    """A way of streaming.

    Attributes:
        model: What the server does.
        streams: How many at once.
        repeats: How often, one after the other.
    """

    model: str
    streams: int = 1
    repeats: int = 1

    @property
    def chunks(self) -> int:
        """The chunks of all answers together."""
        return len(texts(self.model)) * self.streams * self.repeats

    @property
    def ideal(self) -> float:
        """Seconds that the server needs when nobody keeps it waiting (0 for bursts)."""
        return (interval(self.model) or 0.0) * len(texts(self.model)) * self.repeats


def each(ask: Ask) -> Answers:
    """Many answers at once by as many tasks."""

    async def answers(model: str, into: Sequence[list[str]]) -> None:
        await asyncio.gather(*(ask(model, pieces) for pieces in into))

    return answers


AT_A_TIME = 50
"""So many calls run at once where there are more rows than that."""


def at_a_time(ask: Ask) -> Answers:
    """Many answers by some workers, each of which takes the next row when it is done."""

    async def answers(model: str, into: Sequence[list[str]]) -> None:
        rows = iter(into)

        async def work() -> None:
            for pieces in rows:
                await ask(model, pieces)

        await asyncio.gather(*(work() for _ in range(min(AT_A_TIME, len(into)))))

    return answers
