"""Behaviour of locks and resources when the process forks or the engine stops.

`ForkSafeLock` is a lock that is open in a forked child whatever thread held it in the parent;
`no_fork` keeps others from forking meanwhile. The protocols describe objects that an engine
notifies when it stops. Used by the engine, and by every module with state of the whole process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from mellea_rx.errors import EngineStoppedError

no_fork = threading.RLock()
"""Held while code takes locks of other packages: no fork meanwhile, which would copy them locked.

(A late import takes Python's lock of that module; Jinja has locks of its own while it parses.)
"""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=no_fork.acquire,
        after_in_parent=no_fork.release,
        after_in_child=no_fork.release,
    )


class ForkSafeLock:
    """A `threading.Lock` of this process: a forked child has a fresh one.

    Another thread of the parent may hold it in the moment of the fork, and does not exist in the
    child to release it.
    """

    __slots__ = ("_lock", "_process")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()

    def __enter__(self) -> None:
        if self._process != os.getpid():
            self._lock = threading.Lock()
            self._process = os.getpid()
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()


Lost = Callable[[EngineStoppedError], object]
"""Called with the error that a piece of work ends with when its engine stops under it."""


class ForkAware(Protocol):
    """Is notified in a forked child that its engine does not run there."""

    def after_fork_in_child(self) -> None:
        """End with an `EngineStoppedError`. Called in the child, when it has one thread only."""
        ...


class TaskOwner(ForkAware, Protocol):
    """The object that a task works for."""

    def never_began(self) -> None:
        """End: the work was cancelled before it began. Called on the engine."""
        ...


class AsyncResource(Protocol):
    """An object that lives on the engine's loop and has to be closed on it."""

    async def aclose(self) -> None:
        """Close it. Idempotent."""
        ...
