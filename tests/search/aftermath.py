"""Checks after a program's end: nothing of it may still run, be open or be referred to."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mellea_rx.core.runtime.engine import engine
from tests.search.player import Player
from tests.search.server import PlanServer

__all__ = ["Aftermath", "complaints"]

PATIENCE = 15.0
"""Seconds that what ends may take to be gone: far more than it needs on a busy machine."""

_POOLS = (
    *("mellea-rx-engine", "mellea-rx-delivery", "mellea-rx-user", "mellea-rx-worker"),
    *("asyncio_", "uvloop_", "watchdog"),
)


class Aftermath:
    """Looks for what was left, compared with what there was before the first program.

    Args:
        server: The one that all programs speak to.
    """

    def __init__(self, server: PlanServer) -> None:
        self._server = server
        self._own = set(threading.enumerate())
        self._tasks = len(asyncio.all_tasks(engine().loop))
        self._sockets = _sockets()

    def left_by(self, player: Player) -> Iterator[str]:
        """A description of all that a program left behind. Call it when its backend is closed."""
        looks: dict[str, Callable[[], Any]] = {
            "thunks that nobody holds": lambda: _alive(player),
            "requests on the server": lambda: self._server.state()["running"],
            "tasks on the engine": self._extra_tasks,
            "threads": self._extra_threads,
            "sockets": lambda: max(0, _sockets() - self._sockets),
        }
        for name, look in looks.items():
            until = time.monotonic() + PATIENCE
            pause = 0.0005
            while left := look():
                if time.monotonic() > until:
                    yield f"left behind: {name}: {left}"
                    break
                time.sleep(pause)
                pause = min(0.05, pause * 2)

    def _extra_tasks(self) -> list[str]:
        tasks = asyncio.all_tasks(engine().loop)
        return [repr(task)[:300] for task in tasks] if len(tasks) > self._tasks else []

    def _extra_threads(self) -> list[str]:
        others = [each for each in threading.enumerate() if each not in self._own]
        return [each.name for each in others if not (each.name.startswith(_POOLS) or _is_rx(each))]


def _is_rx(thread: threading.Thread) -> bool:
    """Whether it is a thread of RxPY's own, which now and then outlives its scheduler."""
    target = getattr(thread, "_target", None)
    return type(getattr(target, "__self__", None)).__module__.startswith("reactivex.")


def _alive(player: Player) -> list[str]:
    if all(each() is None for each in player.made):
        return []
    gc.collect()
    alive = [thunk for each in player.made if (thunk := each()) is not None]
    return [f"{thunk!r}, held by {_holders(thunk, alive)}" for thunk in alive]


def _holders(thunk: Any, own: list[Any]) -> list[str]:
    """The objects that refer to a thunk, cut short."""
    holders = [each for each in gc.get_referrers(thunk) if each is not own]
    return [f"{type(each).__name__} {each!r}"[:300] for each in holders]


def _sockets() -> int:
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue  # the listing's own
    return sum(link.startswith("socket:") for link in links)


@contextmanager
def complaints() -> Iterator[list[str]]:
    """Collects the complaints of asyncio, the interpreter and warnings meanwhile."""
    told: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(f"{record.name} logged: {self.format(record)}")

    handler = Keep(logging.ERROR)
    loggers = [logging.getLogger(name) for name in ("asyncio", "concurrent.futures")]
    for logger in loggers:
        logger.addHandler(handler)
    hooks = sys.unraisablehook, threading.excepthook
    sys.unraisablehook = lambda it: told.append(f"unraisable: {it.exc_value!r} in {it.object!r}")
    threading.excepthook = lambda it: told.append(f"a thread ended with {it.exc_value!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = lambda message, *_: told.append(f"warned: {message}")
            yield told
    finally:
        sys.unraisablehook, threading.excepthook = hooks
        for logger in loggers:
            logger.removeHandler(handler)
