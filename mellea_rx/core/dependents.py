"""Protocols of the objects that an engine notifies when it stops or is left behind by a fork."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mellea_rx.errors import EngineStoppedError

__all__ = ["Lost", "Orphan", "Owner", "Resource"]

Lost = Callable[[EngineStoppedError], object]
"""Called with the error that a piece of work ends with when its engine stops under it."""


class Orphan(Protocol):
    """Is notified in a forked child that its engine does not run there."""

    def orphaned(self) -> None:
        """End with an `EngineStoppedError`. Called in the child, when it has one thread only."""
        ...


class Owner(Orphan, Protocol):
    """The object that a task works for."""

    def unbegun(self) -> None:
        """End: the work was cancelled before it began. Called on the engine."""
        ...


class Resource(Protocol):
    """An object that lives on the engine's loop and has to be closed on it."""

    async def aclose(self) -> None:
        """Close it. Idempotent."""
        ...
