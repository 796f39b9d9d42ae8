"""A Python of its own, for what only a whole process can show."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SLOW_STEP = re.compile(r"Executing <.*> took \d+\.\d+ seconds$")
STRICT = ("-X", "dev", "-W", "error")


def run_python(
    code: str, *arguments: str, flags: tuple[str, ...] = (), timeout: float = 100
) -> subprocess.CompletedProcess[str]:
    """Run `code` as a program; its output and exit code."""
    return subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=timeout,
        check=False,
    )


def runs_cleanly(
    code: str, *arguments: str, flags: tuple[str, ...] = (), timeout: float = 100
) -> str:
    """Run `code`, which must end with code 0 and say nothing on stderr; what it printed."""
    ran = run_python(code, *arguments, flags=flags, timeout=timeout)
    # asyncio's debug mode tells of each step over 0.1 s: a busy machine's doing.
    told = [line for line in ran.stderr.splitlines() if not _SLOW_STEP.match(line)]
    assert (ran.returncode, told) == (0, []), f"code {ran.returncode}: {ran.stderr}"
    return ran.stdout
