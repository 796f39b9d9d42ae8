"""Signals and closed loops during a call: the call ends, and the server sees its end."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest

from mellea_rx import CallerLoopClosedError, MelleaSession, ModelOutputThunk, ValidationResult
from mellea_rx.stdlib.requirements import req
from tests.chaos.trial import Trial
from tests.core.hand import PATIENCE, STREAM, until_blocking
from tests.core.python import ROOT, STRICT
from tests.support.server_process import ServerProcess

HEAD = """
import asyncio, signal, sys
from mellea_rx import *
m = MelleaSession(OllamaBackend("m", base_url=sys.argv[1]))
stream = {ModelOption.STREAM: True}
"""

READ = """
async def main():
    thunk = await m.ainstruct("Go.", model_options=stream)
    async for piece in thunk.astream():
        print(piece, flush=True)
"""

CASES = {
    "Ctrl-C within asyncio.run": (
        signal.SIGINT,
        "try:\n    asyncio.run(main())\nexcept KeyboardInterrupt:\n    print('interrupted')\n",
        0,
        "a\ninterrupted\n",
    ),
    "Ctrl-C that nobody expects": (
        signal.SIGINT,
        "sys.excepthook = lambda *_: print('told')\nasyncio.run(main())\n",
        -signal.SIGINT,
        "a\ntold\n",
    ),
    "SIGTERM that nobody expects": (
        signal.SIGTERM,
        "asyncio.run(main())\n",
        -signal.SIGTERM,
        "a\n",
    ),
    "SIGTERM that exits": (
        signal.SIGTERM,
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nasyncio.run(main())\n",
        7,
        "a\n",
    ),
    "SIGTERM that exits, in a blocking wait": (
        signal.SIGTERM,
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nprint('a', flush=True)\n"
        "m.instruct('Go.')\n",
        7,
        "a\n",
    ),
    "SIGTERM that cancels": (
        signal.SIGTERM,
        """
async def until_term():
    task = asyncio.create_task(main())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        print("cancelled")
asyncio.run(until_term())
""",
        0,
        "a\ncancelled\n",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_signal_ends_the_program_and_its_request(server: ServerProcess, case: str) -> None:
    number, code, returns, prints = CASES[case]
    server.script("m", chunks=["a", "b"], stall_after=1)
    process = subprocess.Popen(
        [sys.executable, *STRICT, "-c", HEAD + READ + code, server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    server.wait_for(lambda: server.log("m") and server.log("m")[0]["chunks"])
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    told = [line for line in err.splitlines() if not line.startswith("Executing <")]
    assert (process.returncode, first + out, told) == (returns, prints, [])
    server.wait_for(lambda: server.log("m")[0]["client_closed"])
    server.wait_for(lambda: server.connections() == 0)


def test_a_loop_that_closes_under_an_async_validator_is_told_and_the_text_stays(
    trial: Trial,
) -> None:
    trial.server.script("m", chunks=["Once ", "upon"])

    async def never(_: object) -> ValidationResult:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    backend = trial.backend()
    m = MelleaSession(backend)

    async def leave() -> ModelOutputThunk[str]:
        return await m.ainstruct("Go.", requirements=[req("never", never)])

    thunk = asyncio.run(leave())
    error = until_blocking(lambda: thunk.error)
    assert type(error) is CallerLoopClosedError
    with pytest.raises(CallerLoopClosedError, match="closed"):
        thunk.wait(PATIENCE)
    assert m.instruct("Go.").value == "Once upon"
    backend.close()
    trial.server.wait_for(lambda: trial.server.connections() == 0)


def test_a_loop_that_closes_in_mid_stream_leaves_the_thunk_to_another(trial: Trial) -> None:
    trial.server.script("m", chunks=["Once ", "upon ", "a ", "time"], delay=0.03)
    backend = trial.backend()
    m = MelleaSession(backend)

    async def begin() -> tuple[ModelOutputThunk[str], str]:
        thunk = await m.ainstruct("Go.", model_options=STREAM)
        return thunk, await thunk.astream()

    async def go_on(thunk: ModelOutputThunk[str]) -> str:
        return "".join([piece async for piece in thunk.astream()])

    thunk, first = asyncio.run(begin())
    rest = asyncio.run(go_on(thunk))
    assert first
    assert first + rest == asyncio.run(thunk.avalue()) == "Once upon a time"  # type: ignore[arg-type]
    backend.close()
