"""`with_advice`: adds a hint to the message of an error."""

from __future__ import annotations

import copy
from typing import TypeVar

from mellea_rx.errors import MelleaRxError

__all__ = ["with_advice"]

E = TypeVar("E", bound=MelleaRxError)


def with_advice(error: E, advice: str) -> E:
    """A copy of the error with the advice as a further line of its message."""
    advised = copy.copy(error)
    advised.args = (f"{error}\n  {advice}",)
    return advised
