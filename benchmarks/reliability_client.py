"""One streamed call of one client, told as JSON: `reliability_client.py CLIENT URL MODEL`.

It runs in the client's own virtual environment, so it imports nothing else of the project. Each
client is as it is by default, with a limit of `SILENCE` where it has one to set.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import resource
import sys
from collections.abc import Callable, Coroutine
from io import StringIO
from typing import Any

PROMPT = "Tell me a secret."
KEY = "sk-of-the-tests"
SILENCE = 2.0
"""Seconds that a server may be silent."""
WHOLE = 5.0
"""Seconds that an answer may take, where a client has such a limit."""
PATIENCE = 10.0
"""Seconds after which a call counts as one without an end."""

Call = Callable[[str, str, StringIO], Coroutine[Any, Any, None]]
"""Asks a model at a URL, and writes each piece of text down as it comes."""


async def ollama_python(url: str, model: str, said: StringIO) -> None:
    """Ollama's own client."""
    from ollama import AsyncClient

    headers = {"Authorization": f"Bearer {KEY}"}
    client = AsyncClient(url, timeout=SILENCE, headers=headers)
    messages = [{"role": "user", "content": PROMPT}]
    async for part in await client.chat(model, messages, stream=True):
        said.write(part.message.content or "")


async def openai_python(url: str, model: str, said: StringIO) -> None:
    """OpenAI's own client."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, timeout=SILENCE)
    messages: Any = [{"role": "user", "content": PROMPT}]
    stream: Any = await client.chat.completions.create(model=model, messages=messages, stream=True)
    async for chunk in stream:
        if chunk.choices:
            said.write(chunk.choices[0].delta.content or "")


async def _mellea(backend: Any, said: StringIO) -> None:
    from mellea import MelleaSession
    from mellea.backends import ModelOption
    from mellea.stdlib.context import SimpleContext

    options = {ModelOption.STREAM: True, ModelOption.STREAM_TIMEOUT: SILENCE}
    session = MelleaSession(backend, SimpleContext())
    # Without a strategy: with one it streams nothing.
    thunk = await session.ainstruct(PROMPT, strategy=None, model_options=options)
    while not thunk.is_computed():
        said.write(await thunk.astream())


async def mellea_ollama(url: str, model: str, said: StringIO) -> None:
    """Mellea with its backend for Ollama."""
    from mellea.backends.ollama import OllamaModelBackend

    await _mellea(OllamaModelBackend(model, base_url=url), said)


async def mellea_openai(url: str, model: str, said: StringIO) -> None:
    """Mellea with its backend for OpenAI."""
    from mellea.backends.openai import OpenAIBackend

    await _mellea(OpenAIBackend(model, base_url=f"{url}/v1", api_key=KEY), said)


async def _ours(backend: Any, said: StringIO) -> None:
    from mellea_rx import MelleaSession, ModelOption

    limits = {ModelOption.STREAM_TIMEOUT: SILENCE, ModelOption.TOTAL_TIMEOUT: WHOLE}
    options = {ModelOption.STREAM: True, **limits}
    thunk = await MelleaSession(backend).ainstruct(PROMPT, model_options=options)
    async for piece in thunk.astream():
        said.write(piece)


async def ours_ollama(url: str, model: str, said: StringIO) -> None:
    """This library with Ollama's protocol."""
    from mellea_rx import OllamaBackend

    await _ours(OllamaBackend(model, base_url=url, api_key=KEY), said)


async def ours_openai(url: str, model: str, said: StringIO) -> None:
    """This library with OpenAI's protocol."""
    from mellea_rx import OpenAIBackend

    await _ours(OpenAIBackend(model, base_url=f"{url}/v1", api_key=KEY), said)


CALLS: dict[str, tuple[str, Call]] = {
    "ollama-python": ("ollama", ollama_python),
    "openai-python": ("openai", openai_python),
    "mellea-ollama": ("mellea.backends.ollama", mellea_ollama),
    "mellea-openai": ("mellea.backends.openai", mellea_openai),
    "ours-ollama": ("mellea_rx.backends.ollama", ours_ollama),
    "ours-openai": ("mellea_rx.backends.openai", ours_openai),
}
"""Each with what it needs imported, which is not counted as memory of the call."""


def _name(error: BaseException) -> str:
    kind = type(error)
    package = kind.__module__.partition(".")[0]
    own = {"builtins", "mellea_rx", "ollama", "openai", "mellea"}
    return kind.__name__ if package in own else f"{package}.{kind.__name__}"


async def told(call: Call, url: str, model: str) -> dict[str, Any]:
    """The end of the call.

    Returns:
        Its text, the name of its error or None, whether it ended, and how many MB the process
        grew by.
    """
    said = StringIO()
    error: str | None = None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    task = asyncio.create_task(call(url, model, said))
    await asyncio.wait([task], timeout=PATIENCE)
    ended = task.done()
    if ended:
        failure = task.exception()
        error = _name(failure) if failure else None
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"text": said.getvalue(), "error": error, "ended": ended, "grown": grown // 1024}


async def main() -> None:
    """Make the call, print how it ended, and leave whatever may still run."""
    name, url, model = sys.argv[1:]
    module, call = CALLS[name]
    importlib.import_module(module)
    print(json.dumps(await told(call, url, model)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
