"""The library's log on stderr: the model that "auto" took, a model that is being downloaded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from mellea_rx.cli.text import harmless
from mellea_rx.cli.wording import in_options
from mellea_rx.core.logs import LogEvent

__all__ = ["notices_to", "say_notice"]

_log = logging.getLogger("mellea_rx")


def say_notice(message: str) -> None:
    """A line on stderr, dim where that is a terminal."""
    try:
        Console(stderr=True, soft_wrap=True).print(Text(harmless(message), style="dim"))
    except OSError:  # nobody reads stderr any more
        pass


class _Handler(logging.Handler):
    def __init__(
        self, say: Callable[[str], None], level: int, leave_out: tuple[type[LogEvent], ...]
    ) -> None:
        super().__init__(level)
        self._say = say
        self._leave_out = leave_out
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(getattr(record, "event", None), self._leave_out):
            return
        message = in_options(record.getMessage())
        if record.levelno >= logging.WARNING:
            message = f"{record.levelname.lower()}: {message}"
        if message not in self._said:
            self._said.add(message)
            self._say(message)


@contextmanager
def notices_to(
    say: Callable[[str], None],
    *,
    level: int = logging.INFO,
    leave_out: tuple[type[LogEvent], ...] = (),
) -> Iterator[None]:
    """Have each message that the library logs said once.

    Args:
        say: Takes the message; called from any thread.
        level: The least level of a message.
        leave_out: Kinds of events that are told in another way.
    """
    handler = _Handler(say, level, leave_out)
    before = _log.level
    _log.addHandler(handler)
    _log.setLevel(level)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(before)
