"""The package's log: frozen events in, records of the logger `mellea_rx` out.

Code that knows a fact makes an event of it and hands it to `log`; nothing else writes to the
logger. A record keeps its event as `record.event`, for handlers that want values instead of text.

No record holds a key. None holds content (prompts, answers, values of the user's) but
`CallContent`, at DEBUG, where `MELLEA_RX_LOG_CONTENT` is set.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, fields
from typing import Any, ClassVar

__all__ = [
    "BackendChosen",
    "LogEvent",
    "log",
    "logs_calls",
    "logs_content",
]

_log = logging.getLogger("mellea_rx")


@dataclass(frozen=True, slots=True)
class LogEvent:
    """A fact for the log.

    Attributes:
        level: The record's level.
        template: The record's text, with a %-format for each of `args`.
    """

    level: ClassVar[int]
    template: ClassVar[str]

    @property
    def args(self) -> tuple[Any, ...]:
        """The values that the template shows; all fields in order, by default."""
        return tuple(getattr(self, each.name) for each in fields(self))


def log(event: LogEvent) -> None:
    """Log an event, where its level is on. Takes the handlers' locks: hold none of ours here."""
    if _log.isEnabledFor(event.level):
        _log.log(event.level, event.template, *event.args, extra={"event": event})


def logs_calls() -> bool:
    """Whether the start and end of calls are logged: whether DEBUG is on."""
    return _log.isEnabledFor(logging.DEBUG)


def logs_content() -> bool:
    """Whether prompts and answers are logged: DEBUG is on, and `MELLEA_RX_LOG_CONTENT` is set."""
    return logs_calls() and os.environ.get("MELLEA_RX_LOG_CONTENT", "") not in ("", "0")


@dataclass(frozen=True, slots=True)
class BackendChosen(LogEvent):
    """ "auto" has decided.

    Attributes:
        backend: The backend, with its address where it has one.
        model: The model's name.
        reason: The reason, in words.
    """

    level: ClassVar[int] = logging.INFO
    template: ClassVar[str] = "using %s, model %s: %s"

    backend: str
    model: str
    reason: str
