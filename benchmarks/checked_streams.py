"""The times of a stream that is checked while it is read, beside Mellea's `stream()`.

`python -m benchmarks.checked_streams`: ten sentences of two words come 100 ms apart, and the fifth
is rejected. Measured by the clock of the scripted server, which all processes share: the time from
the first character after sentence 1 until the reader has sentence 1; and the time from the first
character after the rejected sentence until the client has closed the request. The middle of
several calls each, in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import time
from statistics import median
from typing import Any

from benchmarks.environments import python_of
from tests.support.server_process import ROOT, ServerProcess

PACE = 0.1
SENTENCES = [f"{'Bad' if n == 5 else 'Good'} one{n}. " for n in range(1, 11)]
ROUNDS = 5

_MELLEA = """
import asyncio, json, sys, time
from mellea.backends import ModelOption
from mellea.backends.openai import OpenAIBackend
from mellea.core.requirement import PartialValidationResult, Requirement
from mellea.stdlib.components import Instruction
from mellea.stdlib.context import SimpleContext
from mellea.stdlib.streaming import stream

class Calm(Requirement):
    async def _stream_validate(self, chunk, *, backend, ctx):
        return PartialValidationResult("fail" if "Bad" in chunk else "pass")

async def main(url):
    backend = OpenAIBackend(
        "m", base_url=url + "/v1", api_key="none", model_options={ModelOption.STREAM: True}
    )
    first, text = None, ""
    made = await stream(
        Instruction("Go."), backend, SimpleContext(), chunking="sentence", requirements=[Calm("x")]
    )
    async with made as pieces:
        async for piece in pieces:
            first = first or time.monotonic()
            text += piece
    print(json.dumps({"first": first, "text": text}))

asyncio.run(main(sys.argv[1]))
"""


def mellea(url: str) -> dict[str, Any]:
    """One call of Mellea's `stream()`."""
    command = [python_of("mellea"), "-c", _MELLEA, url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def ours(url: str) -> dict[str, Any]:
    """One call with `release="validated"`."""
    return asyncio.run(_call(url))


async def _call(url: str) -> dict[str, Any]:
    from mellea_rx import MelleaSession, OpenAIBackend, RetractedError
    from mellea_rx.stdlib.requirements import check

    calm = check("x", stream_validate=lambda sentence: "Bad" not in sentence)
    async with MelleaSession(OpenAIBackend("m", base_url=url)) as m:
        thunk = await m.ainstruct("Go.", requirements=[calm], release="validated", stream=True)
        first, text = 0.0, ""
        try:
            async for piece in thunk.astream():
                first = first or time.monotonic()
                text += piece
        except RetractedError:
            pass
        return {"first": first, "text": text, "value": await thunk}


def measured(server: ServerProcess, call: Any) -> tuple[float, float, str]:
    """The two times of one call, in milliseconds, and the text that was read."""
    server.clear()
    server.script("m", [{"chunks": SENTENCES, "delay": PACE}, {"chunks": ["All ", "is ", "well."]}])
    got = call(server.url)
    entry = server.wait_for(lambda: _closed(server))
    first = got["first"] - entry["chunks"][1]
    closed = entry["client_closed_at"] - entry["chunks"][5]
    return first * 1000, closed * 1000, got["text"]


def _closed(server: ServerProcess) -> dict[str, Any] | None:
    entries = [each for each in server.log("m") if each["model"] == "m"]
    return entries[0] if entries and entries[0].get("client_closed_at") else None


def main() -> None:
    """Print a row for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    calls = {"mellea_rx": ours, "mellea": mellea}
    times: dict[str, list[tuple[float, float, str]]] = {name: [] for name in calls}
    with ServerProcess() as server:
        for _ in range(given.rounds):
            for name, call in calls.items():
                times[name].append(measured(server, call))
    print("| | sentence 1 is read after | the request is closed after | text that was read |")
    print("|---|---|---|---|")
    for name, rows in times.items():
        first = median(row[0] for row in rows)
        closed = median(row[1] for row in rows)
        print(f"| {name} | {first:.1f} ms | {closed:.1f} ms | {rows[0][2]!r} |")


if __name__ == "__main__":
    assert ROOT.exists()
    main()
