"""One call with a fault, and the checks that hold after every failure."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mellea_rx import (
    MelleaRxError,
    MelleaSession,
    ModelOption,
    OllamaBackend,
    OpenAIBackend,
)
from mellea_rx.core.runtime.engine import engine
from tests.core.hand import PATIENCE, Recorder, until_blocking
from tests.support.server_process import ServerProcess
from tests.support.session_loop import SessionLoop

BACKENDS: dict[str, Any] = {"ollama": OllamaBackend, "openai": OpenAIBackend}
PATHS = {"ollama": "/api/chat", "openai": "/v1/chat/completions"}
KEY = "sk-chaos/0123456789+secret=="
ONCE = {ModelOption.RETRIES: 0}
"""A single attempt: no retry hides its failure."""
WORDS = ["Once ", "upon ", "a ", "time"]


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error with all its causes and contexts, including those that a traceback omits."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__]


def printed(error: BaseException) -> str:
    """Everything that can be printed about an error, including the variables of its frames."""
    told = []
    for each in chain(error):
        told += [str(each), repr(each), repr(vars(each)), repr(each.args)]
        told += _frames(each)
    return "\n".join(told)


def _frames(error: BaseException) -> list[str]:
    """The library's frames with their variables, in the format of error reporters."""
    told = []
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if "/tests/" not in frame.f_code.co_filename:
            told += [repr(value) for value in frame.f_locals.values()]
    return told


@contextmanager
def logged() -> Iterator[list[str]]:
    """All records of all loggers meanwhile, from DEBUG on, each after its level."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler, root = Keep(), logging.getLogger()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def engine_tasks() -> int:
    """The number of the engine's tasks."""
    return len(asyncio.all_tasks(engine().loop))


class Trial:
    """Makes calls with one protocol to one server, and checks the promises after every failure.

    Args:
        wire: The backend's name.
        server: The scripted server.
        sessions: Makes the sessions that carry the requests; None for connections of our own.
    """

    def __init__(
        self, wire: str, server: ServerProcess, sessions: SessionLoop | None = None
    ) -> None:
        self.wire = wire
        self.server = server
        self.sessions = sessions
        self._backends: list[Any] = []

    def close(self) -> None:
        """Close every backend, so that a failed test does not make the next one fail."""
        for each in self._backends:
            each.close()

    def backend(self, url: str | None = None, key: str | None = KEY, **how: Any) -> Any:
        """A backend for the model `m` of the server."""
        url = url or self.server.url
        if self.sessions is not None:
            how["http_session"] = self.sessions.make()
        self._backends.append(BACKENDS[self.wire]("m", base_url=url, api_key=key, **how))
        return self._backends[-1]

    def value(self, url: str | None = None, **how: Any) -> str:
        """The answer of a call."""
        with MelleaSession(self.backend(url, **how), model_options=ONCE) as m:
            value: str = m.instruct("Go.").wait(PATIENCE).value or ""
        return value

    def failure(
        self,
        url: str | None = None,
        *,
        text: str = "",
        options: dict[ModelOption, Any] | None = None,
        **how: Any,
    ) -> MelleaRxError:
        """The error of a call, after the check that there is one, with this text, and that
        nothing leaks."""
        tasks = engine_tasks()
        backend = self.backend(url, **how)
        recorder = Recorder()
        with logged() as lines, MelleaSession(backend) as m:
            given = {ModelOption.STREAM: True, **ONCE, **(options or {})}
            thunk = asyncio.run(m.ainstruct("Go.", model_options=given))
            recorder.to(thunk)
            assert recorder.ended.wait(PATIENCE), "it did not end"
            error = thunk.error
            assert error is not None
            until_blocking(lambda: self.server.connections() <= 1)
            shown = [repr(each) for each in (m, backend, thunk, error)]
        assert recorder.terminals == ["error"]
        delivered = recorder.error  # a copy: nothing stores a raised error
        assert delivered is not None
        assert (type(delivered), str(delivered)) == (type(error), str(error))
        assert (recorder.text, thunk.text, error.text) == (text, text, text), repr(error)
        until_blocking(lambda: self.server.connections() == 0)
        until_blocking(lambda: engine_tasks() <= tasks)
        for told in (*lines, *shown, printed(error), printed(delivered)):
            assert KEY not in told
        # An exception in a callback of the loop is only logged there.
        assert not [line for line in lines if line.startswith("ERROR")]
        return error
