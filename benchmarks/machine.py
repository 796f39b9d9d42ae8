"""The machine that it ran on, and what else that machine did meanwhile."""

from __future__ import annotations

import os
import platform
import resource
import time
from importlib.metadata import version
from pathlib import Path

__all__ = ["Neighbours", "described", "load"]

_PARTS = ["aiohttp", "reactivex", "msgspec", "uvloop"]


def described() -> str:
    """Processor, system, Python and the versions of what we build on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text("utf-8").splitlines() if "model name" in line]
        model = names[0].partition(":")[2].strip() if names else model
    parts = ", ".join(f"{name} {version(name)}" for name in _PARTS)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return (
        f"{os.cpu_count()} x {model}, {platform.system()} {platform.release()}; {python}; {parts}"
    )


def load() -> str:
    """The load average of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


class Neighbours:
    """The number of processors that others have used since `__init__` (on Linux; else None)."""

    def __init__(self) -> None:
        self._busy, self._own, self._since = _busy(), _own(), time.monotonic()

    def processors(self) -> float | None:
        """The mean; ask when the children that were started have ended."""
        now = _busy()
        if now is None or self._busy is None:
            return None
        others = (now - self._busy) - (_own() - self._own)
        return max(0.0, others / (time.monotonic() - self._since))


def _busy() -> float | None:
    """Seconds of CPU that the whole machine has used since it started."""
    path = Path("/proc/stat")
    if not path.exists():
        return None
    fields = map(int, path.read_text("ascii").split()[1:9])
    user, nice, system, _, _, irq, softirq, stolen = fields  # by other machines on this hardware
    ticks: int = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq + stolen) / ticks


def _own() -> float:
    """Seconds of CPU of this process and of those that it started and that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
