"""Messages on stderr: errors, notices and the library's log, in the terms of the command line.

The library's messages name Python arguments (`ModelOption.SEED`, `base_url=`). `in_options`
replaces those by the options of the command line (`--seed`, `--base-url`).
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from mellea_rx.cli.terminal import escape_controls
from mellea_rx.core.runtime.logs import LogEvent
from mellea_rx.core.types.options import ModelOption
from mellea_rx.errors import MelleaRxError

__all__ = [
    "OPTIONS",
    "error_message",
    "in_options",
    "log_to",
    "print_error",
    "print_notice",
]

OPTIONS = {
    ModelOption.TEMPERATURE: "--temperature",
    ModelOption.SEED: "--seed",
    ModelOption.MAX_NEW_TOKENS: "--max-tokens",
    ModelOption.SYSTEM_PROMPT: "--system",
    ModelOption.STREAM_TIMEOUT: "--timeout",
}
"""The model options that have their own option of the command line; others are set with -o."""

_log = logging.getLogger("mellea_rx")


def error_message(error: BaseException | str) -> str:
    """The message of an error, in the terms of the command line."""
    message = str(error)
    if isinstance(error, BaseException) and (not message or not isinstance(error, MelleaRxError)):
        return f"{type(error).__name__}: {message}"
    return in_options(message)


def print_error(error: BaseException | str, *, prefix: str = "") -> None:
    """Print an error to stderr.

    Args:
        error: The error, or its message.
        prefix: Printed before the message, such as "[2]".
    """
    lead = f"error: {prefix} " if prefix else "error: "
    try:
        print(lead + escape_controls(error_message(error)), file=sys.stderr, flush=True)
    except OSError:  # stderr is closed
        pass


def print_notice(message: str) -> None:
    """Print a line to stderr, dim if that is a terminal."""
    try:
        Console(stderr=True, soft_wrap=True).print(Text(escape_controls(message), style="dim"))
    except OSError:  # stderr is closed
        pass


class _Handler(logging.Handler):
    """Passes each different log message on once."""

    def __init__(
        self, show: Callable[[str], None], level: int, leave_out: tuple[type[LogEvent], ...]
    ) -> None:
        super().__init__(level)
        self._show = show
        self._leave_out = leave_out
        self._shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(getattr(record, "event", None), self._leave_out):
            return
        message = in_options(record.getMessage())
        if record.levelno >= logging.WARNING:
            message = f"{record.levelname.lower()}: {message}"
        if message not in self._shown:
            self._shown.add(message)
            self._show(message)


@contextmanager
def log_to(
    show: Callable[[str], None],
    *,
    level: int = logging.INFO,
    leave_out: tuple[type[LogEvent], ...] = (),
) -> Iterator[None]:
    """Show the library's log messages while the context is entered, each message once.

    Args:
        show: Called with each message, from any thread.
        level: The lowest level that is shown.
        leave_out: Types of events that are not shown.
    """
    handler = _Handler(show, level, leave_out)
    previous = _log.level
    _log.addHandler(handler)
    _log.setLevel(level)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(previous)


# Translation of messages.

_NAMES = "|".join(sorted((option.name for option in ModelOption), key=len, reverse=True))
_UNMISTAKABLE = "|".join(option.name for option in ModelOption if "_" in option.name)
"""Names that no other text contains: SEED or TOOLS may stand in a message for something else."""


def _option(found: re.Match[str]) -> str:
    name = (found["prefixed"] or found["bare"] or "").upper()
    option = ModelOption[name]
    own = OPTIONS.get(option)
    if own is None:
        return f"-o {option.value.removeprefix('@')}{found['equals']}"
    return f"{own} " if found["equals"] else own


_RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (
            rf"(?:ModelOption\.(?P<prefixed>{_NAMES})|\b(?P<bare>{_UNMISTAKABLE}))\b(?P<equals>=?)",
            _option,
        ),
        (rf"'?@(?P<prefixed>{_NAMES.lower()})\b'?(?P<bare>)(?P<equals>)", _option),
        (r", or use the embedded model: start_session\(\"local\"\)", ", or take --backend local"),
        (
            r"a model's name comes second: start_session\('(\w+)', '([^']+)'\)",
            r"name a model with: --backend \1 --model \2",
        ),
        (r", or give api_key=", ""),  # other users of the machine can read a command line
        (r"start_session\(\s*[\"'](\w+)[\"']\s*\)", r"--backend \1"),
        (r"start_session\(([^()]*)\)", "another --backend"),
        (r"LocalBackend\(context_window=([^()]*)\)", r"-o context_window=\1"),
        (r" \((?:\w+\.)?Limits\([^()]*\)\)", ""),
        (r"\b(?:model_id|model)=", "--model "),
        (r"\bmodel_id\b", "--model"),
        (r"\bbase_url=?(?!\w)", "--base-url"),
        (r",? or give api_key=?(?!\w)", ""),  # as above
        (r"\bapi_key=?(?!\w)", "OPENAI_API_KEY"),
        (r",? or let a strategy [^()]*\(strategy=\w+\([^()]*\)\)", ""),
        (r",? or give strategy=\S+", ""),
        (r"\bmodel_options(?:=|\b)", "--option"),
        (r", or a RetryPolicy\b", ""),
        (r" must be an int\b", " must be a whole number"),
        (r" must be a str or a list of str\b", " must be text or a JSON list of texts"),
        (r" must be a str or a dict\b", " must be text or a JSON object"),
        (r" must be a bool or a str\b", " must be true, false or text"),
        (r" must be a bool\b", " must be true or false"),
        (r" must be a str\b", " must be text"),
        (r" or None\b", " or null"),
        (r"; None waits for ever\b", "; null waits for ever"),
        (r", not True\b", ", not true"),
        (r", not False\b", ", not false"),
        (r", not None\b", ", not null"),
    )
)
"""Applied to a message one after another, in this order."""


def in_options(message: str) -> str:
    """Replace the Python names in a message of the library by options of the command line.

    Example:
        >>> in_options("ModelOption.MAX_NEW_TOKENS must be an int, 1 or more, not 0")
        '--max-tokens must be a whole number, 1 or more, not 0'
        >>> in_options("was it cut off by ModelOption.TOTAL_TIMEOUT?")
        'was it cut off by -o total_timeout?'
    """
    for pattern, replacement in _RULES:
        message = pattern.sub(replacement, message)
    return message
