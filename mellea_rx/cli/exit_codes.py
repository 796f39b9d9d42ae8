"""The exit codes of the command line, and the code that each kind of error maps to."""

from __future__ import annotations

from collections.abc import Iterable

from mellea_rx.errors import (
    ConfigurationError,
    ConnectionFailedError,
    GenerationTimeoutError,
    InvalidInputError,
    ModelNotFoundError,
    UnknownBackendError,
    WaitTimeoutError,
)

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "MEANINGS",
    "NO_BACKEND",
    "PIPE_CLOSED",
    "SUCCESS",
    "TERMINATED",
    "TIMED_OUT",
    "USAGE_ERROR",
    "code_of",
    "common_code",
]

SUCCESS = 0
FAILED = 1
USAGE_ERROR = 2
NO_BACKEND = 3
TIMED_OUT = 4
INTERRUPTED = 130
PIPE_CLOSED = 141
TERMINATED = 143

MEANINGS = {
    SUCCESS: "success",
    FAILED: "a generation failed, or several failed in different ways",
    USAGE_ERROR: "usage error: an invalid argument, option or backend name",
    NO_BACKEND: "no backend or no model is available",
    TIMED_OUT: "a time limit was exceeded",
    INTERRUPTED: "interrupted by Ctrl-C (143: by SIGTERM, 141: by a closed pipe)",
}
"""The codes and their meanings, as `--help` prints them."""

_CODES: tuple[tuple[int, tuple[type[BaseException], ...]], ...] = (
    (USAGE_ERROR, (InvalidInputError, UnknownBackendError)),
    (TIMED_OUT, (GenerationTimeoutError, WaitTimeoutError)),
    (NO_BACKEND, (ConfigurationError, ConnectionFailedError, ModelNotFoundError)),
    (INTERRUPTED, (KeyboardInterrupt,)),
    (PIPE_CLOSED, (BrokenPipeError,)),
)
"""The first entry that matches an error gives its code."""


def code_of(error: BaseException) -> int:
    """The exit code for an error that ends the program.

    Example:
        >>> code_of(InvalidInputError("no")), code_of(ConnectionFailedError("refused"))
        (2, 3)
    """
    for code, kinds in _CODES:
        if isinstance(error, kinds):
            return code
    return FAILED


def common_code(errors: Iterable[BaseException]) -> int:
    """The exit code for several generations.

    Args:
        errors: The errors of those that failed.

    Returns:
        0 without errors, their code if all errors have the same one, else 1.

    Example:
        >>> common_code([]), common_code([TimeoutError(), InvalidInputError("no")])
        (0, 1)
    """
    codes = {code_of(error) for error in errors}
    if not codes:
        return SUCCESS
    return codes.pop() if len(codes) == 1 else FAILED
