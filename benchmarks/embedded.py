"""The embedded model: four prompts at once, ours against llama.cpp without us.

`python -m benchmarks.embedded` prints the tokens a second of both, taken in turn in one process.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.rows import Part, Row, Table
from benchmarks.turns import of_pairs

__all__ = ["embedded"]

ROOT = Path(__file__).resolve().parents[1]
SLOTS, WINDOW, BATCH, TOKENS, ROUNDS = 4, 2048, 64, 64, 10
PROMPTS = [f"Write a long poem about {what}." for what in ("mountains", "rivers", "woods", "seas")]


def _server(path: str, threads: int) -> Any:
    """llama.cpp as one would load it, with as many threads and slots as ours has."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_parallel, params.n_ctx = SLOTS, SLOTS * WINDOW
    params.n_batch = params.n_ubatch = BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.verbosity, params.warmup = -1, False
    params.fit_params, params.cache_ram_mib = False, 0
    return xllamacpp.Server(params)


def _without_us(server: Any) -> float:
    """A thread for each prompt; tokens a second."""
    counts: list[int] = []

    def generate(prompt: str) -> None:
        text: list[str] = []

        def take(answer: Mapping[str, Any]) -> None:
            text.extend(each["delta"].get("content") or "" for each in answer.get("choices", ()))
            if answer.get("usage"):
                counts.append(answer["usage"]["completion_tokens"])

        server.handle_chat_completions({**_BODY, "messages": _user(prompt)}, take)

    threads = [threading.Thread(target=generate, args=[prompt]) for prompt in PROMPTS]
    started = time.monotonic()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return sum(counts) / (time.monotonic() - started)


_OPTIONS = {"temperature": 0.0, "seed": 7, "max_tokens": TOKENS, "repeat_penalty": 1.1}
_BODY = {**_OPTIONS, "stream": True, "stream_options": {"include_usage": True}}


def _user(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


async def _with_us(session: Any) -> float:
    """Four thunks, each read as it comes; tokens a second."""
    from mellea_rx import ModelOption

    options = {ModelOption.STREAM: True, **_OPTIONS}

    async def ask(prompt: str) -> int:
        thunk = await session.ainstruct(prompt, model_options=options)
        async for _ in thunk.astream():
            pass
        return int(thunk.usage.completion_tokens)

    started = time.monotonic()
    counts = await asyncio.gather(*(ask(prompt) for prompt in PROMPTS))
    return sum(counts) / (time.monotonic() - started)


async def _in_turns() -> dict[str, list[float]]:
    from mellea_rx import LocalBackend, MelleaSession
    from mellea_rx.backends.model_files import default_model

    threads = max(1, len(os.sched_getaffinity(0)) - 1)
    server = _server(str(default_model()), threads)
    backend = LocalBackend(parallel=SLOTS, context_window=WINDOW, threads=threads, batch=BATCH)
    figures: dict[str, list[float]] = {"without us": [], "with us": []}
    with MelleaSession(backend) as session:
        await _with_us(session)
        _without_us(server)
        for index in range(ROUNDS):
            # By turns the first: who comes second finds the processor as the first one left it.
            if index % 2:
                figures["with us"].append(await _with_us(session))
                figures["without us"].append(_without_us(server))
            else:
                figures["without us"].append(_without_us(server))
                figures["with us"].append(await _with_us(session))
    return figures


def embedded() -> Part:
    """Both, in a process of their own."""
    case = "embedded model: four prompts at once, tokens a second"
    if find_spec("xllamacpp") is None:
        return Part([Row(case, "at least 0.97", "xllamacpp is not installed", None)])
    command = [sys.executable, "-m", "benchmarks.embedded"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    figures: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    speed = of_pairs(figures["with us"], figures["without us"])
    lines = [[name, f"{statistics.median(each):.0f}"] for name, each in figures.items()]
    table = Table("Embedded model, four prompts at once", ["llama.cpp", "tokens a second"], lines)
    return Part([Row(case, "at least 0.97", f"{speed}", speed.middle >= 0.97)], [table])


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_in_turns())))
