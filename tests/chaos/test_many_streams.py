"""Thousands of streams at once: all complete, right to the byte, in bounded memory."""

from __future__ import annotations

import asyncio
import gc
import resource

from mellea_rx import MelleaSession, ModelOption
from tests.chaos.trial import Trial, engine_tasks
from tests.core.hand import until_blocking

STREAMS = 1000
WORDS = [f"wörd {n} " for n in range(5)]
KB_A_STREAM = 40
"""What the process may grow by at its peak, the allocator's rounding included."""


def peak() -> int:
    """The process's largest size so far, in KB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_a_thousand_streams_at_once(trial: Trial) -> None:
    trial.server.script("m", chunks=WORDS, delay=0.3)
    tasks = engine_tasks()

    async def read(m: MelleaSession, n: int) -> str:
        thunk = await m.ainstruct(f"Go {n}.", model_options={ModelOption.STREAM: True})
        return "".join([piece async for piece in thunk.astream()])

    async def main(count: int) -> list[str]:
        with MelleaSession(trial.backend()) as m:
            return await asyncio.gather(*(read(m, n) for n in range(count)))

    asyncio.run(main(10))
    gc.collect()
    before = peak()
    texts = asyncio.run(main(STREAMS))
    assert texts == ["".join(WORDS)] * STREAMS
    assert peak() - before < STREAMS * KB_A_STREAM
    log = trial.server.log("m")[10:]
    assert max(entry["started"] for entry in log) < min(entry["ended"] for entry in log)
    until_blocking(lambda: trial.server.connections() == 0)
    until_blocking(lambda: engine_tasks() <= tasks)
