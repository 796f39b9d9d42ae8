"""Saves what a backend is asked and what it answers, with its timing, for `replay`."""

from __future__ import annotations

import copy
import os
from collections.abc import Awaitable, Callable
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
    decides_late,
    require_backend,
    resolved,
)
from mellea_rx.core.chunk import Chunk
from mellea_rx.core.engine import engine
from mellea_rx.core.locks import ProcessLock
from mellea_rx.core.options import Options
from mellea_rx.core.request import Request
from mellea_rx.core.source import ChunkSource, Push, forward
from mellea_rx.errors import RecordingError
from mellea_rx.testing.recordings import Exchange, Failure, Heading, encoded, plain

__all__ = ["Recorder"]


class _Tape:
    """The file of a recording."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = ProcessLock()
        self._begun = False
        self._append("", mode="w")

    def save(self, exchange: Exchange, backend: Backend) -> None:
        """Append a request and its answer; before the first, a heading."""
        heading = "" if self._begun else _line(_heading(backend))
        self._begun = True
        self._append(heading + _line(exchange))

    def _append(self, text: str, *, mode: str = "a") -> None:
        try:
            with self._lock, self.path.open(mode, encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise RecordingError(f"the recording {self.path} cannot be written: {error}") from None


class Recorder:
    """A backend that hands everything on to another, and writes it down.

    A request is saved when its answer ends, failed or cancelled ones too. A backend's key is never
    seen here, and options whose names look like keys, passwords or headers are masked; prompts,
    answers and errors are saved as they are.

    Args:
        backend: Who answers.
        path: The file; written anew. JSON lines, a few hundred bytes for each chunk at most.

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
        return self._resolve if decides_late(self._backend) else None

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
        asked = plain(request)
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
            self._tape.save(
                Exchange(request=asked, chunks=chunks, seconds=seconds, failure=failure, cut=cut),
                self._backend,
            )

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
