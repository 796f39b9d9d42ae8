"""Exit codes, and what an error looks like on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from mellea_rx.cli.text import harmless
from mellea_rx.cli.wording import in_options
from mellea_rx.errors import (
    ConfigurationError,
    ConnectionFailedError,
    GenerationTimeoutError,
    InvalidInputError,
    MelleaRxError,
    ModelNotFoundError,
    UnknownBackendError,
    WaitTimeoutError,
)

__all__ = [
    "EXPLAINED",
    "FAILED",
    "FINE",
    "INTERRUPTED",
    "NOTHING_TO_TALK_TO",
    "PIPE_CLOSED",
    "TERMINATED",
    "TIMED_OUT",
    "WRONG_USAGE",
    "code_of",
    "common_code",
    "say_error",
    "stop_writing",
    "told",
]

FINE = 0
FAILED = 1
WRONG_USAGE = 2
NOTHING_TO_TALK_TO = 3
TIMED_OUT = 4
INTERRUPTED = 130
PIPE_CLOSED = 141
TERMINATED = 143

EXPLAINED = {
    FINE: "all fine",
    FAILED: "a generation failed, or several in different ways",
    WRONG_USAGE: "wrong usage: an argument, an option, a backend's name",
    NOTHING_TO_TALK_TO: "no backend or no model to talk to",
    TIMED_OUT: "timed out",
    INTERRUPTED: "ended by Ctrl-C (by SIGTERM: 143; by a closed pipe: 141)",
}
"""What `--help` says of them."""

_CODES: tuple[tuple[int, tuple[type[BaseException], ...]], ...] = (
    (WRONG_USAGE, (InvalidInputError, UnknownBackendError)),
    (TIMED_OUT, (GenerationTimeoutError, WaitTimeoutError)),
    (NOTHING_TO_TALK_TO, (ConfigurationError, ConnectionFailedError, ModelNotFoundError)),
    (INTERRUPTED, (KeyboardInterrupt,)),
    (PIPE_CLOSED, (BrokenPipeError,)),
)


def code_of(error: BaseException) -> int:
    """The exit code that an error ends the program with.

    Example:
        >>> code_of(InvalidInputError("no")), code_of(ConnectionFailedError("refused"))
        (2, 3)
    """
    for code, kinds in _CODES:
        if isinstance(error, kinds):
            return code
    return FAILED


def common_code(errors: Iterable[BaseException]) -> int:
    """The exit code of several generations: that of their errors where these agree, else 1.

    Example:
        >>> common_code([]), common_code([TimeoutError(), InvalidInputError("no")])
        (0, 1)
    """
    codes = {code_of(error) for error in errors}
    if not codes:
        return FINE
    return codes.pop() if len(codes) == 1 else FAILED


def told(error: BaseException | str) -> str:
    """An error's message, in the words of the command line."""
    message = str(error)
    if isinstance(error, BaseException) and (not message or not isinstance(error, MelleaRxError)):
        return f"{type(error).__name__}: {message}"
    return in_options(message)


def say_error(error: BaseException | str, *, whose: str = "") -> None:
    """One or a few lines on stderr.

    Args:
        error: What was wrong.
        whose: What stands before it, such as "[2]".
    """
    lead = f"error: {whose} " if whose else "error: "
    try:
        print(lead + harmless(told(error)), file=sys.stderr, flush=True)
    except OSError:  # nobody reads stderr any more
        pass


def stop_writing() -> None:
    """Nobody reads stdout any more: have what is still buffered for it go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
