"""A harness for each backend of the library, for the laws in `mellea_rx.testing.conformance`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mellea_rx import ModelOption
from mellea_rx.backends import Backend, OllamaBackend, OpenAIBackend, ScriptedBackend
from mellea_rx.testing import failing, stalling
from mellea_rx.testing.conformance import BackendHarness
from tests.support.server_process import ServerProcess
from tests.support.session_loop import SessionLoop

CHUNKS = ["Once ", "upon ", "a ", "time, ", "é\u2028😀"]
ENDLESS = 10_000


class ScriptedHarness(BackendHarness):
    """The scripted backend, which plays in this process."""

    speaks = CHUNKS
    tells_usage = tells_model = True

    def __init__(self) -> None:
        self._backend = ScriptedBackend(CHUNKS)

    def _with(self, answer: Any, delay: float = 0) -> ScriptedBackend:
        self._backend = ScriptedBackend(answer, delay=delay)
        return self._backend

    def answering(self) -> Backend:
        return self._with(CHUNKS, delay=0.002)

    def endless(self) -> Backend:
        return self._with(["and on "] * ENDLESS, delay=0.002)

    def stalling(self, after: int) -> Backend | None:
        return self._with(stalling(CHUNKS, after=after))

    def failing(self, after: int) -> Backend | None:
        return self._with(failing(CHUNKS, after=after))

    def running(self) -> int:
        return self._backend.running

    def request_count(self) -> int:
        return len(self._backend.requests)


class HttpHarness(BackendHarness):
    """A backend over HTTP, which is answered by the scripted server."""

    speaks = CHUNKS
    tells_usage = tells_model = True
    _names = itertools.count()

    def __init__(
        self,
        kind: type[OllamaBackend] | type[OpenAIBackend],
        server: ServerProcess,
        **how: Any,
    ) -> None:
        self.server = server
        self.model = f"conforming-{next(self._names)}"
        self.backend = kind(self.model, base_url=server.url, **how)

    def _with(self, **script: Any) -> Backend:
        self.server.script(self.model, **script)
        return self.backend

    def answering(self) -> Backend:
        return self._with(chunks=CHUNKS, delay=0.002)

    def endless(self) -> Backend:
        # The server makes all chunks before it sends the first: 2,000 last 20 s, and take no time.
        return self._with(chunks=["and on "], repeat=2_000, delay=0.01)

    def stalling(self, after: int) -> Backend | None:
        return self._with(chunks=CHUNKS, stall_after=after)

    def failing(self, after: int) -> Backend | None:
        return self._with(chunks=CHUNKS, error_after=after, error="the model crashed")

    def running(self) -> int:
        entries = self.server.log(self.model)
        return sum(each["ended"] is None and not each["client_closed"] for each in entries)

    def request_count(self) -> int:
        return len(self.server.log(self.model))


class LocalHarness(BackendHarness):
    """The local backend, which runs llama.cpp in this process."""

    limit = {"MAX_NEW_TOKENS": 6}  # noqa: RUF012
    tells_usage = tells_model = True

    def __init__(self, model: Path) -> None:
        from mellea_rx.backends import LocalBackend

        # The tiny model generates thousands of tokens per second. A context window of the default
        # size would soon be full, and the answer of `endless` would end.
        options = {ModelOption.SEED: 7, ModelOption.MAX_NEW_TOKENS: 8_000}
        self.backend = LocalBackend(model, parallel=4, context_window=8192, model_options=options)

    def answering(self) -> Backend:
        return self.backend

    def endless(self) -> Backend:
        return self.backend

    def running(self) -> int:
        lease = self.backend._lease
        return 0 if lease is None else len(lease._tasks)


@contextmanager
def harness_for(name: str, server: ServerProcess, local_model: Path) -> Iterator[BackendHarness]:
    """Make the harness of a backend; its backend is closed at the end."""
    harness: Any
    if name == "openai over a session":
        with SessionLoop() as sessions:
            harness = HttpHarness(OpenAIBackend, server, http_session=sessions.make())
            yield harness
            harness.answering().close()
        return
    if name == "scripted":
        harness = ScriptedHarness()
    elif name == "local":
        harness = LocalHarness(local_model)
    else:
        harness = HttpHarness({"ollama": OllamaBackend, "openai": OpenAIBackend}[name], server)
    try:
        yield harness
    finally:
        harness.answering().close()
