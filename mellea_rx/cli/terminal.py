"""What stdin, stdout and stderr are."""

from __future__ import annotations

import io
import os
import sys

__all__ = ["can_draw", "is_terminal", "take_any_text"]


def is_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def can_draw() -> bool:
    """Whether stdout is a terminal on which lines can be drawn over."""
    return is_terminal() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def take_any_text() -> None:
    """Have stdout and stderr take characters that their encoding does not have, escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
