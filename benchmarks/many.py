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

from benchmarks.measures import raise_file_limit, resident
from benchmarks.server import texts
from benchmarks.turns import server
from benchmarks.vitals import sockets
from benchmarks.work import Work
from mellea_rx import MelleaSession, ModelOption, OllamaBackend

_WARM_UP = "burst-20"
_GLANCE = 0.25
"""Seconds between two looks at the process."""


@dataclass(frozen=True)
class Figures:
    """The result of many streams.

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


async def _is_right(m: MelleaSession, expected: str) -> bool:
    """Stream one answer; it keeps no text, which would be weighed with the stream."""
    thunk = await m.ainstruct("x", model_options={ModelOption.STREAM: True})
    at = 0
    async for piece in thunk.astream():
        if not expected.startswith(piece, at):
            return False
        at += len(piece)
    return at == len(expected)


async def figures(url: str, work: Work) -> Figures:
    """Stream them all at once, and look at the process meanwhile."""
    with MelleaSession(OllamaBackend(_WARM_UP, base_url=url)) as warm:
        assert await _is_right(warm, "".join(texts(_WARM_UP)))
    gc.collect()
    before, peak, together = resident(), 0, 0
    expected = "".join(texts(work.model))
    started = time.monotonic()
    with MelleaSession(OllamaBackend(work.model, base_url=url)) as m:
        readers = asyncio.gather(*(_is_right(m, expected) for _ in range(work.streams)))
        while not readers.done():
            await asyncio.wait([readers], timeout=_GLANCE)
            peak, together = max(peak, resident()), max(together, sockets())
        took = time.monotonic() - started
    return Figures(sum(readers.result()), together, (peak - before) / work.streams / 1024, took)


def main() -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(description="Many streams at once.")
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--model", default="paced-20-500", help="paced-CHUNKS-MILLISECONDS")
    parser.add_argument("--most", type=float, default=25, help="KB that a stream may weigh")
    given = parser.parse_args()
    work = Work(given.model, given.streams)
    raise_file_limit()
    with server() as url:
        found = asyncio.run(figures(url, work))
    print(
        f"{found.right:,} of {work.streams:,} right, {found.together:,} sockets open at once; "
        f"{found.kilobytes:.1f} KB a stream; {found.seconds:.1f} s (ideal: {work.ideal:.1f})"
    )
    held = found.right == work.streams <= found.together and found.kilobytes <= given.most
    print("all held" if held else "broken")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
