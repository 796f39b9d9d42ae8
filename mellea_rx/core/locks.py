"""Locks that are free in a forked child, whichever thread held them in the parent."""

from __future__ import annotations

import os
import threading
from types import TracebackType

__all__ = ["ProcessLock", "no_fork"]

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


class ProcessLock:
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
