"""An answer as a program asks for it: the prompt itself tells the server what to do.

The text of every answer is made of the call's own name, so that a word of another call's answer is
seen at once, and what a call may end in follows from its plan alone.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from typing import Any

from mellea_rx import (
    BackendError,
    ConnectionFailedError,
    FirstTokenTimeoutError,
    GenerationFailedError,
    IdleTimeoutError,
    ProtocolError,
    ServerError,
    StreamInterruptedError,
)

MARK = "plan:"
TAILS = ("", "é", "✓", "😀", "a\n", '"', "\\")
"""Endings of words: characters of one to four bytes, and those that JSON escapes."""

HARMLESS = ("late", "pause", "drip", "comments", "hints", "bye", "stray", "slow call", "thinking")
FATAL = ("refuse", "busy", "cut", "reset", "garble", "error", "stall", "ping stall", "flood")
STRAYS = ("answer", "timeout", "half", "junk")


@dataclass(frozen=True)
class Plan:
    """The server's behaviour for one call.

    Attributes:
        name: The call's name; each of its words begins with it.
        words: How many words the answer has.
        gap: Seconds before each word; 0 sends all at once.
        fault: One of `HARMLESS` or `FATAL`, or "".
        at: Where the fault strikes, in words.
        tries: So many tries of the call suffer it; later ones pass.
        size: Bytes of a piece where the answer drips, or informational answers.
        stray: What comes unasked after the end of the answer, one of `STRAYS`.
        pause: Seconds between the end of the answer and what follows it unasked.
        call: The argument of a tool call that the answer asks for; None for none.
        limit: The call's limit on silence, in seconds.
    """

    name: str
    words: int = 4
    gap: float = 0.0
    fault: str = ""
    at: int = 0
    tries: int = 1
    size: int = 1
    stray: str = ""
    pause: float = 0.0
    call: str | None = None
    limit: float = 60.0

    @property
    def pieces(self) -> list[str]:
        """The words of the answer, each with its number."""
        return [
            f"{self.name}.{number}{TAILS[(number + len(self.name)) % len(TAILS)]} "
            for number in range(self.words)
        ]

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)

    @property
    def prompt(self) -> str:
        """The prompt that asks for it."""
        given = {key: value for key, value in asdict(self).items() if value != _DEFAULTS[key]}
        return f"Go. {MARK}{json.dumps(given)}"

    @property
    def ends(self) -> set[type[BackendError] | None]:
        """The error that a call may end with if nobody cancels it; None for success."""
        return _ends(self)

    def __str__(self) -> str:
        given = {key: value for key, value in asdict(self).items() if value != _DEFAULTS[key]}
        return " ".join(f"{key}={value!r}" for key, value in given.items() if key != "name")


SLOW_PIECES = 20
"""Pieces of a tool call's arguments, or of thinking, that come `SLOW_GAP` seconds apart."""
SLOW_GAP = 0.1
_LIMITS = {"stall": 0.4, "ping stall": 0.4, "slow call": 1.5}

_DEFAULTS = asdict(Plan(""))


def plan_in(text: str) -> Plan:
    """The first plan that stands in a prompt; an empty one where there is none."""
    _, found, rest = text.partition(MARK)
    if not found:
        return Plan("unplanned")
    fields: dict[str, Any] = json.JSONDecoder().raw_decode(rest)[0]
    return Plan(**fields)


def _ends(plan: Plan) -> set[type[BackendError] | None]:
    for_good = plan.tries > 1
    match plan.fault:
        case "refuse":
            return {ConnectionFailedError} if for_good else {None}
        case "busy":
            return {ServerError} if for_good else {None}
        case "cut" | "reset":
            return {None, StreamInterruptedError}
        case "garble":
            return {None, StreamInterruptedError, ProtocolError}
        case "error":
            return {None, GenerationFailedError}
        case "stall" | "ping stall":
            return {None, FirstTokenTimeoutError, IdleTimeoutError}
        case "flood":
            return {None, ProtocolError, ConnectionFailedError, StreamInterruptedError}
    if plan.limit < 10 and plan.fault != "slow call":
        return {None, FirstTokenTimeoutError, IdleTimeoutError}
    return {None}


def draw_plan(chance: random.Random, name: str, faults: tuple[str, ...]) -> Plan:
    """A plan for a call, drawn at random.

    Args:
        chance: Where it is drawn from.
        name: The call's name.
        faults: Those that may be drawn.
    """
    fault = chance.choice(faults) if faults and chance.random() < 0.5 else ""
    words = chance.choice((0, 1, 2, 3, 5, 8, 8, 13, 40, 300))
    gap = 0.0 if words > 20 else chance.choice((0.0, 0.0, 0.001, 0.003, 0.01))
    return Plan(
        name,
        words=words,
        gap=gap,
        fault=fault,
        at=chance.randrange(words + 1),
        tries=chance.choice((1, 1, 1, 99)) if fault in FATAL else 1,
        size=chance.choice((1, 2, 7, 10)) if words < 20 else 97,
        stray=chance.choice(STRAYS) if fault == "stray" else "",
        pause=chance.choice((0.0, 0.0, 0.001, 0.005, 0.03)) if fault in ("stray", "bye") else 0.0,
        call=name if fault == "slow call" or chance.random() < 0.1 else None,
        limit=_LIMITS.get(fault, 60.0),
    )
