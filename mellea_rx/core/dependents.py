"""What depends on an engine, and what it is told when that stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mellea_rx.errors import EngineStoppedError

__all__ = ["Lost", "Orphan", "Owner", "Resource"]

Lost = Callable[[EngineStoppedError], object]
"""Takes the error that a piece of work ends with when its engine stops under it."""


class Orphan(Protocol):
    """What a fork leaves behind: it is told in the child that its engine does not run there."""

    def orphaned(self) -> None:
        """End with an `EngineStoppedError`. Called in the child, when it has one thread only."""
        ...


class Owner(Orphan, Protocol):
    """Whose work a task is."""

    def unbegun(self) -> None:
        """End: the work was cancelled before it began. Called on the engine."""
        ...


class Resource(Protocol):
    """Something that lives on the engine's loop and has to be closed on it."""

    async def aclose(self) -> None:
        """Let go of it. Idempotent."""
        ...
