"""What stdin, stdout and stderr are."""

from __future__ import annotations

import io
import os
import sys
import threading

from mellea_rx.cli.notices import say_notice
from mellea_rx.errors import InvalidInputError

__all__ = ["can_draw", "is_piped", "is_terminal", "read_stdin", "take_any_text"]

_STDIN_PATIENCE = 2.0
"""Seconds until a program that waits for text on stdin says so."""


def is_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def can_draw() -> bool:
    """Whether stdout is a terminal on which lines can be drawn over."""
    return is_terminal() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def is_piped() -> bool:
    """Whether text may come on stdin from a file or another program."""
    return sys.stdin is not None and not sys.stdin.closed and not sys.stdin.isatty()


def read_stdin() -> str:
    """All text on stdin, without white space around it; waits for its end, and says so."""
    if sys.stdin is None or sys.stdin.closed:
        return ""
    waiting = threading.Timer(
        _STDIN_PATIENCE,
        say_notice,
        ["reading the text on stdin, up to its end (for none: < /dev/null)"],
    )
    waiting.daemon = True
    waiting.start()
    try:
        return sys.stdin.read().strip()
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"stdin is no text in {error.encoding}: byte {error.start} cannot be read"
        ) from None
    finally:
        waiting.cancel()


def take_any_text() -> None:
    """Have stdout and stderr take characters that their encoding does not have, escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
