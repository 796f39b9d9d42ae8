"""The clients that are compared, each in a module of its own.

A client is an async context manager: it takes the server's URL, and gives what streams answers.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from benchmarks.work import Answers

__all__ = ["CLIENTS", "Client"]

T = TypeVar("T")


@dataclass(frozen=True)
class Client:
    """One client, to be run in a process of its own.

    Attributes:
        name: What tables call it.
        module: Where it is, below `benchmarks.clients`.
        function: Its name there.
        wire: "ndjson" or "sse": whom it is compared with.
        package: The package that it measures, "" for none but the project's own.
        venv: Whose virtual environment that is in: "project", "peers" or "mellea".
        loop: The event loop that the client's own code runs on: "asyncio", "uvloop", or "engine"
            for the library's engine on the same loop.
    """

    name: str
    module: str
    function: str = "client"
    wire: str = "ndjson"
    package: str = ""
    venv: str = "project"
    loop: str = "asyncio"

    @property
    def kind(self) -> str:
        """Its kind: "ours", "hand", "floor" or "peer"."""
        if self.package:
            return "peer"
        return {"by_hand": "hand", "floor": "floor"}.get(self.module, "ours")

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, on the client's kind of event loop."""
        home = {"uvloop": "uvloop", "engine": "mellea_rx"}.get(self.loop, "asyncio")
        result: T = import_module(home).run(main)
        return result

    def open(self, url: str) -> AbstractAsyncContextManager[Answers]:
        """Import it, and open it on a server. Only in a process of its environment."""
        module = import_module(f"benchmarks.clients.{self.module}")
        opened: Callable[[str], AbstractAsyncContextManager[Answers]]
        opened = getattr(module, self.function)
        return opened(url)


_PYDANTIC_AI = "pydantic-ai-slim[openai]"
_ALL = [
    Client("by hand", "by_hand", "ndjson"),
    Client("by hand, SSE", "by_hand", "sse", wire="sse"),
    Client("by hand, uvloop", "by_hand", "ndjson", loop="uvloop"),
    Client("by hand, SSE, uvloop", "by_hand", "sse", wire="sse", loop="uvloop"),
    Client("by hand, 50 at a time", "by_hand", "fifty"),
    Client("by hand, 50 at a time, uvloop", "by_hand", "fifty", loop="uvloop"),
    Client("floor", "floor", "ndjson", loop="uvloop"),
    Client("floor, SSE", "floor", "sse", wire="sse", loop="uvloop"),
    Client("floor, 50 at a time", "floor", "fifty", loop="uvloop"),
    Client("http1", "transports", "http1", loop="uvloop"),
    Client("aiohttp session", "transports", "session", loop="uvloop"),
    Client("default call", "ours", "default"),
    Client("default call, uvloop", "ours", "default", loop="uvloop"),
    Client("default call, own loop", "ours", "default", loop="engine"),
    Client("default call and astream", "ours", "mixed"),
    Client("sync verb", "ours", "sync"),
    Client("map_generate", "ours", "mapped"),
    Client("astream", "ours", "astream"),
    Client("astream, checked", "ours", "checked"),
    Client("astream, SSE", "ours", "astream_sse", wire="sse"),
    Client("avalue", "ours", "avalue"),
    Client("three operators", "ours", "chain"),
    Client("merge", "ours", "merged"),
    Client("three operators and merge", "ours", "merged_chains"),
    Client("httpx", "httpx_lines", package="httpx", venv="peers"),
    Client("ollama", "ollama_python", package="ollama", venv="peers"),
    Client("langchain-ollama", "langchain", package="langchain-ollama", venv="peers"),
    Client("openai", "openai_python", wire="sse", package="openai", venv="peers"),
    Client("pydantic-ai", "pydantic_ai_agent", wire="sse", package=_PYDANTIC_AI, venv="peers"),
    Client("litellm", "litellm_completion", wire="sse", package="litellm", venv="peers"),
    Client("Mellea, Ollama", "mellea_session", "ollama", package="mellea", venv="mellea"),
    Client("Mellea, OpenAI", "mellea_session", "openai", "sse", package="mellea", venv="mellea"),
]
CLIENTS = {each.name: each for each in _ALL}
