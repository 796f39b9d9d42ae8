"""Retractions: text of a running answer that is void, and its effect on each subscriber."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from mellea_rx.core.types.chunk import Retracted
from mellea_rx.errors import MelleaRxError


class Effect(Enum):
    """The effect of a retraction on an observer."""

    NONE = auto()
    """It has not taken any of the text."""
    TOLD = auto()
    """It gets an item about it."""
    FAILED = auto()
    """It fails."""


@dataclass(frozen=True, slots=True)
class Retraction:
    """Text at the end of an answer is void.

    Attributes:
        item: Its size and the reason, for a subscriber that can be told by an item.
        error: For any other subscriber that has taken some of it.
        is_whole: Whether all text is void, and so also what came with it (reasoning).
        is_marked: Whether observers can be told by an item.
    """

    item: Retracted
    error: MelleaRxError
    is_whole: bool
    is_marked: bool
