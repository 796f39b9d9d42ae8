"""The facts about one call besides its text: name, times, parsed value, dependencies.

Each `Generation` has one. It takes no lock: the generation's writer sets the times, and other
threads only read them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.output import parsed_by

_UNPARSED: Any = object()
_LONGEST_NAME = 80


class Dependency(Protocol):
    """A call that another one waits for."""

    @property
    def has_ended(self) -> bool:
        """Whether it is complete or has failed."""
        ...

    @property
    def own_loops(self) -> tuple[asyncio.AbstractEventLoop, ...]:
        """The event loops that have to run for it to go on, those of its dependencies left out."""
        ...

    @property
    def dependencies(self) -> tuple[Dependency, ...]:
        """The calls that it waits for itself."""
        ...


class CallState:
    """The facts about one call besides its text.

    Args:
        clock: The engine's, in seconds.
        loops: Event loops that have to run for this call to go on (they run functions of the
            user's), so a blocking wait on one of them could never end.
        dependencies: The calls that this one waits for; while they run, it needs what they need.
        parse: Turns the whole text into the call's typed value.
        description: The question, for messages that have to name the call.

    Attributes:
        started_at: Time of the call, by the clock.
        first_at: Time of the first content; None before it.
        ended_at: Time of the end; None before it.
    """

    __slots__ = (
        "_parse",
        "_parsed",
        "clock",
        "dependencies",
        "description",
        "ended_at",
        "first_at",
        "loops",
        "started_at",
    )

    def __init__(
        self,
        clock: Callable[[], float],
        loops: tuple[asyncio.AbstractEventLoop, ...],
        dependencies: Iterable[Dependency],
        parse: Callable[[str], Any],
        description: object,
    ) -> None:
        self.clock = clock
        self.loops = loops
        self.dependencies: tuple[Dependency, ...] = tuple(
            [each for each in dependencies if not each.has_ended]
        )
        self.description = description
        self._parse = parse
        self._parsed: Any = _UNPARSED
        self.started_at = clock()
        self.first_at: float | None = None
        self.ended_at: float | None = None

    @property
    def name(self) -> str:
        """The call's name in messages: its description, at most 80 characters of it."""
        described = self.description
        name = described if isinstance(described, str) else repr(described)
        return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"

    # Times.

    def note_first(self, chunk: Chunk) -> bool:
        """Note the time where this chunk has content. Returns whether it has."""
        if not chunk:
            return False
        self.first_at = self.clock()
        return True

    def note_end(self) -> None:
        """Note the time of the end; the call waits for nothing any more."""
        self.ended_at = self.clock()
        self.dependencies = ()

    @property
    def ttft(self) -> float | None:
        """Seconds from the call to the first content; None before it."""
        return None if self.first_at is None else self.first_at - self.started_at

    @property
    def duration(self) -> float:
        """Seconds from the call to the end, or to now while it runs."""
        ended = self.ended_at
        return (self.clock() if ended is None else ended) - self.started_at

    # The value.

    def set_parsed(self, value: Any) -> None:
        """Set the typed value, which the text is then not parsed for."""
        self._parsed = value

    def parsed(self, text: str) -> Any:
        """The typed value of the whole text. Parsed once, in the thread that asks first.

        Raises:
            CallbackError: The component cannot parse the text; `text` has it.
        """
        if self._parsed is _UNPARSED:
            self._parsed = parsed_by(self._parse, text)
        return self._parsed
