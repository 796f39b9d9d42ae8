"""Runs a program as its reader would: in a process of its own, strict about what it leaves open."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
TIMEOUT = 300
_SLOW_STEP = re.compile(r"Executing <.*> took \d+\.\d+ seconds$")
_HELD_LOOP = re.compile(r"\S+:\d+: a blocking wait held the running event loop for ")
_UNMET = re.compile(r"call \d+: no answer met the requirements in \d+ attempts; ")
_CUT = re.compile(r"an answer of the embedded model was cut at \d+ tokens")


def run_program(*command: str | Path) -> str:
    """Run a program on the embedded model. It has to end well, and say nothing unusual on stderr.

    Args:
        command: A file and its arguments.

    Returns:
        What it printed.
    """
    environment = {
        **os.environ,
        "MELLEA_RX_BACKEND": "local",
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": "utf-8",
    }
    environment.pop("MELLEA_RX_MODEL", None)
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", *map(str, command)],
        capture_output=True,
        encoding="utf-8",
        env=environment,
        timeout=TIMEOUT,
        check=False,
    )
    # asyncio's debug mode tells of each step over 0.1 s, and the library's log of a `str(thunk)` on
    # a running loop (the published page has one) and of requirements that a small model may not
    # meet, or whose answer is cut at its limit: both are chance.
    usual = (_SLOW_STEP, _HELD_LOOP, _UNMET, _CUT)
    told = [line for line in ran.stderr.splitlines() if not any(u.match(line) for u in usual)]
    assert (ran.returncode, told) == (0, []), f"code {ran.returncode}: {ran.stderr}"
    return ran.stdout
