"""Recordings of a backend: `Recorder` saves requests and answers, and `replay` plays them offline.

A recording is a file of JSON lines: a heading, then one line for each request with its answer and
the answer's timing.
"""

from __future__ import annotations

import copy
import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from reactivex import Observable

from mellea_rx import errors
from mellea_rx.backends.scripted import Pause, Piece, play
from mellea_rx.core.interfaces.backend import (
    Backend,
    Capabilities,
    capabilities_of,
    is_deferred,
    require_backend,
    resolved,
)
from mellea_rx.core.runtime.engine import engine
from mellea_rx.core.runtime.fork import ForkSafeLock
from mellea_rx.core.runtime.logs import RecordingEnded, log
from mellea_rx.core.streams.chunk_source import ChunkSource, Push, drain
from mellea_rx.core.streams.idle_timeout import IdleTimeout
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.request import Request
from mellea_rx.core.types.validation import open_regular
from mellea_rx.errors import InvalidInputError, MelleaRxError, RecordingError

__all__ = ["MASK", "Recorder", "Replay", "plain", "replay"]

VERSION = 1  # of the file format
MASK = "***"  # written in place of a secret
SHOWN = 200  # the characters of a prompt that an error shows
COMPARED = 2000  # the characters of a prompt that are compared to find the most similar request

_SECRET = re.compile(
    r"(api|access|secret|private)[-_ ]?key|authorization|passw|secret|pwd|cookie|headers|"
    r"credential|(access|auth|bearer|refresh)[-_ ]?token|"
    # As whole words only: "max_tokens" and "author" are not secrets.
    r"(^|[-_. ])(auth|oauth2?|bearer|jwt|passphrase)($|[-_. ])|(^|[-_. ])token$",
    re.IGNORECASE,
)
_CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NOT_MATCHED = {
    ModelOption.STREAM,
    ModelOption.STREAM_TIMEOUT,
    ModelOption.FIRST_TOKEN_TIMEOUT,
    ModelOption.TOTAL_TIMEOUT,
    ModelOption.RETRIES,
    ModelOption.ON_INTERRUPT,
}
"""Options that do not change the answer: a replay may set them differently."""


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a recording.

    Attributes:
        mellea_rx_recording: The version of the format.
        backend: The name of the backend that was recorded.
        model: The model of the backend; "" if it has no such attribute.
        options: The model options of the backend.
        capabilities: The capabilities that it declares.
    """

    mellea_rx_recording: int = VERSION
    backend: str
    model: str = ""
    options: dict[str, Any] = {}
    capabilities: dict[str, bool] = {}


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """The error of an answer: its class in the error tree, its message, and its fields."""

    kind: str
    message: str
    text: str = ""
    is_transient: bool = False
    status: int | None = None
    retry_after: float | None = None

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """The fields of an error that are recorded."""
        names = ("text", "is_transient", "status", "retry_after")
        values: dict[str, Any] = {n: getattr(error, n) for n in names if hasattr(error, n)}
        return cls(type(error).__name__, str(error), **values)

    def error(self) -> MelleaRxError:
        """Make a new error from the recorded fields."""
        error: MelleaRxError
        kind = getattr(errors, self.kind, None)
        if not (isinstance(kind, type) and issubclass(kind, MelleaRxError)):
            error = errors.UnexpectedError(f"{self.kind}: {self.message}", text=self.text)
        elif issubclass(kind, errors.StatusError):
            status, wait = self.status or 0, self.retry_after
            error = kind(self.message, status=status, text=self.text, retry_after=wait)
        else:
            error = kind(self.message, text=self.text)
        error.is_transient = self.is_transient
        return error


class RecordedCall(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line of a recording: a request and its answer.

    Attributes:
        request: The request, as `plain` returns it.
        chunks: The chunks of the answer, each with its time in seconds since the request.
        seconds: The time of its end, in seconds since the request.
        failure: Its error, if it failed.
        cut: Whether it was cancelled.
    """

    request: dict[str, Any]
    chunks: list[tuple[float, Chunk]] = []
    seconds: float = 0.0
    failure: Failure | None = None
    cut: bool = False

    @property
    def key(self) -> str:
        """The text that requests are matched by."""
        return encode(self.request)


def plain(value: Request | Options) -> dict[str, Any]:
    """Convert a request or options to JSON values, with keys and passwords masked.

    Raises:
        RecordingError: It contains a value that JSON cannot represent.
    """
    made = msgspec.to_builtins(value, enc_hook=_plain_object)
    if isinstance(value, Request):
        # Without empty fields, so that recordings still match after a field has been added.
        messages = [_without_empty(message) for message in made["messages"]]
        made = {**_without_empty(made), "messages": messages, "options": made["options"]}
    # A round trip through JSON turns option names into strings, and tuples into lists.
    masked: dict[str, Any] = _masked(json.loads(json.dumps(made)))
    return masked


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in ("", None, [], (), {})}


def _plain_object(value: Any) -> Any:
    if isinstance(value, Options):
        matched = {k.value: v for k, v in value.standard.items() if k not in _NOT_MATCHED}
        return {**matched, **value.extra}
    if isinstance(value, Mapping):
        return dict(value)
    raise RecordingError(f"a request that contains a {type(value).__name__} cannot be recorded")


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: MASK if _is_secret(k, v) else _masked(v) for k, v in value.items()}
    return [_masked(each) for each in value] if isinstance(value, list) else value


def _is_secret(name: str, value: Any) -> bool:
    """Whether a value of this name may be a secret; a bool never is."""
    has_secret_name = _SECRET.search(_CAMEL_CASE.sub("_", name)) is not None
    return has_secret_name and value is not None and not isinstance(value, bool)


def encode(value: Any) -> str:
    """Encode as one line of JSON with sorted keys; lone surrogates in text are allowed."""
    return json.dumps(value, sort_keys=True)


def read_recording(path: Path) -> tuple[Heading, list[RecordedCall], str]:
    """Read a recording.

    Returns:
        The heading, the calls, and "". If the last line is incomplete, because the program ended or
        the disk was full, it is left out, and the third value says so.

    Raises:
        RecordingError: The file is missing or damaged; the message names the line.
    """
    try:
        with open_regular(path) as file:
            lines = file.read().split(b"\n")
    except (OSError, ValueError) as error:
        raise RecordingError(
            f"the recording {path} cannot be read ({_reason(error)}): "
            "make it with Recorder(backend, path)"
        ) from None
    last = lines[-1]
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line]
    if not numbered:
        raise RecordingError(f"the recording {path} is empty: no call has ended yet")
    heading: Heading = _decoded(numbered[0][1], Heading, path, 1)
    if heading.mellea_rx_recording != VERSION:
        raise RecordingError(
            f"the recording {path} has format {heading.mellea_rx_recording}, but this version "
            f"reads format {VERSION}: record it again"
        )
    calls: list[RecordedCall] = []
    for number, line in numbered[1:]:
        try:
            calls.append(_decoded(line, RecordedCall, path, number))
        except RecordingError:
            if line is not last:
                raise
            return heading, calls, f"it ends within line {number}, which is left out"
    return heading, calls, ""


def _decoded(line: bytes, kind: Any, path: Path, number: int) -> Any:
    try:
        return msgspec.convert(json.loads(line), kind)
    except (ValueError, msgspec.ValidationError) as error:
        raise RecordingError(
            f"line {number} of {path} is not a line of a recording ({error}): record it again"
        ) from None


_READ_BY_OWNER = 0o600
"""The file's permissions: prompts and answers are private to its owner."""

_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
"""Opening a named pipe in place of the file fails at once, instead of blocking."""


class _RecordingFile:
    """The file that a recorder appends to. It contains complete lines only.

    After the first line that cannot be written, nothing more is written.

    Attributes:
        failure: The reason why recording has stopped; None while it continues.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure: RecordingError | None = None
        self._lock = ForkSafeLock()
        self._lines = 0
        try:
            if path.exists() and not path.is_file():
                raise OSError(0, "it is not a regular file")
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _NO_WAIT, _READ_BY_OWNER)
            os.close(number)
            path.chmod(_READ_BY_OWNER)  # the mode above is ignored if the file exists
        except (OSError, ValueError) as error:
            raise RecordingError(
                f"the recording {path} cannot be written: {_reason(error)}"
            ) from None

    def save(self, request: dict[str, Any] | None, backend: Backend, **answer: Any) -> None:
        """Append a call, and a heading before the first one. Never raises.

        An error stops the recording, but not the answer.
        """
        if request is None:
            return
        try:
            # Calls of several engines end at once. The lock keeps lines whole, the heading first.
            with self._lock:
                if self.failure is None:
                    lines = [_line(RecordedCall(request=request, **answer))]
                    if not self._lines:
                        lines.insert(0, _line(_heading(backend)))
                    self._append("".join(lines).encode())
                    self._lines += len(lines)
        except Exception as error:
            self.end(error)

    def end(self, error: Exception) -> None:
        """Stop recording: with a gap, a replay would give a request the answer of a later one."""
        with self._lock:
            if self.failure is not None:
                return
            ended = RecordingEnded(str(self.path), self._lines, _reason(error))
            self.failure = RecordingError(ended.template % ended.args)
        log(ended)  # after releasing the lock: a log handler may call this recorder

    def _append(self, data: bytes) -> None:
        number = os.open(
            self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_WAIT, _READ_BY_OWNER
        )
        try:
            whole = os.fstat(number).st_size
            try:
                while data:
                    data = data[os.write(number, data) :]
            except OSError:
                # A part of the line may have been written. If it cannot be removed either, readers
                # leave out the incomplete last line.
                with suppress(OSError):
                    os.ftruncate(number, whole)
                raise
        finally:
            os.close(number)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


class Recorder:
    """A backend that forwards requests to another one, and saves them with their answers.

    A call is saved when its answer ends, fails or is cancelled. The backend's API key is not part
    of a request; options whose names look like keys, passwords or headers are masked. Prompts,
    answers and errors are saved unchanged, in a file that only its owner can read. If the file can
    no longer be written (the disk is full), the recording stops after its last complete line,
    `failure` and the log say so, and answers are still delivered.

    Args:
        backend: The backend that answers.
        path: The file, which is overwritten: JSON lines, at most a few hundred bytes per chunk.

    Example:
        >>> import tempfile
        >>> from mellea_rx import MelleaSession, ScriptedBackend
        >>> from mellea_rx.testing import replay
        >>> path = Path(tempfile.mkdtemp(), "greeting.jsonl")
        >>> with MelleaSession(Recorder(ScriptedBackend("Hello there."), path)) as m:
        ...     _ = m.instruct("Greet me.")
        >>> MelleaSession(replay(path)).instruct("Greet me.").value
        'Hello there.'

    Raises:
        InvalidInputError: `backend` is not a backend.
        RecordingError: The file cannot be written.
    """

    def __init__(self, backend: Backend, path: str | os.PathLike[str]) -> None:
        require_backend(backend, "a recorder")
        self._backend = backend
        self._file = _RecordingFile(Path(path))

    @property
    def failure(self) -> RecordingError | None:
        """The reason why recording has stopped; None while it continues."""
        return self._file.failure

    @property
    def name(self) -> str:
        """The name of the recorded backend."""
        return self._backend.name

    @property
    def model_options(self) -> Options:
        """The model options of the recorded backend."""
        return self._backend.model_options

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities of the recorded backend."""
        return capabilities_of(self._backend)

    @property
    def resolve(self) -> Callable[[], Awaitable[Backend]] | None:
        """Resolves the recorded backend on first use; None if it needs no resolving."""
        return self._resolve if is_deferred(self._backend) else None

    async def _resolve(self) -> Backend:
        resolved_copy = copy.copy(self)
        resolved_copy._backend = await resolved(self._backend)
        return resolved_copy

    def check(self, options: Options) -> None:
        """Check options as the recorded backend does."""
        self._backend.check(options)

    def stream(self, request: Request) -> Observable[Chunk]:
        """Stream the recorded backend's answer, and save it when it ends; see `Backend.stream`."""
        return ChunkSource(partial(self._stream, request))

    def close(self) -> None:
        """Close the recorded backend."""
        self._backend.close()

    async def _stream(self, request: Request, push: Push) -> None:
        recorded = self._plain(request)
        clock = engine().clock
        began = clock()
        chunks: list[tuple[float, Chunk]] = []

        def keep(chunk: Chunk) -> None:
            chunks.append((round(clock() - began, 6), chunk))
            push(chunk)

        failure, cut = None, True
        try:
            await drain(self._backend.stream(request), keep, self._backend.name)
            cut = False
        except Exception as error:
            failure, cut = Failure.of(error), False
            raise
        finally:
            answer = {"chunks": chunks, "seconds": round(clock() - began, 6), "cut": cut}
            self._file.save(recorded, self._backend, failure=failure, **answer)

    def _plain(self, request: Request) -> dict[str, Any] | None:
        """The request as JSON values, before anybody can change it; None if it has no such form."""
        try:
            return plain(request)
        except Exception as error:
            self._file.end(error)
            return None

    def __repr__(self) -> str:
        if "_file" not in vars(self):  # a traceback may show one whose constructor failed
            return f"<{type(self).__name__}>"
        return f"<{type(self).__name__} of {self._backend!r} to {str(self._file.path)!r}>"


def _heading(backend: Backend) -> Heading:
    return Heading(
        backend=backend.name,
        model=str(getattr(backend, "model", "")),
        options=plain(backend.model_options),
        capabilities=asdict(capabilities_of(backend)),
    )


def _line(value: Heading | RecordedCall) -> str:
    return encode(_without_empty_fields(msgspec.to_builtins(value))) + "\n"


def _without_empty_fields(line: dict[str, Any]) -> dict[str, Any]:
    """Remove the empty fields of chunks."""
    for _, chunk in line.get("chunks", ()):
        for name in [name for name, value in chunk.items() if not value]:
            del chunk[name]
    return line


class Replay:
    """A backend that answers from a recording; `replay()` makes one.

    A request is answered by the recorded answer to the same messages, options and schema; `STREAM`,
    time limits, `RETRIES` and `ON_INTERRUPT` may differ. Several answers to the same request are
    played in the order of recording; the last one is repeated.

    Attributes:
        name: The name of the recorded backend.
        model: The model of the recorded backend.
        model_options: The model options of the recorded backend.
        capabilities: The capabilities of the recorded backend.
        requests: The requests so far, oldest first.
    """

    def __init__(self, path: Path, speed: float) -> None:
        heading, calls, self._incomplete = read_recording(path)
        self.name = heading.backend
        self.model = heading.model
        self.model_options = Options(heading.options)
        self.capabilities = Capabilities(**heading.capabilities)
        self.requests: tuple[Request, ...] = ()
        self._path = path
        self._speed = speed
        self._calls = calls
        self._answers: dict[str, list[RecordedCall]] = defaultdict(list)
        for each in calls:
            self._answers[each.key].append(each)
        self._lock = ForkSafeLock()

    def check(self, options: Options) -> None:
        """Accept every option; a request with other options than the recorded ones fails."""

    def stream(self, request: Request) -> Observable[Chunk]:
        """Play the recorded answer to a request; see `Backend.stream`.

        The stream fails with a `RecordingError` if there is none.
        """
        return ChunkSource(partial(self._play, request))

    async def models(self) -> list[str]:
        """The model of the recorded backend, as the only one."""
        return [self.model]

    def close(self) -> None:
        """Do nothing: no resources are held."""

    async def _play(self, request: Request, push: Push) -> None:
        pieces = self._pieces(self._find(request))
        with IdleTimeout(request.options, "the recording") as watch:
            await play(pieces, push, watch)

    def _find(self, request: Request) -> RecordedCall:
        recorded = plain(request)
        # Calls may run on several threads, and each answer is played once, but for the last one.
        with self._lock:
            self.requests = (*self.requests, request)
            answers = self._answers.get(encode(recorded))
            if answers:
                return answers.pop(0) if len(answers) > 1 else answers[0]
        raise RecordingError(self._no_recording(recorded))

    def _pieces(self, call: RecordedCall) -> Iterator[Piece]:
        now = 0.0
        for at, chunk in call.chunks:
            yield from self._pause(at - now)
            yield chunk
            now = at
        yield from self._pause(call.seconds - now)
        if call.cut:
            yield RecordingError(
                f"the recorded answer ends here, after {call.seconds:g} s: it was cancelled; "
                f"record it again ({self._path})"
            )
        if call.failure is not None:
            yield call.failure.error()

    def _pause(self, seconds: float) -> Iterator[Pause]:
        if self._speed and seconds > 0:
            yield Pause(seconds / self._speed)

    def _no_recording(self, request: dict[str, Any]) -> str:
        lines = [f"{self._path} has no recording of this request: {_shown_prompt(request)}"]
        if self._calls:
            near = max(self._calls, key=lambda each: _similarity(request, each.request)).request
            lines.append(f"  the most similar request in it: {_shown_prompt(near)}")
            lines.append(f"  they differ in: {', '.join(_differences(request, near))}")
        if self._incomplete:
            lines.append(f"  the recording is incomplete: {self._incomplete}")
        lines.append("  record it: run this once with Recorder(backend, path)")
        return "\n".join(lines)

    def __repr__(self) -> str:
        if "_path" not in vars(self):  # a traceback may show one whose constructor failed
            return f"<{type(self).__name__}>"
        return f"<{type(self).__name__} of {self.name!r} from {str(self._path)!r}>"


def replay(path: str | os.PathLike[str], *, speed: float = 1.0) -> Replay:
    """Make a backend that plays the answers that a `Recorder` saved, offline.

    Args:
        path: The recording.
        speed: The factor by which it plays faster than recorded; 0 leaves out all pauses.

    Example:
        >>> from mellea_rx import MelleaSession
        >>> m = MelleaSession(replay("greeting.jsonl", speed=0))  # doctest: +SKIP

    Raises:
        RecordingError: The file cannot be read. Later, a request without a recorded answer fails
            with this error, too. An incomplete last line is left out; the message says so.
        InvalidInputError: `speed` is negative or not finite.
    """
    if not (math.isfinite(speed) and speed >= 0):
        raise InvalidInputError(f"speed must be 0 or more, not {speed!r}")
    return Replay(Path(path), speed)


def _prompt(request: dict[str, Any]) -> str:
    return "\n".join(message.get("content", "") for message in request["messages"])


def _shown_prompt(request: dict[str, Any]) -> str:
    text = _prompt(request)
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")


def _similarity(one: dict[str, Any], other: dict[str, Any]) -> float:
    first, second = _prompt(one), _prompt(other)
    alike = SequenceMatcher(None, first[-COMPARED:], second[-COMPARED:], autojunk=False).ratio()
    # Among equal prompts, equal options and schema decide.
    same = [name for name, value in one.items() if value == other.get(name)]
    return alike + len(same) / 100


def _differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """The paths at which two requests differ, such as "messages[0].content"."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in {**one, **other}:
            within = f"{path}.{name}" if path else name
            yield from _differences(one.get(name), other.get(name), within)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (first, second) in enumerate(zip(one, other, strict=True)):
            yield from _differences(first, second, f"{path}[{index}]")
    elif one != other:
        yield path
