"""Saves what a backend is asked and what it answers, with its timing, for `replay`."""

from __future__ import annotations

import copy
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from reactivex import Observable

from mellea_rx.core.backend import (
    Backend,
    Capabilities,
    capabilities_of,
    is_deferred,
    require_backend,
    resolved,
)
from mellea_rx.core.chunk import Chunk
from mellea_rx.core.engine import engine
from mellea_rx.core.locks import ProcessLock
from mellea_rx.core.logs import RecordingEnded, log
from mellea_rx.core.options import Options
from mellea_rx.core.request import Request
from mellea_rx.core.source import ChunkSource, Push, forward
from mellea_rx.errors import RecordingError
from mellea_rx.testing.recordings import Exchange, Failure, Heading, encoded, plain

__all__ = ["Recorder"]


_READ_BY_OWNER = 0o600
"""Prompts and answers are nobody else's."""

_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
"""A pipe that was put in the file's place is not waited for."""


class _Tape:
    """The file of a recording: whole lines only, and after the first that fails none.

    Attributes:
        path: Where it is.
        failure: Why it ends before the program does; None while it goes on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure: RecordingError | None = None
        self._lock = ProcessLock()
        self._lines = 0
        try:
            if path.exists() and not path.is_file():
                raise OSError(0, "it is no regular file")
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _NO_WAIT, _READ_BY_OWNER)
            os.close(number)
            path.chmod(_READ_BY_OWNER)  # also of a file that was there before
        except (OSError, ValueError) as error:
            raise RecordingError(
                f"the recording {path} cannot be written: {_reason(error)}"
            ) from None

    def save(self, request: dict[str, Any] | None, backend: Backend, **answer: Any) -> None:
        """Append a request and its answer; before the first, a heading. Never raises: what goes
        wrong here ends the recording, and not the answer."""
        if request is None:
            return
        try:
            with self._lock:
                if self.failure is None:
                    self._add(Exchange(request=request, **answer), backend)
        except Exception as error:
            self.end(error)

    def _add(self, exchange: Exchange, backend: Backend) -> None:
        lines = [_line(exchange)]
        if not self._lines:
            lines.insert(0, _line(_heading(backend)))
        self._append("".join(lines).encode())
        self._lines += len(lines)

    def end(self, error: Exception) -> None:
        """Record no more: an answer that is missing in the middle would play another's."""
        with self._lock:
            if self.failure is not None:
                return
            ended = RecordingEnded(str(self.path), self._lines, _reason(error))
            self.failure = RecordingError(ended.template % ended.args)
        log(ended)  # without the lock: handlers run code of the user's

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
                # A part of it may have been written. Where it cannot be taken back, readers leave
                # a last line out that is not whole.
                with suppress(OSError):
                    os.ftruncate(number, whole)
                raise
        finally:
            os.close(number)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


class Recorder:
    """A backend that hands everything on to another, and writes it down.

    A request is saved when its answer ends, failed or cancelled ones too. A backend's key is never
    seen here, and options whose names look like keys, passwords or headers are masked; prompts,
    answers and errors are saved as they are, in a file that only its owner can read. Where it
    cannot be written to any more (the disk is full), the recording ends with its last whole line,
    `failure` and the log say so, and the answers go on.

    Args:
        backend: Who answers.
        path: The file; written anew. JSON lines, a few hundred bytes for each chunk at most.

    Attributes:
        failure: Why the recording ended before the program; None where it did not.

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
        InvalidInputError: `backend` is none.
        RecordingError: The file cannot be written.
    """

    def __init__(self, backend: Backend, path: str | os.PathLike[str]) -> None:
        require_backend(backend, "a recorder")
        self._backend = backend
        self._tape = _Tape(Path(path))

    @property
    def failure(self) -> RecordingError | None:
        """Why the recording ended before the program; None where it did not."""
        return self._tape.failure

    @property
    def name(self) -> str:
        """The other's name."""
        return self._backend.name

    @property
    def model_options(self) -> Options:
        """The other's options."""
        return self._backend.model_options

    @property
    def capabilities(self) -> Capabilities:
        """What the other can do."""
        return capabilities_of(self._backend)

    @property
    def resolve(self) -> Callable[[], Awaitable[Backend]] | None:
        """Has the other decide; None where it is decided already."""
        return self._resolve if is_deferred(self._backend) else None

    async def _resolve(self) -> Backend:
        decided = copy.copy(self)
        decided._backend = await resolved(self._backend)
        return decided

    def check(self, options: Options) -> None:
        """Refuse what the other refuses."""
        self._backend.check(options)

    def stream(self, request: Request) -> Observable[Chunk]:
        """The other's answer, saved when it ends; see `Backend.stream`."""
        return ChunkSource(partial(self._take, request))

    def close(self) -> None:
        """Close the other."""
        self._backend.close()

    async def _take(self, request: Request, push: Push) -> None:
        asked = self._asked(request)
        clock = engine().clock
        began = clock()
        chunks: list[tuple[float, Chunk]] = []

        def take(chunk: Chunk) -> None:
            chunks.append((round(clock() - began, 6), chunk))
            push(chunk)

        failure, cut = None, True
        try:
            await forward(self._backend.stream(request), take)
            cut = False
        except Exception as error:
            failure, cut = Failure.of(error), False
            raise
        finally:
            seconds = round(clock() - began, 6)
            answer = {"chunks": chunks, "seconds": seconds, "failure": failure, "cut": cut}
            self._tape.save(asked, self._backend, **answer)

    def _asked(self, request: Request) -> dict[str, Any] | None:
        """What is asked, as it is now; None where that cannot be recorded."""
        try:
            return plain(request)
        except Exception as error:
            self._tape.end(error)
            return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._backend!r} to {str(self._tape.path)!r}>"


def _heading(backend: Backend) -> Heading:
    return Heading(
        backend=backend.name,
        model=str(getattr(backend, "model", "")),
        options=plain(backend.model_options),
        capabilities=asdict(capabilities_of(backend)),
    )


def _line(what: Heading | Exchange) -> str:
    return encoded(_slim(msgspec.to_builtins(what))) + "\n"


def _slim(line: dict[str, Any]) -> dict[str, Any]:
    """Without what a chunk does not have."""
    for _, chunk in line.get("chunks", ()):
        for name in [name for name, value in chunk.items() if not value]:
            del chunk[name]
    return line
