"""The engine: one loop of the library's own, in one daemon thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mellea_rx import MelleaSession, ScriptedBackend
from mellea_rx.backends import Request
from mellea_rx.core.runtime.engine import engine
from tests.core.hand import until_blocking
from tests.core.python import runs_cleanly


def engine_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "mellea-rx-engine"]


def test_every_session_on_every_loop_shares_one_daemon_thread() -> None:
    seen: set[str] = set()

    def tell(_: Request) -> str:
        seen.add(threading.current_thread().name)
        return "a"

    async def ask() -> str:
        return await (await MelleaSession(ScriptedBackend(tell)).ainstruct("Go."))

    for _ in range(3):
        assert asyncio.run(ask()) == "a"
    assert MelleaSession(ScriptedBackend(tell)).instruct("Go.").value == "a"
    assert seen == {"mellea-rx-engine"}
    (thread,) = engine_threads()
    assert thread.daemon


def test_it_starts_with_the_first_call_and_not_before() -> None:
    code = """
import threading
import mellea_rx
m = mellea_rx.start_session("scripted")
print(threading.active_count())
m.instruct("Go.")
print([t.name for t in threading.enumerate() if t is not threading.main_thread()])
"""
    assert runs_cleanly(code).splitlines() == ["1", "['mellea-rx-engine']"]


def test_it_runs_without_uvloop_too() -> None:
    code = """
import sys
sys.modules["uvloop"] = None
import mellea_rx
print(mellea_rx.start_session("scripted").instruct("Go."))
from mellea_rx.core.runtime.engine import engine
print(type(engine().loop).__module__.split(".")[0])
"""
    assert runs_cleanly(code).splitlines() == ["This is a scripted answer.", "asyncio"]


def test_many_threads_that_begin_at_once_get_one_engine() -> None:
    code = """
import threading
from mellea_rx import MelleaSession, ScriptedBackend
m = MelleaSession(ScriptedBackend("a"))
start = threading.Barrier(16)
def work():
    start.wait()
    m.instruct("Go.")
threads = [threading.Thread(target=work) for _ in range(16)]
[t.start() for t in threads]
[t.join() for t in threads]
print(sum(t.name == "mellea-rx-engine" for t in threading.enumerate()))
"""
    assert runs_cleanly(code) == "1\n"


def test_run_waits_here_for_what_runs_there() -> None:
    async def where() -> str:
        return threading.current_thread().name

    async def main() -> str:
        return await engine().run(where)

    assert asyncio.run(main()) == "mellea-rx-engine"


def test_run_raises_what_was_raised_there() -> None:
    async def explode() -> None:
        raise ZeroDivisionError("oops")

    with pytest.raises(ZeroDivisionError, match="oops"):
        asyncio.run(engine().run(explode))


def test_cancelling_run_cancels_the_work() -> None:
    ended = threading.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def main() -> None:
        waiting = asyncio.create_task(engine().run(work))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    for _ in range(20):
        ended.clear()
        begun = asyncio.run(main())
        assert begun is None
    until_blocking(lambda: ended.is_set() or not engine()._tasks)
