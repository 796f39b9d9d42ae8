"""What to do about an error, told with it."""

from __future__ import annotations

import copy
from typing import TypeVar

from mellea_rx.errors import MelleaRxError

__all__ = ["with_advice"]

E = TypeVar("E", bound=MelleaRxError)


def with_advice(error: E, advice: str) -> E:
    """The error, and a further line in its message."""
    told = copy.copy(error)
    told.args = (f"{error}\n  {advice}",)
    return told
