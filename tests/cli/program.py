"""Helpers that start the command line as a user does: with pipes, or on a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import pexpect

from tests.cli.fork_server import ForkServer

PROGRAM = [sys.executable, "-m", "mellea_rx"]
fork_servers: list[ForkServer] = []
"""The one that `tests/cli/conftest.py` has started."""

_OWN_SETTINGS = ("MELLEA_RX_", "OPENAI_", "OLLAMA_")
_OWN = (*_OWN_SETTINGS, "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")


def environment(**more: str) -> dict[str, str]:
    """The environment of this process, without variables that change the program's behaviour."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}
    return {**kept, "OLLAMA_HOST": "127.0.0.1:9", "TERM": "xterm-256color", **more}


def run(
    *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run the program with pipes, to its end: forked, if its environment changes no import."""
    if fork_servers and all(name.startswith(_OWN_SETTINGS) for name in env or {}):
        return fork_servers[0].run(list(arguments), stdin, environment(**(env or {})), timeout)
    return subprocess.run(
        [*PROGRAM, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(**(env or {})),
    )


def on_terminal(
    *arguments: str, columns: int = 100, rows: int = 40, **env: str
) -> pexpect.spawn[str]:
    """Start the program on a terminal of that size."""
    return pexpect.spawn(
        PROGRAM[0],
        [*PROGRAM[1:], *arguments],
        encoding="utf-8",
        timeout=60,
        dimensions=(rows, columns),
        env=environment(**env),
    )


def to_its_end(program: pexpect.spawn[str]) -> tuple[str, int]:
    """The rest of the program's output, and its exit code."""
    program.expect(pexpect.EOF)
    program.close()
    assert program.signalstatus is None
    return program.before or "", int(program.exitstatus or 0)
