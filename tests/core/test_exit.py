"""The interpreter may end at any moment: exit code 0, and nothing on stderr."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tests.core.python import ROOT, STRICT, run_python, runs_cleanly
from tests.support.server_process import ServerProcess

HEAD = """
import asyncio, sys
from mellea_rx import *
m = MelleaSession(OllamaBackend("m", base_url=sys.argv[1]))
stream = {ModelOption.STREAM: True}
"""

ENDINGS = {
    "a thunk that nobody read": """
thunk = asyncio.run(m.ainstruct("Go."))
while not thunk.text:
    pass
""",
    "before the request began": """
thunk = asyncio.run(m.ainstruct("Go."))
""",
    "a thunk that was dropped": """
asyncio.run(m.ainstruct("Go."))
""",
    "many at once": """
async def main():
    return [await m.ainstruct("Go.", model_options=stream) for _ in range(50)]
thunks = asyncio.run(main())
while not all(thunk.text for thunk in thunks):
    pass
""",
    "a reader in the middle": """
async def main():
    thunk = await m.ainstruct("Go.", model_options=stream)
    async for piece in thunk.astream():
        break
    return thunk
thunk = asyncio.run(main())
""",
    "a subscriber on the delivery thread": """
thunk = asyncio.run(m.ainstruct("Go.", model_options=stream))
texts = []
thunk.subscribe(texts.append, lambda error: None)
while not texts:
    pass
""",
    "a chat that keeps its turns": """
m = MelleaSession(m.backend, ChatContext())
asyncio.run(m.achat("Go.", model_options=stream))
while not m.ctx.last.output.text:
    pass
""",
    "sys.exit inside a loop": """
async def main():
    thunk = await m.ainstruct("Go.", model_options=stream)
    await thunk.astream()
    sys.exit(0)
asyncio.run(main())
""",
    "a session that is open": """
m.__enter__()
thunk = asyncio.run(m.ainstruct("Go."))
""",
}


@pytest.mark.parametrize("flags", [(), STRICT], ids=["plain", "strict"])
@pytest.mark.parametrize("name", ENDINGS)
def test_exit_in_mid_generation_is_clean(
    server: ServerProcess, name: str, flags: tuple[str, ...]
) -> None:
    server.script("m", chunks=["a", "b"], stall_after=1)
    runs_cleanly(HEAD + ENDINGS[name], server.url, flags=flags)
    server.wait_for(lambda: server.connections() == 0)


def test_exit_does_not_wait_for_the_generation(server: ServerProcess) -> None:
    server.script("m", chunks=["a", "b"], stall_after=1)
    before = time.monotonic()
    runs_cleanly(HEAD + ENDINGS["a thunk that nobody read"], server.url)
    assert time.monotonic() - before < 50


def test_exit_while_a_validator_runs_is_clean() -> None:
    code = """
import asyncio, threading
from mellea_rx import *
from mellea_rx.stdlib.requirements import req, simple_validate
begun = threading.Event()
def slow(text):
    begun.set()
    import time
    time.sleep(0.2)
    return True
m = MelleaSession(ScriptedBackend("a"))
thunk = asyncio.run(m.ainstruct("Go.", requirements=[req("slow", simple_validate(slow))]))
begun.wait()
"""
    runs_cleanly(code, flags=STRICT)


def test_an_exception_that_ends_the_program_is_all_that_is_told(server: ServerProcess) -> None:
    server.script("m", chunks=["a", "b"], stall_after=1)
    ran = run_python(HEAD + ENDINGS["before the request began"] + "1 / 0\n", server.url)
    assert ran.returncode == 1
    assert ran.stderr.count("Traceback") == 1
    assert ran.stderr.strip().endswith("ZeroDivisionError: division by zero")


def test_ctrl_c_in_a_sync_verb_ends_it_and_the_request(server: ServerProcess) -> None:
    server.script("m", chunks=["a", "b"], stall_after=1)
    code = (
        HEAD + "try:\n    m.instruct('Go.')\nexcept KeyboardInterrupt:\n    print('interrupted')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    server.wait_for(lambda: server.log("m") and server.log("m")[0]["chunks"])
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "interrupted\n", "")
    server.wait_for(lambda: server.log("m")[0]["client_closed"])


def test_a_backend_that_is_dropped_while_the_interpreter_ends_closes_its_connections(
    server: ServerProcess,
) -> None:
    server.script("m", chunks=["a"])
    code = """
import atexit, sys
from mellea_rx import *
held = []
atexit.register(held.clear)  # runs after weakref's own exit function, before the engine's
m = MelleaSession(OllamaBackend("m", base_url=sys.argv[1]))
m.instruct("Go.")
held.append(m)
del m
"""
    runs_cleanly(code, server.url, flags=STRICT)
    server.wait_for(lambda: server.connections() == 0)


def test_a_first_call_while_the_interpreter_ends_is_answered_or_refused(
    server: ServerProcess,
) -> None:
    server.script("m", chunks=["a"])
    code = """
import atexit, sys
from mellea_rx import *
m = MelleaSession(OllamaBackend("m", base_url=sys.argv[1]))
def last():
    try:
        print(m.instruct("Go.").value)
    except EngineStoppedError as error:
        print(error)
atexit.register(last)
"""
    told = runs_cleanly(code, server.url, flags=STRICT)
    # Some Pythons (3.12.0 and 3.12.1) start no thread that late.
    refused = "the engine cannot start any more: the interpreter is going down"
    assert told in ("a\n", f"{refused}\n")
