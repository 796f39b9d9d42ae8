"""Cold calls: made anew for each subscription, and ended with it."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from typing import Any, get_type_hints

import pytest
import reactivex as rx
from reactivex import operators as ops

from mellea_rx import (
    ChatContext,
    GenerationFailedError,
    InvalidInputError,
    MelleaSession,
    ModelOutputThunk,
    ScriptedBackend,
    ServerError,
    SessionClosedError,
)
from mellea_rx.core.streams.cold_call import ColdCall
from mellea_rx.stdlib.components import Template
from mellea_rx.stdlib.session.cold import ColdVerbs
from tests.core.hand import PATIENCE, STREAM, Hand, Recorder, soon, until

VERBS = ["instruct", "chat", "act", "query", "transform"]


@pytest.mark.parametrize("verb", VERBS)
def test_signature_is_that_of_the_verb(verb: str) -> None:
    cold, own = getattr(ColdVerbs, verb), getattr(MelleaSession, verb)
    assert inspect.signature(cold) == inspect.signature(own)
    assert cold.__name__ == verb
    assert cold.__qualname__ == f"ColdVerbs.{verb}"
    assert cold.__doc__ == own.__doc__
    assert get_type_hints(cold) == get_type_hints(own)


def test_nothing_is_asked_before_somebody_subscribes() -> None:
    backend = ScriptedBackend("One.", "Two.")
    call = MelleaSession(backend).cold.instruct("Count.")
    assert isinstance(call, ColdCall)
    assert backend.requests == ()
    assert [str(call.run()), str(call.run())] == ["One.", "Two."]
    assert len(backend.requests) == 2


@dataclass(frozen=True)
class Count:
    """A component whose answer stands for an int."""

    def template(self) -> Template:
        return Template("How many?")

    def parse(self, text: str) -> int:
        return int(text)


def test_every_verb_has_one() -> None:
    cold = MelleaSession(ScriptedBackend("42")).cold
    calls: list[ColdCall[Any]] = [
        cold.instruct("Go."),
        cold.chat("Hi."),
        cold.act(Count()),
        cold.query([1, 2], "What?"),
        cold.transform({"a": 1}, "Shorten it."),
    ]
    assert [str(call.run()) for call in calls] == ["42"] * 5
    assert calls[2].start().wait().parsed == 42


def test_start_gives_the_running_thunk_also_where_the_verb_waits() -> None:
    async def main() -> None:
        hand = Hand(2)
        m = MelleaSession(hand)
        for call, answer in ((m.cold.chat("Hi."), 0), (m.cold.transform([1], "Shorter."), 1)):
            thunk = call.start()
            assert isinstance(thunk, ModelOutputThunk)
            assert not thunk.is_computed()
            hand.answers[answer].say("Yes.")
            hand.answers[answer].end()
            assert await soon(thunk.avalue()) == "Yes."

    asyncio.run(main())


def test_retry_asks_again() -> None:
    async def main() -> None:
        backend = ScriptedBackend(ServerError("busy", status=503), "", "Done.")
        call = MelleaSession(backend).cold.instruct("Go.")
        assert str(await soon(call.pipe(ops.retry(2)))) == ""
        assert str(await soon(call)) == "Done."
        assert len(backend.requests) == 3

    asyncio.run(main())


def test_repeat_defer_and_concat_map_mean_what_they_say() -> None:
    async def main() -> None:
        backend = ScriptedBackend(lambda r: f"{r.messages[-1].content}{len(backend.requests)}")
        m = MelleaSession(backend)
        texts = ops.map(str)
        assert await soon(m.cold.chat("a").pipe(ops.repeat(2), texts, ops.to_list())) == [
            "a1",
            "a2",
        ]
        deferred = rx.defer(lambda _: m.cold.chat(f"b{len(backend.requests)}-"))
        assert await soon(deferred.pipe(texts)) == "b2-3"
        mapped = rx.of("x", "y").pipe(ops.concat_map(m.cold.chat), texts, ops.to_list())
        assert await soon(mapped) == ["x4", "y5"]

    asyncio.run(main())


def test_merge_of_no_more_than_so_many_at_once() -> None:
    async def main() -> None:
        hand, recorder = Hand(3), Recorder()
        m = MelleaSession(hand, model_options=STREAM)
        calls = rx.of("a", "b", "c").pipe(ops.map(m.cold.instruct), ops.merge(max_concurrent=2))
        recorder.to(calls)
        await until(hand.answers[1].asked.is_set)
        assert not hand.answers[2].asked.is_set()
        hand.answers[0].say("a")
        hand.answers[0].end()
        await until(hand.answers[2].asked.is_set)
        for answer in hand.answers[1:]:
            answer.end()
        await until(lambda: recorder.terminals)
        assert recorder.text == "a"

    asyncio.run(main())


def test_disposing_ends_the_request() -> None:
    async def main() -> None:
        hand = Hand(1)
        call = MelleaSession(hand, ChatContext(), model_options=STREAM).cold.instruct("Go.")
        subscription = call.subscribe(lambda _: None, lambda _: None)
        answer = hand.answers[0]
        assert await asyncio.to_thread(answer.asked.wait, PATIENCE)
        subscription.dispose()
        assert await asyncio.to_thread(answer.closed.wait, PATIENCE)

    asyncio.run(main())


def test_what_a_call_cannot_be_made_with_goes_to_on_error() -> None:
    m = MelleaSession(ScriptedBackend("a"))
    for call in (m.cold.instruct(""), m.cold.chat("a", model_options={"stream": 5})):
        recorder = Recorder()
        recorder.to(call)
        assert isinstance(recorder.error, InvalidInputError)
        with pytest.raises(InvalidInputError):
            call.start()
    closed = m.cold.instruct("Go.")
    m.close()
    recorder = Recorder()
    recorder.to(closed)
    assert isinstance(recorder.error, SessionClosedError)


def test_wrong_arguments_are_told_of_at_once() -> None:
    cold: Any = MelleaSession(ScriptedBackend("a")).cold
    with pytest.raises(TypeError, match="description"):
        cold.instruct()
    with pytest.raises(TypeError, match="wrong"):
        cold.instruct("Go.", wrong=1)


def test_a_failure_comes_through_with_its_text() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(["half", GenerationFailedError("crashed")]))
        recorder = Recorder()
        recorder.to(m.cold.instruct("Go.", model_options=STREAM))
        await until(lambda: recorder.terminals)
        assert recorder.text == "half"
        assert isinstance(recorder.error, GenerationFailedError)

    asyncio.run(main())


def test_each_subscription_to_a_chat_is_a_turn() -> None:
    m = MelleaSession(ScriptedBackend("One.", "Two."), ChatContext())
    call = m.cold.chat("Count.")
    call.run()
    call.run()
    assert len(m.ctx.history()) == 2
