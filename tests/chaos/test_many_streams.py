"""Thousands of streams at once: all complete and correct to the byte, in bounded memory."""

from __future__ import annotations

import asyncio
import gc
import resource
import subprocess
import sys

import pytest

from mellea_rx import MelleaSession, ModelOption
from tests.chaos.trial import Trial, engine_tasks
from tests.core.hand import until_blocking
from tests.support.server_process import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.alone]

STREAMS = 1000
WORDS = [f"wörd {n} " for n in range(5)]
KB_A_STREAM = 40
"""The allowed growth of the process at its peak, including the allocator's rounding."""


def peak() -> int:
    """The peak memory of the process, in KB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_a_thousand_streams_at_once(trial: Trial) -> None:
    trial.server.script("m", chunks=WORDS, delay=0.8)
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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_stream_weighs_no_more_than_it_may() -> None:
    """A short version of `python -m benchmarks.many`, in a separate, small process."""
    command = [sys.executable, "-m", "benchmarks.many", "--streams", "1000"]
    command += ["--most", "30"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1,000 of 1,000 right" in done.stdout
