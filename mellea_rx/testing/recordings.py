"""What a recording is: JSON lines, a heading first, then a line for each request and answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mellea_rx import errors
from mellea_rx.core.chunk import Chunk
from mellea_rx.core.files import open_regular
from mellea_rx.core.options import ModelOption, Options
from mellea_rx.core.request import Request
from mellea_rx.errors import MelleaRxError, RecordingError, StatusError, UnexpectedError

__all__ = ["Exchange", "Failure", "Heading", "encoded", "plain", "read_recording"]

VERSION = 1
MASK = "***"

_SECRET = re.compile(
    r"(api|access|secret|private)[-_ ]?key|authorization|passw|secret|pwd|cookie|headers|"
    r"credential|(access|auth|bearer|refresh)[-_ ]?token|"
    # Whole words: of "max_tokens" and "author" there is nothing to hide.
    r"(^|[-_. ])(auth|oauth2?|bearer|jwt|passphrase)($|[-_. ])|(^|[-_. ])token$",
    re.IGNORECASE,
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_HOW_IT_IS_TAKEN = {
    ModelOption.STREAM,
    ModelOption.STREAM_TIMEOUT,
    ModelOption.FIRST_TOKEN_TIMEOUT,
    ModelOption.TOTAL_TIMEOUT,
    ModelOption.RETRIES,
    ModelOption.ON_INTERRUPT,
}
"""Options that are no part of what is asked: a recording may be taken in another way."""


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a recording.

    Attributes:
        mellea_rx_recording: The version of the format.
        backend: The name of the backend that was recorded.
        model: Its model, where it tells one.
        options: Its own model options.
        capabilities: What it says that it can do.
    """

    mellea_rx_recording: int = VERSION
    backend: str
    model: str = ""
    options: dict[str, Any] = {}
    capabilities: dict[str, bool] = {}


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an answer failed with: the class in the error tree, and what it said."""

    kind: str
    message: str
    text: str = ""
    is_passing: bool = False
    status: int | None = None
    retry_after: float | None = None

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """What is kept of an error."""
        return cls(
            type(error).__name__,
            str(error),
            getattr(error, "text", ""),
            getattr(error, "is_passing", False),
            getattr(error, "status", None),
            getattr(error, "retry_after", None),
        )

    def error(self) -> MelleaRxError:
        """The error again, a fresh one."""
        error = self._error()
        error.is_passing = self.is_passing
        return error

    def _error(self) -> MelleaRxError:
        kind = getattr(errors, self.kind, None)
        if not (isinstance(kind, type) and issubclass(kind, MelleaRxError)):
            return UnexpectedError(f"{self.kind}: {self.message}", text=self.text)
        if issubclass(kind, StatusError):
            status, wait = self.status or 0, self.retry_after
            return kind(self.message, status=status, text=self.text, retry_after=wait)
        return kind(self.message, text=self.text)


class Exchange(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A request and its answer.

    Attributes:
        request: What was asked, as `plain` gives it.
        chunks: What came, each with its time: seconds since the request.
        seconds: When it ended.
        failure: What it failed with, if it did.
        cut: Whether it was cancelled before its end.
    """

    request: dict[str, Any]
    chunks: list[tuple[float, Chunk]] = []
    seconds: float = 0.0
    failure: Failure | None = None
    cut: bool = False

    @property
    def key(self) -> str:
        """What requests are matched by."""
        return encoded(self.request)


def plain(value: Request | Options) -> dict[str, Any]:
    """What is asked as JSON has it; what looks like a key or a password is masked.

    Raises:
        RecordingError: There is something in it that JSON cannot have.
    """
    made = msgspec.to_builtins(value, enc_hook=_plain)
    if isinstance(value, Request):
        # Only what is there: a field that a later version adds does not make it another request.
        messages = [_filled(message) for message in made["messages"]]
        made = {**_filled(made), "messages": messages, "options": made["options"]}
    # Through JSON: keys that are names of options become texts, and tuples lists.
    masked: dict[str, Any] = _masked(json.loads(json.dumps(made)))
    return masked


def _filled(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in ("", None, [], (), {})}


def _plain(value: Any) -> Any:
    if isinstance(value, Options):
        asked = {k.value: v for k, v in value.standard.items() if k not in _HOW_IT_IS_TAKEN}
        return {**asked, **value.extra}
    if isinstance(value, Mapping):
        return dict(value)
    raise RecordingError(
        f"a request with an object of type {type(value).__name__} cannot be recorded"
    )


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: MASK if _hides(k, v) else _masked(v) for k, v in value.items()}
    return [_masked(each) for each in value] if isinstance(value, list) else value


def _hides(name: str, value: Any) -> bool:
    """Whether a value of this name may be a secret; a switch is none."""
    is_secret = _SECRET.search(_HUMP.sub("_", name)) is not None
    return is_secret and value is not None and not isinstance(value, bool)


def encoded(value: Any) -> str:
    """One line of JSON, keys sorted. Any text is taken, halves of surrogates too."""
    return json.dumps(value, sort_keys=True)


def read_recording(path: Path) -> tuple[Heading, list[Exchange], str]:
    """A recording's lines.

    Returns:
        The heading, what was asked and answered, and "", or why that is not all: the program or
        the disk came to its end within the last line.

    Raises:
        RecordingError: There is none, or it is damaged; the message says in which line.
    """
    try:
        with open_regular(path) as file:
            lines = file.read().split(b"\n")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise RecordingError(
            f"the recording {path} cannot be read ({why}): make it with Recorder(backend, path)"
        ) from None
    last = lines[-1]
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line]
    if not numbered:
        raise RecordingError(f"the recording {path} is empty: nothing was asked, or all still runs")
    heading: Heading = _decoded(numbered[0][1], Heading, path, 1)
    if heading.mellea_rx_recording != VERSION:
        raise RecordingError(
            f"the recording {path} has format {heading.mellea_rx_recording}, and this version "
            f"reads format {VERSION}: record it anew"
        )
    exchanges: list[Exchange] = []
    for number, line in numbered[1:]:
        try:
            exchanges.append(_decoded(line, Exchange, path, number))
        except RecordingError:
            if line is not last:
                raise
            return heading, exchanges, f"it ends within line {number}, which is left out"
    return heading, exchanges, ""


def _decoded(line: bytes, kind: Any, path: Path, number: int) -> Any:
    try:
        return msgspec.convert(json.loads(line), kind)
    except (ValueError, msgspec.ValidationError) as error:
        raise RecordingError(
            f"line {number} of {path} is no line of a recording ({error}): record it anew"
        ) from None
