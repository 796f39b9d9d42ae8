"""The faults between a client and its server, chosen at random by a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from mellea_rx import (
    ConnectionFailedError,
    FirstTokenTimeoutError,
    IdleTimeoutError,
    MelleaRxError,
    ProtocolError,
    ServerError,
    StreamInterruptedError,
)

__all__ = ["KINDS", "Fault", "fault_of", "may_end_in"]

KINDS = (
    "none",
    "late",  # the head of the answer is held back for a moment
    "pause",  # silence for a moment in the middle
    "drip",  # the rest of the body in pieces of a few bytes
    "refuse",  # the connection closes before an answer
    "busy",  # status 503 with Retry-After: 0 in place of the answer
    "cut",  # the connection closes in the middle
    "reset",  # the same with RST
    "garble",  # the rest of the body is noise
    "stall",  # silence until the client leaves
)
"""The kinds of faults; the first four do not harm the answer."""


@dataclass(frozen=True)
class Fault:
    """The fault of one case.

    Attributes:
        kind: One of `KINDS`.
        at: So many bytes of the answer's body pass before it.
        tries: So many tries of the same case suffer it; later ones pass.
        size: Bytes of a piece, where it drips.
    """

    kind: str = "none"
    at: int = 0
    tries: int = 1
    size: int = 1


def fault_of(seed: int, case: int) -> Fault:
    """The fault of a case: the same in every process, so that a failure can be repeated."""
    chance = random.Random(f"{seed}:{case}")
    return Fault(
        kind=chance.choice(KINDS),
        at=chance.randrange(1, 600),
        tries=chance.choice((1, 1, 1, 99)),
        size=chance.randrange(1, 40),
    )


def may_end_in(fault: Fault) -> tuple[type[MelleaRxError] | None, ...]:
    """The errors in which a call with this fault may end; None for success.

    A fault in the middle strikes only an answer that is longer than `Fault.at`, and one that
    strikes before any text may be tried again.
    """
    for_good = fault.tries > 1
    match fault.kind:
        case "refuse":
            return (ConnectionFailedError,) if for_good else (None,)
        case "busy":
            return (ServerError,) if for_good else (None,)
        case "cut" | "reset":
            return (None, StreamInterruptedError)
        case "garble":
            return (None, StreamInterruptedError, ProtocolError)
        case "stall":
            return (None, FirstTokenTimeoutError, IdleTimeoutError)
    return (None,)
