"""A session's life: open, innermost, closed."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from mellea_rx import (
    GenerationCancelledError,
    InvalidInputError,
    MelleaSession,
    ModelOutputThunk,
    NoSessionError,
    OllamaBackend,
    ScriptedBackend,
    SessionClosedError,
    get_session,
)
from mellea_rx.backends import Pause
from mellea_rx.stdlib.components import Instruction
from mellea_rx.stdlib.requirements import req, simple_validate
from mellea_rx.stdlib.sampling import Sampler, SamplingResult, WeakThenStrong
from mellea_rx.testing import Recorder, run_virtual
from tests.core.hand import STREAM, Hand, soon, until, until_blocking
from tests.support.server_process import ServerProcess


def session() -> MelleaSession:
    return MelleaSession(ScriptedBackend("a"))


def test_get_session_finds_the_innermost() -> None:
    with session() as outer:
        assert get_session() is outer
        with session() as inner:
            assert get_session() is inner
        assert get_session() is outer
    with pytest.raises(NoSessionError, match="start_session"):
        get_session()


def test_it_is_found_in_tasks_and_worker_threads_that_begin_within() -> None:
    async def look() -> MelleaSession:
        await asyncio.sleep(0)
        return get_session()

    async def main() -> None:
        async with session() as m:
            assert await asyncio.create_task(look()) is m
            assert await asyncio.to_thread(get_session) is m

    asyncio.run(main())


def test_tasks_have_innermost_sessions_of_their_own() -> None:
    async def look(barrier: asyncio.Barrier) -> bool:
        async with session() as mine:
            await barrier.wait()
            found = get_session() is mine
            await barrier.wait()
            return found

    async def main() -> None:
        barrier = asyncio.Barrier(5)
        assert await asyncio.gather(*(look(barrier) for _ in range(5))) == [True] * 5
        with pytest.raises(NoSessionError):
            get_session()

    asyncio.run(main())


def test_a_thread_that_begins_outside_has_none() -> None:
    found: list[object] = []

    def look() -> None:
        try:
            found.append(get_session())
        except NoSessionError as error:
            found.append(error)

    with session():
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert isinstance(found[0], NoSessionError)


def test_the_same_session_may_be_entered_within_itself() -> None:
    with session() as m:
        with m.clone() as twin:
            assert get_session() is twin
        assert get_session() is m
        assert m.instruct("Go.").value == "a"


CALLS: dict[str, Any] = {
    "instruct": lambda m: m.instruct("Go."),
    "chat": lambda m: m.chat("Hi."),
    "act": lambda m: m.act(Instruction("Go.")),
    "validate": lambda m: m.validate("fine", output="text"),
    "query": lambda m: m.query("text", "What?"),
    "transform": lambda m: m.transform("text", "shorten it"),
    "clone": lambda m: m.clone(),
    "enter": lambda m: m.__enter__(),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_closed_session_refuses(call: str) -> None:
    m = session()
    m.close()
    m.close()
    with pytest.raises(SessionClosedError, match="start another"):
        CALLS[call](m)


def test_closing_cancels_what_runs() -> None:
    async def main() -> None:
        hand = Hand()
        async with MelleaSession(hand) as m:
            thunk = await m.ainstruct("Go.", model_options=STREAM)
            hand.answers[0].say("half")
            await until(lambda: thunk.text)
        with pytest.raises(GenerationCancelledError, match="session was closed") as caught:
            await thunk.avalue()
        assert caught.value.text == "half"
        await until(hand.answers[0].closed.is_set)

    asyncio.run(main())


def test_aclose_waits_until_the_work_of_its_calls_has_ended() -> None:
    async def main() -> None:
        hand = Hand(3)
        m = MelleaSession(hand)
        thunks = [await m.ainstruct("Go.", model_options=STREAM) for _ in range(3)]
        for answer in hand.answers:
            await until(answer.asked.is_set)
        await soon(asyncio.gather(m.aclose(), m.aclose()))
        # Without a look for it: the requests have ended.
        assert all(answer.closed.is_set() for answer in hand.answers)
        assert all(thunk.cancelled for thunk in thunks)
        with pytest.raises(SessionClosedError):
            await m.ainstruct("Go.")
        await m.aclose()
        m.close()

    asyncio.run(main())


def test_aclose_waits_for_work_that_takes_its_time_to_end() -> None:
    cleaned = threading.Event()

    async def pipeline(_: Any) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.05)
            cleaned.set()

    async def main() -> None:
        m = session()
        thunk: ModelOutputThunk[str] = ModelOutputThunk(pipeline)
        m._running.add(thunk)
        await asyncio.sleep(0.01)
        await m.aclose()
        assert cleaned.is_set()

    asyncio.run(main())


def test_leaving_async_with_waits_too_and_the_connections_are_closed() -> None:
    async def main(server: ServerProcess) -> None:
        server.script("m", chunks=["a"] * 100, delay=0.05)
        async with MelleaSession(OllamaBackend("m", base_url=server.url)) as m:
            thunk = await m.ainstruct("Go.", stream=True)
            await thunk.astream()
            assert server.connections() == 1
        assert thunk.cancelled
        server.wait_for(lambda: server.connections() == 0)

    with ServerProcess() as server:
        asyncio.run(main(server))


def test_a_cancelled_aclose_has_closed_the_session() -> None:
    closed: list[bool] = []

    class Slow(ScriptedBackend):
        async def aclose(self) -> None:
            await asyncio.sleep(30)

        def close(self) -> None:
            closed.append(True)

    async def main() -> None:
        m = MelleaSession(Slow("a", delay=30))
        thunk = await m.ainstruct("Go.")
        closing = asyncio.ensure_future(m.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(closing)
        assert thunk.cancelled
        with pytest.raises(SessionClosedError):
            await m.ainstruct("Go.")

    asyncio.run(main())
    assert closed == [True]


def test_aclose_of_a_clone_leaves_the_backend_open() -> None:
    async def main() -> None:
        async with session() as m:
            await m.clone().aclose()
            assert await (await m.ainstruct("Go.")) == "a"

    asyncio.run(main())


def test_aclose_in_virtual_time() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(["a"], delay=100))
        thunk = await m.ainstruct("Go.")
        await m.aclose()
        assert thunk.cancelled

    run_virtual(main())


def test_closing_leaves_what_is_computed() -> None:
    with session() as m:
        thunk = m.instruct("Go.")
    assert (thunk.value, str(thunk)) == ("a", "a")
    assert "closed" in repr(m)


def test_closing_ends_the_servers_connections(server: ServerProcess) -> None:
    server.script("m", chunks=["a"])
    with MelleaSession(OllamaBackend("m", base_url=server.url)) as m:
        m.instruct("Go.")
        assert server.connections() == 1
    server.wait_for(lambda: server.connections() == 0)


def test_closing_a_clone_leaves_the_backend_open(server: ServerProcess) -> None:
    server.script("m", chunks=["a"], framing="length")
    with MelleaSession(OllamaBackend("m", base_url=server.url)) as m:
        m.instruct("Go.")
        with m.clone() as twin:
            twin.instruct("Go.")
        m.instruct("Go.")
    assert len({entry["connection"] for entry in server.log("m")}) == 1


def test_an_error_in_the_block_closes_it_and_goes_on() -> None:
    m = session()
    with pytest.raises(ZeroDivisionError), m:
        raise ZeroDivisionError
    with pytest.raises(SessionClosedError):
        m.instruct("Go.")
    with pytest.raises(NoSessionError):
        get_session()


def test_closing_from_another_thread_wakes_whoever_waits() -> None:
    hand = Hand()
    m = MelleaSession(hand)
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            m.instruct("Go.")
        except GenerationCancelledError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert hand.answers[0].asked.wait(30)
    m.close()
    thread.join(30)
    assert len(caught) == 1


def test_what_is_no_backend_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="start_session"):
        MelleaSession("ollama")  # type: ignore[arg-type]


def test_closing_while_achat_waits_tells_it() -> None:
    async def main() -> None:
        m = MelleaSession(Hand())
        waiting = asyncio.create_task(m.achat("Hi."))
        await asyncio.sleep(0)
        m.close()
        with pytest.raises(GenerationCancelledError):
            await soon(waiting)

    asyncio.run(main())


class Wrapped:
    """A backend that asks another one for its parts."""

    def __init__(self, backend: ScriptedBackend) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


async def _sampled_with(backend: Any) -> str:
    class Elsewhere:
        always = True

        async def sample(self, sampler: Sampler) -> SamplingResult:
            return SamplingResult(True, (await sampler.attempt(backend=backend),), 0)

    m = MelleaSession(ScriptedBackend("of the session's"))
    return await (await m.ainstruct("Go.", strategy=Elsewhere())).avalue()


def _session(backend: Any, _: Path) -> str:
    return str(MelleaSession(backend).instruct("Go."))


def _recorder(backend: Any, folder: Path) -> str:
    return str(MelleaSession(Recorder(backend, folder / "run.jsonl")).instruct("Go."))


def _weak_then_strong(backend: Any, _: Path) -> str:
    strategy = WeakThenStrong(backend, weak_budget=1)
    fine = req("is a", simple_validate(lambda text: text == "a"))
    m = MelleaSession(ScriptedBackend("weak"))
    return str(m.instruct("Go.", requirements=[fine], strategy=strategy))


def _attempt(backend: Any, _: Path) -> str:
    return asyncio.run(_sampled_with(backend))


TAKERS = [_session, _recorder, _weak_then_strong, _attempt]


@pytest.mark.parametrize("taker", TAKERS)
def test_a_backend_may_ask_another_for_its_parts(taker: Any, tmp_path: Path) -> None:
    """From Python 3.12 on, `isinstance` of a protocol does not find what `__getattr__` gives."""
    assert taker(Wrapped(ScriptedBackend("a")), tmp_path) == "a"


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (ScriptedBackend, r"the class ScriptedBackend: make one, with ScriptedBackend\(\.\.\.\)"),
        ("ollama", "not str: make one"),
        (MelleaSession(ScriptedBackend()), "not MelleaSession: give its `backend`"),
    ],
    ids=["a class", "a name", "a session"],
)
def test_what_is_no_backend_is_refused_with_what_to_give(
    taker: Any, given: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        taker(given, tmp_path)


def test_a_call_that_begins_while_the_session_closes_is_refused_and_ended() -> None:
    closed: list[str] = []

    class Closing(Hand):
        """Its session is closed, as by another thread, in the middle of a verb."""

        def check(self, options: Any) -> None:
            if closed == ["ready"]:
                m.close()

        def close(self) -> None:
            closed.append("closed")

    hand = Closing()
    m = MelleaSession(hand)
    closed.append("ready")
    with pytest.raises(SessionClosedError):
        m.instruct("Go.", seed=1)  # an option of its own, so that its backend is asked
    assert closed == ["ready", "closed", "closed"]  # again, since the call may have opened it
    if hand.requests:
        assert hand.answers[0].closed.wait(30)
    m.close()


def test_calls_that_begin_in_many_threads_while_the_session_closes_all_end() -> None:
    backend = ScriptedBackend(["a", Pause(60)])
    m = MelleaSession(backend)
    ends: list[str] = []

    def work() -> None:
        while True:
            try:
                m.instruct("Go.")
            except (SessionClosedError, GenerationCancelledError) as error:
                ends.append(type(error).__name__)
                if isinstance(error, SessionClosedError):
                    return

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    until_blocking(lambda: backend.running)
    m.close()
    for each in threads:
        each.join(30)
    assert ends.count("SessionClosedError") == 8
    until_blocking(lambda: backend.running == 0)
