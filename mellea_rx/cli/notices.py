"""What the library logs, on stderr: which model "auto" took, a model that is being brought."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from mellea_rx.cli.text import harmless

__all__ = ["notices_to", "say_notice"]

_log = logging.getLogger("mellea_rx")


def say_notice(message: str) -> None:
    """A line on stderr, dim where that is a terminal."""
    try:
        Console(stderr=True, soft_wrap=True).print(Text(harmless(message), style="dim"))
    except OSError:  # nobody reads stderr any more
        pass


class _Handler(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._say = say
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            message = f"{record.levelname.lower()}: {message}"
        if message not in self._said:
            self._said.add(message)
            self._say(message)


@contextmanager
def notices_to(say: Callable[[str], None]) -> Iterator[None]:
    """Have each message that the library logs said once.

    Args:
        say: Takes the message; called from any thread.
    """
    handler = _Handler(say)
    level = _log.level
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(level)
