"""After a fork the child starts afresh; nothing of the parent's is shared, nothing hangs."""

from __future__ import annotations

import pytest

from tests.core.python import STRICT, runs_cleanly
from tests.support.server_process import ServerProcess

FORK = """
import asyncio, os, signal, sys, warnings
# Newer Pythons warn of any fork beside threads: that one may go well is what is tested here.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
from mellea_rx import *
from mellea_rx.core.runtime.engine import engine

def in_child(work):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            work()
            sys.stdout.flush()
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("flags", [(), STRICT])
def test_the_child_has_an_engine_of_its_own(flags: tuple[str, ...]) -> None:
    code = """
    m = MelleaSession(ScriptedBackend("a b c"))
    print("parent", m.instruct("Go."))
    in_child(lambda: print("child", m.instruct("Go.")))
    print("parent", m.instruct("Go."))
    """
    printed = runs_cleanly(FORK + _dedent(code), flags=flags)
    assert printed.splitlines() == ["parent a b c", "child a b c", "parent a b c"]


def test_the_parents_running_thunk_raises_in_the_child_and_goes_on_in_the_parent() -> None:
    code = """
    m = MelleaSession(ScriptedBackend("a b c", delay=0.1))
    thunk = asyncio.run(m.ainstruct("Go."))
    while not thunk.text:
        pass

    def child():
        for read in (str, ModelOutputThunk.wait, lambda t: list(t.stream())):
            try:
                read(thunk)
            except EngineStoppedError as error:
                print("child", repr(error.text), error)

    in_child(child)
    print("parent", thunk)
    """
    lines = runs_cleanly(FORK + _dedent(code)).splitlines()
    assert len(lines) == 4
    assert all(line.startswith("child 'a ") for line in lines[:3])
    why = "this generation runs in the parent process, not in its fork"
    assert all(line.endswith(f"' {why}") for line in lines[:3])
    assert lines[3] == "parent a b c"


def test_the_parents_record_of_events_ends_in_the_child_and_goes_on_in_the_parent() -> None:
    code = """
    import threading
    thunk = asyncio.run(MelleaSession(ScriptedBackend("a b c", delay=0.1)).ainstruct("Go."))
    while not thunk.text:
        pass

    def watch():
        last, done = [], threading.Event()
        thunk.events.subscribe(lambda event: last.append(event), on_completed=done.set)
        assert done.wait(60)
        print(type(last[-1]).__name__, getattr(last[-1], "error", ""))

    thunk.events.subscribe()
    in_child(watch)
    watch()
    """
    lines = runs_cleanly(FORK + _dedent(code)).splitlines()
    assert lines == ["Failed EngineStoppedError", "Completed "]


def test_a_computed_thunk_can_be_read_in_the_child() -> None:
    code = """
    thunk = MelleaSession(ScriptedBackend("a b c")).instruct("Go.")
    in_child(lambda: print(thunk, thunk.value, list(thunk.stream())))
    """
    assert runs_cleanly(FORK + _dedent(code)) == "a b c a b c ['a b c']\n"


def test_subscribers_and_waits_work_in_the_child() -> None:
    code = """
    import threading
    m = MelleaSession(ScriptedBackend("a b c"))
    def subscribe():
        done = threading.Event()
        thunk = asyncio.run(m.ainstruct("Go.", model_options={ModelOption.STREAM: True}))
        texts = []
        thunk.subscribe(lambda c: texts.append(str(c)), print, done.set)
        assert done.wait(60)
        print("".join(texts))
    subscribe()
    in_child(subscribe)
    subscribe()
    """
    assert runs_cleanly(FORK + _dedent(code)) == "a b c\n" * 3


def test_a_fork_while_an_http_answer_streams_disturbs_neither_side(server: ServerProcess) -> None:
    server.script("m", chunks=["x"] * 10, delay=0.02)
    code = """
    m = MelleaSession(OllamaBackend("m", base_url=sys.argv[1]))
    thunk = asyncio.run(m.ainstruct("Go."))
    while not thunk.text:
        pass
    in_child(lambda: print("child", m.instruct("Go.")))
    print("parent", thunk)
    m.close()
    """
    lines = runs_cleanly(FORK + _dedent(code), server.url).splitlines()
    assert lines == [f"child {'x' * 10}", f"parent {'x' * 10}"]
    first, second = server.log("m")
    assert first["connection"] != second["connection"]
    assert not first["client_closed"]


@pytest.mark.slow
def test_a_fork_from_many_threads_never_hangs() -> None:
    code = """
    import threading
    m = MelleaSession(ScriptedBackend([str(n) for n in range(50)], delay=0.0005))
    options = {ModelOption.STREAM: True}
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            m.instruct("Go.", model_options=options)

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            in_child(lambda: m.instruct("Go."))
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    print("done")
    """
    assert runs_cleanly(FORK + _dedent(code)) == "done\n"


def _dedent(code: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in code.splitlines())
