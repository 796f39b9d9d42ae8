"""The result of each verb, and the time when it returns."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mellea_rx import GenerationFailedError, MelleaSession, ModelOutputThunk, ScriptedBackend
from mellea_rx.stdlib.components import Instruction
from mellea_rx.stdlib.requirements import req, simple_validate
from mellea_rx.stdlib.sampling import RejectionSampling
from tests.core.hand import STREAM, Hand, soon, until

AT_ONCE: dict[str, Any] = {
    "ainstruct": lambda m, **how: m.ainstruct("Go.", **how),
    "aact": lambda m, **how: m.aact(Instruction("Go."), **how),
    "aquery": lambda m, **how: m.aquery("some text", "What is it?", **how),
    "achat": lambda m, **how: m.achat("Hi.", **how),
}


@pytest.mark.parametrize("verb", ["ainstruct", "aact", "aquery"])
def test_these_return_the_running_thunk_at_once(verb: str) -> None:
    async def main() -> None:
        hand = Hand()
        thunk = await asyncio.wait_for(AT_ONCE[verb](MelleaSession(hand)), 30)
        assert isinstance(thunk, ModelOutputThunk)
        assert not thunk.is_computed()
        hand.answers[0].say("all").end()
        assert await soon(thunk.avalue()) == "all"

    asyncio.run(main())


@pytest.mark.parametrize("budget", [1, 3])
@pytest.mark.parametrize("verb", ["ainstruct", "aact"])
def test_they_do_so_with_requirements_and_any_strategy(verb: str, budget: int) -> None:
    async def main() -> None:
        hand = Hand()
        thunk = await asyncio.wait_for(
            AT_ONCE[verb](
                MelleaSession(hand),
                requirements=[req("fine", simple_validate(lambda text: True))],
                strategy=RejectionSampling(loop_budget=budget),
            ),
            1,
        )
        assert not thunk.is_computed()
        hand.answers[0].say("all").end()
        assert await soon(thunk.avalue()) == "all"

    asyncio.run(main())


@pytest.mark.parametrize("verb", AT_ONCE)
def test_with_stream_all_of_them_return_at_once(verb: str) -> None:
    async def main() -> None:
        hand = Hand()
        call = AT_ONCE[verb](MelleaSession(hand), model_options=STREAM)
        thunk = await asyncio.wait_for(call, 30)
        assert not thunk.is_computed()
        hand.answers[0].say("all").end()
        assert await soon(thunk.avalue()) == "all"

    asyncio.run(main())


def test_stream_in_the_sessions_options_counts_for_achat() -> None:
    async def main() -> None:
        hand = Hand()
        m = MelleaSession(hand, model_options=STREAM)
        thunk = await asyncio.wait_for(m.achat("Hi."), 30)
        assert not thunk.is_computed()
        hand.answers[0].say("all").end()
        assert await soon(thunk.avalue()) == "all"

    asyncio.run(main())


@pytest.mark.parametrize(
    "call",
    [lambda m: m.achat("Hi."), lambda m: m.atransform("text", "shorten it")],
    ids=["achat", "atransform"],
)
def test_these_return_the_computed_thunk(call: Any) -> None:
    async def main() -> None:
        hand = Hand()
        calling = asyncio.create_task(call(MelleaSession(hand)))
        await until(hand.answers[0].asked.is_set)
        assert not calling.done()
        hand.answers[0].say("all").end()
        thunk = await soon(calling)
        assert isinstance(thunk, ModelOutputThunk)
        assert thunk.is_computed()
        assert thunk.value == "all"

    asyncio.run(main())


def test_avalidate_returns_the_results() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("yes"))
        results = await m.avalidate(["is short", req("x", lambda text: False)], output="text")  # type: ignore[arg-type,return-value]
        assert [bool(each) for each in results] == [True, False]

    asyncio.run(main())


def test_cancelling_achat_ends_its_generation() -> None:
    async def main() -> None:
        hand = Hand()
        calling = asyncio.create_task(MelleaSession(hand).achat("Hi."))
        await until(hand.answers[0].asked.is_set)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        del calling
        await until(hand.answers[0].closed.is_set)

    asyncio.run(main())


SYNC: dict[str, Any] = {
    "instruct": lambda m: m.instruct("Go."),
    "chat": lambda m: m.chat("Hi."),
    "act": lambda m: m.act(Instruction("Go.")),
    "query": lambda m: m.query("text", "What?"),
    "transform": lambda m: m.transform("text", "shorten it"),
}


@pytest.mark.parametrize("verb", SYNC)
def test_sync_verbs_return_computed_thunks_without_a_loop(verb: str) -> None:
    thunk = SYNC[verb](MelleaSession(ScriptedBackend("a b", delay=0.002)))
    assert isinstance(thunk, ModelOutputThunk)
    assert thunk.is_computed()
    assert (thunk.value, str(thunk)) == ("a b", "a b")


@pytest.mark.parametrize("verb", SYNC)
def test_sync_verbs_return_computed_thunks_inside_a_running_loop(verb: str) -> None:
    async def main() -> None:
        thunk = SYNC[verb](MelleaSession(ScriptedBackend("a b", delay=0.002)))
        assert thunk.is_computed()
        assert thunk.value == "a b"

    asyncio.run(main())


@pytest.mark.parametrize("verb", SYNC)
def test_sync_verbs_return_computed_thunks_with_stream_too(verb: str) -> None:
    m = MelleaSession(ScriptedBackend("a b", delay=0.002), model_options=STREAM)
    assert SYNC[verb](m).is_computed()


def test_sync_validate_returns_the_results_with_and_without_a_loop() -> None:
    m = MelleaSession(ScriptedBackend("no"))

    async def main() -> list[Any]:
        return m.validate("is short", output="text")

    assert [bool(each) for each in m.validate("is short", output="text")] == [False]
    assert [bool(each) for each in asyncio.run(main())] == [False]


@pytest.mark.parametrize("verb", SYNC)
def test_sync_verbs_raise_what_went_wrong(verb: str) -> None:
    m = MelleaSession(ScriptedBackend(["a ", GenerationFailedError("crashed")]))
    with pytest.raises(GenerationFailedError, match="crashed") as caught:
        SYNC[verb](m)
    assert caught.value.text == "a "


def test_sync_verbs_work_in_many_threads_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    m = MelleaSession(ScriptedBackend("a b", delay=0.002))
    with ThreadPoolExecutor(16) as pool:
        values = pool.map(lambda n: m.instruct(f"Go {n}.").value, range(64))
    assert list(values) == ["a b"] * 64
