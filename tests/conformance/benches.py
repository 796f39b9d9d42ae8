"""A bench for each backend: the backend itself, and a way to make it do things."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from mellea_rx import GenerationFailedError, ModelOption
from mellea_rx.backends import Backend, OllamaBackend, OpenAIBackend, ScriptedBackend
from mellea_rx.backends.scripted import Pause
from mellea_rx.core.options import Options
from mellea_rx.core.request import Request, WireMessage
from tests.support.server_process import ServerProcess

CHUNKS = ["Once ", "upon ", "a ", "time, ", "é\u2028😀"]
ENDLESS = 10_000


def request(prompt: str = "Go.", **options: Any) -> Request:
    """A request with these options, by the names in `ModelOption` or any other."""
    named = {ModelOption[k] if k in ModelOption.__members__ else k: v for k, v in options.items()}
    return Request((WireMessage("user", prompt),), Options(named))


class Bench(Protocol):
    """What the conformance tests need of a backend."""

    limit: dict[str, int]
    """Options that end an answer soon, where only they can."""
    speaks: str | None
    """The text that `answering` says; None where nobody can know it."""

    def answering(self) -> Backend:
        """A backend that answers well."""
        ...

    def endless(self) -> Backend:
        """A backend whose answers go on and on."""
        ...

    def stalling(self, after: int) -> Backend | None:
        """A backend that is silent after so many chunks; None where that cannot be."""
        ...

    def failing(self, after: int) -> Backend | None:
        """A backend that fails after so many chunks."""
        ...

    def running(self) -> int:
        """How many answers are being made now."""
        ...

    def asked(self) -> int:
        """How many requests it got."""
        ...


class ScriptedBench:
    """Plays in this process."""

    limit: dict[str, int]
    speaks = "".join(CHUNKS)

    def __init__(self) -> None:
        self.limit = {}
        self._backend = ScriptedBackend(CHUNKS)

    def _with(self, answer: Any, delay: float = 0) -> ScriptedBackend:
        self._backend = ScriptedBackend(answer, delay=delay)
        return self._backend

    def answering(self) -> Backend:
        return self._with(CHUNKS, delay=0.002)

    def endless(self) -> Backend:
        return self._with(["and on "] * ENDLESS, delay=0.002)

    def stalling(self, after: int) -> Backend | None:
        return self._with([*CHUNKS[:after], Pause(60), "late"])

    def failing(self, after: int) -> Backend | None:
        return self._with([*CHUNKS[:after], GenerationFailedError("the model crashed")])

    def running(self) -> int:
        return self._backend.running

    def asked(self) -> int:
        return len(self._backend.requests)


class HttpBench:
    """Speaks to the scripted server."""

    limit: dict[str, int]
    speaks = "".join(CHUNKS)
    _names = itertools.count()

    def __init__(
        self, kind: type[OllamaBackend] | type[OpenAIBackend], server: ServerProcess
    ) -> None:
        self.limit = {}
        self.server = server
        self.model = f"conforming-{next(self._names)}"
        self.backend = kind(self.model, base_url=server.url)

    def _with(self, **script: Any) -> Backend:
        self.server.script(self.model, **script)
        return self.backend

    def answering(self) -> Backend:
        return self._with(chunks=CHUNKS, delay=0.002)

    def endless(self) -> Backend:
        return self._with(chunks=["and on "], repeat=ENDLESS, delay=0.002)

    def stalling(self, after: int) -> Backend | None:
        return self._with(chunks=CHUNKS, stall_after=after)

    def failing(self, after: int) -> Backend | None:
        return self._with(chunks=CHUNKS, error_after=after, error="the model crashed")

    def running(self) -> int:
        entries = self.server.log(self.model)
        return sum(each["ended"] is None and not each["client_closed"] for each in entries)

    def asked(self) -> int:
        return len(self.server.log(self.model))


class LocalBench:
    """A real llama.cpp in this process."""

    speaks = None

    def __init__(self, model: Path) -> None:
        from mellea_rx.backends import LocalBackend

        self.limit = {"MAX_NEW_TOKENS": 6}
        self.backend = LocalBackend(model, parallel=4, model_options={ModelOption.SEED: 7})

    def answering(self) -> Backend:
        return self.backend

    def endless(self) -> Backend:
        return self.backend

    def stalling(self, after: int) -> Backend | None:
        return None

    def failing(self, after: int) -> Backend | None:
        return None

    def running(self) -> int:
        use = self.backend._use
        return 0 if use is None else len(use._tasks)

    def asked(self) -> int:
        return -1


@contextmanager
def bench_for(name: str, server: ServerProcess, local_model: Path) -> Iterator[Bench]:
    """The bench of a backend; closed at the end."""
    bench: Any
    if name == "scripted":
        bench = ScriptedBench()
    elif name == "local":
        bench = LocalBench(local_model)
    else:
        bench = HttpBench({"ollama": OllamaBackend, "openai": OpenAIBackend}[name], server)
    try:
        yield bench
    finally:
        bench.answering().close()
