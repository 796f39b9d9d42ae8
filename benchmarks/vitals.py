"""A process's memory, tasks, threads and sockets. Linux only: it reads /proc."""

from __future__ import annotations

import asyncio
import os
import statistics
import threading
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from benchmarks.measures import resident
from mellea_rx.core.runtime.engine import engine

__all__ = ["Vitals", "median", "sockets"]

_DESCRIPTORS = Path("/proc/self/fd")


@dataclass(frozen=True)
class Vitals:
    """The resources of this process.

    Attributes:
        memory: Resident, in KB.
        tasks: On the engine and on the running loop.
        threads: Python's.
        sockets: Open ones.
    """

    memory: float
    tasks: float
    threads: float
    sockets: float

    @classmethod
    def now(cls) -> Vitals:
        """As it is at the moment; call it on a loop."""
        tasks = len(asyncio.all_tasks()) + len(asyncio.all_tasks(engine().loop))
        return cls(resident() / 1024, tasks, threading.active_count(), sockets())


def median(samples: Sequence[Vitals]) -> Vitals:
    """Of each of them."""
    columns = zip(*map(astuple, samples), strict=True)
    named = dict(zip((each.name for each in fields(Vitals)), columns, strict=True))
    return Vitals(**{name: statistics.median(values) for name, values in named.items()})


def sockets() -> int:
    """The number of sockets that the process has open."""
    return sum(_target(each).startswith("socket:") for each in os.listdir(_DESCRIPTORS))


def _target(descriptor: str) -> str:
    try:
        return os.readlink(_DESCRIPTORS / descriptor)
    except FileNotFoundError:  # closed since it was listed; the listing's own is always
        return ""
