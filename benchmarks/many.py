"""Ten thousand streams at once: all complete, right to the byte, in bounded memory.

`python -m benchmarks.many` asks a server of another process for 20 chunks each, 0.5 s apart, prints
what a stream weighs, and exits with 1 when a text differs, when the streams did not run at the same
time, or when one weighs more than 25 KB. It needs a file a stream; Linux, for it reads /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from dataclasses import dataclass

from benchmarks.server import interval, texts
from benchmarks.vitals import raise_file_limit, resident, sockets
from mellea_rx import MelleaSession, ModelOption, OllamaBackend
from tests.support.server_process import ModuleProcess

_SPARE = 200
"""Files that are needed besides the streams'."""
_GLANCE = 0.25
"""Seconds between two looks at the process."""


@dataclass(frozen=True)
class Figures:
    """What many streams came to.

    Attributes:
        right: How many texts are right to the byte.
        together: The most connections that were open at once.
        kilobytes: What the process grew by at its peak, a stream.
        seconds: How long it took.
    """

    right: int
    together: int
    kilobytes: float
    seconds: float


async def _read(m: MelleaSession) -> str:
    thunk = await m.ainstruct("x", model_options={ModelOption.STREAM: True})
    return "".join([piece async for piece in thunk.astream()])


async def figures(url: str, model: str, streams: int) -> Figures:
    """Stream them all at once.

    Args:
        url: The server's (`benchmarks.server`).
        model: What each answer is.
        streams: How many.
    """
    with MelleaSession(OllamaBackend("burst-20", base_url=url)) as warm:
        await asyncio.gather(*(_read(warm) for _ in range(20)))
    gc.collect()
    before, peak, together = resident(), 0, 0
    started = time.monotonic()
    with MelleaSession(OllamaBackend(model, base_url=url)) as m:
        readers = asyncio.gather(*(_read(m) for _ in range(streams)))
        while not readers.done():
            await asyncio.wait([readers], timeout=_GLANCE)
            peak, together = max(peak, resident()), max(together, sockets())
        took = time.monotonic() - started
    expected = "".join(texts(model))
    right = sum(text == expected for text in readers.result())
    return Figures(right, together, (peak - before) / streams / 1024, took)


def main() -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(description="Many streams at once.")
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--model", default="paced-20-500", help="paced-CHUNKS-MILLISECONDS")
    parser.add_argument("--most", type=float, default=25, help="KB that a stream may weigh")
    given = parser.parse_args()
    raise_file_limit(given.streams + _SPARE)
    with ModuleProcess("benchmarks.server") as server:
        found = asyncio.run(figures(server.url, given.model, given.streams))
    ideal = len(texts(given.model)) * (interval(given.model) or 0)
    print(
        f"{found.right:,} of {given.streams:,} right, {found.together:,} sockets open at once; "
        f"{found.kilobytes:.1f} KB a stream; {found.seconds:.1f} s (the server takes {ideal:.1f})"
    )
    held = found.right == given.streams <= found.together and found.kilobytes <= given.most
    print("all held" if held else "broken")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
