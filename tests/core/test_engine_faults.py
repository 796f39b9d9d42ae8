"""Should anything stop the engine's loop: whatever ran on it ends, and the next call is well."""

from __future__ import annotations

import pytest

from tests.core.python import STRICT, runs_cleanly
from tests.support.server_process import ServerProcess

HEAD = """
import asyncio, os, sys, threading
from mellea_rx import *
from mellea_rx.core.runtime.engine import engine
from mellea_rx.backends import Options
from mellea_rx.backends import Request, RequestMessage
m = MelleaSession(OllamaBackend("m", base_url=sys.argv[1]))
stream = {ModelOption.STREAM: True}
HOW = {
    "stopped": lambda: engine().loop.stop(),
    "left by a callback": lambda: sys.exit(3),
}[sys.argv[2]]

def kill():
    first = engine()
    first.loop.call_soon_threadsafe(HOW)
    first._thread.join(30)
    assert not first._thread.is_alive()
"""
HOW = ["stopped", "left by a callback"]


@pytest.mark.parametrize("flags", [(), STRICT], ids=["plain", "strict"])
@pytest.mark.parametrize("how", HOW)
def test_every_thunk_ends_and_the_next_call_has_a_fresh_engine(
    server: ServerProcess, how: str, flags: tuple[str, ...]
) -> None:
    server.script("m", [{"chunks": ["a", "b"], "stall_after": 1}] * 20 + [{"chunks": ["c"]}])
    code = """
async def begin():
    return [await m.ainstruct("Go.", model_options=stream if n % 2 else {}) for n in range(20)]

thunks = asyncio.run(begin())
while not all(thunk.text for thunk in thunks):
    pass
ended, waiters = [], []
for thunk in thunks[:5]:
    def wait(thunk=thunk):
        try:
            thunk.wait(30)
        except EngineStoppedError as error:
            ended.append(error.text)
    waiters.append(threading.Thread(target=wait))
    waiters[-1].start()
told = threading.Event()
thunks[5].subscribe(lambda _: None, lambda error: told.set())

async def read():
    killer = asyncio.create_task(asyncio.to_thread(kill))
    try:
        async for _ in thunks[7].astream():
            pass
    except EngineStoppedError as error:
        print("reader", error.text)
    await killer

asyncio.run(read())
for waiter in waiters:
    waiter.join(30)
assert told.wait(30)
print(ended, {type(thunk.error).__name__ for thunk in thunks}, {thunk.text for thunk in thunks})
before = engine()
print(m.instruct("Go."), before is engine(), asyncio.run(m.ainstruct("Go.")))
"""
    printed = runs_cleanly(HEAD + code, server.url, how, flags=flags)
    assert printed.splitlines() == [
        "reader a",
        "['a', 'a', 'a', 'a', 'a'] {'EngineStoppedError'} {'a'}",
        "c True c",
    ]
    server.wait_for(lambda: server.connections() == 0)
    assert all(each["client_closed"] for each in server.log("m")[:20])


@pytest.mark.parametrize("how", HOW)
def test_a_source_that_is_subscribed_to_gets_its_terminal(server: ServerProcess, how: str) -> None:
    server.script("m", chunks=["a", "b"], stall_after=1)
    code = """
request = Request((RequestMessage("user", "Go."),), Options())
begun, ended = threading.Event(), threading.Event()
errors = []
m.backend.stream(request).subscribe(
    lambda _: begun.set(), lambda error: (errors.append(error), ended.set())
)
assert begun.wait(30)
kill()
assert ended.wait(30)
print(*(type(error).__name__ for error in errors))
"""
    assert runs_cleanly(HEAD + code, server.url, how) == "EngineStoppedError\n"


@pytest.mark.parametrize("how", HOW)
def test_what_waits_for_the_engine_is_told(server: ServerProcess, how: str) -> None:
    server.script("/api/tags", first_delay=30)
    code = """
async def main():
    asking = asyncio.create_task(m.backend.models())
    await asyncio.sleep(0.05)
    await asyncio.to_thread(kill)
    try:
        await asyncio.wait_for(asking, 30)
    except EngineStoppedError as error:
        print("told")
asyncio.run(main())
"""
    assert runs_cleanly(HEAD + code, server.url, how) == "told\n"


@pytest.mark.parametrize("how", HOW)
def test_calls_that_are_made_meanwhile_end_too(server: ServerProcess, how: str) -> None:
    server.script("m", chunks=["a"])
    code = """
stop = threading.Event()
outcomes = set()

def ask():
    while not stop.is_set():
        try:
            outcomes.add(m.instruct("Go.").value)
        except EngineStoppedError:
            outcomes.add("stopped")

threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(10):
    kill()
    assert m.instruct("Go.").value == "a"
stop.set()
for thread in threads:
    thread.join(30)
    assert not thread.is_alive()
print(outcomes <= {"a", "stopped"}, m.instruct("Go."))
"""
    assert runs_cleanly(HEAD + code, server.url, how) == "True a\n"


def test_an_embedded_model_is_loaded_again(server: ServerProcess) -> None:
    code = """
from pathlib import Path
from tempfile import TemporaryDirectory
from tests.support.tiny_llama import write_tiny_llama
with TemporaryDirectory() as folder:
    m = MelleaSession(
        LocalBackend(write_tiny_llama(Path(folder) / "tiny.gguf"), parallel=2),
        model_options={ModelOption.STREAM: True},
    )
    thunk = asyncio.run(m.ainstruct("Go."))
    while not thunk.text:
        pass
    kill()
    try:
        str(thunk)
    except EngineStoppedError as error:
        print("stopped", error.text == thunk.text)
    print(bool(m.instruct("Go.", model_options={ModelOption.MAX_NEW_TOKENS: 3}).value))
"""
    assert runs_cleanly(HEAD + code, server.url, HOW[0]).splitlines() == ["stopped True", "True"]
