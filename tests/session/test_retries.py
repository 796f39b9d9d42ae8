"""Tries at an answer: again before its first chunk, and what follows one that broke off."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from reactivex import operators as ops

from mellea_rx import (
    Chunk,
    ConnectionFailedError,
    FirstTokenTimeoutError,
    GenerationFailedError,
    IdleTimeoutError,
    MelleaRxError,
    MelleaSession,
    ModelNotFoundError,
    ModelOption,
    OllamaBackend,
    OpenAIBackend,
    OptionError,
    RetryPolicy,
    ScriptedBackend,
    ServerError,
    StreamInterruptedError,
    StreamRestartedError,
    TLSError,
    TotalTimeoutError,
)
from mellea_rx.backends import Capabilities, Pause
from mellea_rx.events import Retrying
from mellea_rx.stdlib.requirements import check, req, simple_validate
from mellea_rx.stdlib.sampling import RejectionSampling
from tests.core.hand import STREAM, Hand, Recorder, engine_has_told, soon, until
from tests.support.server_process import ServerProcess

QUICK = RetryPolicy(initial=0.001, maximum=0.001)
REFUSED = ConnectionFailedError("refused")


def broken() -> StreamInterruptedError:
    """An answer broke off. (An error keeps the text of the call that it came in.)"""
    return StreamInterruptedError("broke off")


def options(**more: Any) -> dict[Any, Any]:
    """The options of a call that tries again without a pause to speak of."""
    return {ModelOption.RETRIES: QUICK, **{ModelOption[k]: v for k, v in more.items()}}


def asked(*answers: Any, **more: Any) -> tuple[Any, ScriptedBackend]:
    """The outcome of a call: its value or its error."""
    backend = ScriptedBackend(*answers)
    try:
        return MelleaSession(backend).instruct("Go.", model_options=options(**more)).value, backend
    except MelleaRxError as error:
        return error, backend


# Before the first chunk.


def test_a_call_is_tried_three_times_by_default() -> None:
    value, backend = asked(REFUSED, REFUSED, "here")
    assert (value, len(backend.requests)) == ("here", 3)
    error, backend = asked(REFUSED)
    assert (type(error), str(error)) == (type(REFUSED), str(REFUSED))  # a copy is raised
    assert len(backend.requests) == 3


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504])
def test_statuses_that_may_pass_are_tried_again(status: int) -> None:
    value, backend = asked(ServerError("busy", status=status), "here")
    assert (value, len(backend.requests)) == ("here", 2)


@pytest.mark.parametrize(
    "error",
    [
        ModelNotFoundError("no", status=404),
        ServerError("no", status=501),
        TLSError("untrusted"),
        GenerationFailedError("crashed"),
        IdleTimeoutError("silent"),
    ],
)
def test_what_would_only_fail_again_is_not(error: Exception) -> None:
    told, backend = asked(error, "never")
    assert (type(told), str(told)) == (type(error), str(error))  # a copy is raised
    assert len(backend.requests) == 1


def test_a_break_before_the_first_chunk_is_tried_again_a_chunk_without_content_is_none() -> None:
    value, _ = asked([Chunk(model="m"), broken()], "here")
    assert value == "here"


def test_none_once_text_has_flowed() -> None:
    error, backend = asked(["Once ", broken()], "never")
    assert isinstance(error, StreamInterruptedError)
    assert error.text == "Once "
    assert len(backend.requests) == 1


@pytest.mark.parametrize(("retries", "tries"), [(0, 1), (1, 2), (4, 5)])
def test_how_often_can_be_said_for_a_session_and_a_call(retries: int, tries: int) -> None:
    # A policy of the session's that pauses for hours: the call's own wins.
    backend = ScriptedBackend(ServerError("busy", status=503, retry_after=0))
    long = {ModelOption.RETRIES: RetryPolicy(initial=9999, maximum=9999, budget=99999)}
    policy = RetryPolicy(tries=retries + 1, initial=0.001)
    m = MelleaSession(backend, model_options=long)
    with pytest.raises(ServerError):
        m.instruct("Go.", model_options={ModelOption.RETRIES: policy})
    assert len(backend.requests) == tries


def test_zero_is_off() -> None:
    backend = ScriptedBackend(REFUSED)
    with pytest.raises(ConnectionFailedError):
        MelleaSession(backend).instruct("Go.", model_options={ModelOption.RETRIES: 0})
    assert len(backend.requests) == 1


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "2", None])
def test_what_is_no_number_of_tries_is_refused_by_name(wrong: Any) -> None:
    with pytest.raises(OptionError, match=r"ModelOption\.RETRIES"):
        MelleaSession(ScriptedBackend()).instruct("Go.", model_options={ModelOption.RETRIES: wrong})


def test_each_try_is_an_event() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(REFUSED, REFUSED, "here"))
        thunk = await m.ainstruct("Go.", model_options=options())
        await soon(thunk.avalue())
        events = await soon(thunk.events.pipe(ops.to_list()))
        retries = [event for event in events if isinstance(event, Retrying)]
        told = [(event.attempt, event.why, event.restarts) for event in retries]
        assert told == [(0, "refused", False)] * 2
        assert all(0 < event.after <= 0.001 for event in retries)
        assert 0 < retries[0].at < retries[1].at < thunk.duration

    asyncio.run(main())


def test_the_attempts_of_a_strategy_are_tried_again_as_well_and_so_is_the_judge() -> None:
    backend = ScriptedBackend(REFUSED, "text", REFUSED, "yes")
    thunk = MelleaSession(backend).instruct(
        "Go.", requirements=["is fine"], model_options={ModelOption.RETRIES: QUICK}
    )
    assert thunk.sampling.success
    assert len(backend.requests) == 4


def test_cancelling_in_a_pause_ends_it() -> None:
    async def main() -> None:
        backend = ScriptedBackend(REFUSED)
        pausing = RetryPolicy(initial=40, maximum=40)
        m = MelleaSession(backend)
        thunk = await m.ainstruct("Go.", model_options={ModelOption.RETRIES: pausing})
        seen: list[Any] = []
        thunk.events.subscribe(seen.append)
        await until(lambda: any(isinstance(event, Retrying) for event in seen))
        thunk.cancel()
        await until(lambda: thunk.cancelled)
        assert len(backend.requests) == 1

    asyncio.run(main())


@pytest.mark.parametrize("make", [OllamaBackend, OpenAIBackend])
def test_retry_after_of_a_real_server_is_honoured(make: Any, server: ServerProcess) -> None:
    busy = {"status": 503, "body": '{"error": "busy"}', "headers": {"Retry-After": "0.3"}}
    server.script("m", [busy, {"chunks": ["here"]}])
    began = time.monotonic()
    with MelleaSession(make("m", base_url=server.url)) as m:
        assert m.instruct("Go.", model_options=options()).value == "here"
    first, second = server.log("m")
    assert second["started"] - first["started"] >= 0.3
    assert time.monotonic() - began < 50


@pytest.mark.parametrize("make", [OllamaBackend, OpenAIBackend])
def test_a_connection_that_hangs_up_is_tried_again(make: Any, server: ServerProcess) -> None:
    server.script("m", [{"hang_up": True}, {"chunks": ["here"]}])
    with MelleaSession(make("m", base_url=server.url)) as m:
        assert m.instruct("Go.", model_options=options()).value == "here"


def test_ollamas_500_for_a_wrong_option_is_not_tried_again(server: ServerProcess) -> None:
    wrong = '{"error": "option \\"top_k\\" must be of type integer"}'
    server.script("m", status=500, body=wrong)
    with MelleaSession(OllamaBackend("m", base_url=server.url)) as m, pytest.raises(ServerError):
        m.instruct("Go.", model_options={"top_k": "many"})
    assert len(server.log("m")) == 1


# Once text has flowed.


def test_continue_asks_on_from_the_text_so_far() -> None:
    value, backend = asked(["Once upon ", broken()], ["a time."], ON_INTERRUPT="continue")
    assert value == "Once upon a time."
    last = backend.requests[1].messages[-1]
    assert (last.role, last.content) == ("assistant", "Once upon")


def test_continue_goes_on_as_often_as_there_are_tries() -> None:
    value, _ = asked(["a", broken()], ["b", broken()], ["c"], ON_INTERRUPT="continue")
    assert value == "abc"
    error, backend = asked(["a", broken()], ON_INTERRUPT="continue")
    assert isinstance(error, StreamInterruptedError)
    assert (error.text, len(backend.requests)) == ("aaa", 3)


@pytest.mark.parametrize("error", [IdleTimeoutError("silent"), GenerationFailedError("crashed")])
def test_what_breaks_an_answer_off_may_be_silence_or_the_servers_word(error: Exception) -> None:
    assert asked(["a", error], ["b"], ON_INTERRUPT="continue")[0] == "ab"


def test_readers_of_an_answer_that_went_on_see_one_text() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(["Once ", broken()], ["upon"], delay=0.002))
        how = options(STREAM=True, ON_INTERRUPT="continue")
        thunk = await m.ainstruct("Go.", model_options=how)
        assert "".join([piece async for piece in thunk.astream()]) == "Once upon"

    asyncio.run(main())


def test_what_cannot_go_on_fails() -> None:
    backend = ScriptedBackend(["Once ", broken()], "never")
    backend.capabilities = Capabilities()  # type: ignore[misc]
    how = options(ON_INTERRUPT="continue")
    with pytest.raises(StreamInterruptedError):
        MelleaSession(backend).instruct("Go.", model_options=how)


def test_json_of_a_schema_does_not_go_on() -> None:
    backend = ScriptedBackend(["[1, ", broken()], "[1]")
    how = options(ON_INTERRUPT="continue")
    with pytest.raises(StreamInterruptedError):
        MelleaSession(backend).instruct("Go.", format=list[int], model_options=how)


def test_restart_gives_the_new_answer_to_who_had_taken_nothing() -> None:
    value, backend = asked(["Once ", broken()], ["Twice"], ON_INTERRUPT="restart")
    assert value == "Twice"
    assert backend.requests[1].messages == backend.requests[0].messages


def test_restart_fails_readers_that_have_taken_text_and_no_others() -> None:
    async def main() -> None:
        hand = Hand(2)
        how = options(STREAM=True, ON_INTERRUPT="restart")
        thunk = await MelleaSession(hand).ainstruct("Go.", model_options=how)
        took, late = Recorder(), Recorder()
        took.to(thunk)
        await asyncio.to_thread(hand.answers[0].asked.wait, 5)
        hand.answers[0].say("Once ")
        reader = thunk.astream()
        assert await soon(anext(reader)) == "Once "
        await until(lambda: took.text == "Once ")
        hand.answers[0].fail(broken())
        with pytest.raises(StreamRestartedError) as caught:
            await soon(anext(reader))
        assert str(caught.value) == (
            "the answer broke off, and was begun again after text of it had been taken: broke off"
        )
        assert caught.value.text == "Once "
        await until(lambda: isinstance(took.error, StreamRestartedError))
        late.to(thunk)
        await asyncio.to_thread(hand.answers[1].asked.wait, 5)
        hand.answers[1].say("Twice").end()
        assert await soon(thunk.avalue()) == "Twice"
        await until(lambda: late.terminals)
        assert (late.text, late.terminals) == ("Twice", ["completed"])
        assert (took.text, took.terminals) == ("Once ", ["error"])

    asyncio.run(main())


def test_a_restart_fails_a_plain_iterator_that_has_taken_text() -> None:
    hand = Hand(2)
    how = options(STREAM=True, ON_INTERRUPT="restart")
    thunk = asyncio.run(MelleaSession(hand).ainstruct("Go.", model_options=how))
    pieces = thunk.stream()
    hand.answers[0].say("Once ")
    assert next(pieces) == "Once "
    hand.answers[0].fail(broken())
    assert hand.answers[1].asked.wait(30)
    with pytest.raises(StreamRestartedError):
        next(pieces)
    hand.answers[1].say("Twice").end()
    assert str(thunk) == "Twice"


def test_a_restart_takes_back_what_was_on_its_way() -> None:
    async def main() -> None:
        hand = Hand(2)
        how = options(STREAM=True, ON_INTERRUPT="restart")
        thunk = await MelleaSession(hand).ainstruct("Go.", model_options=how)
        recorder, reader = Recorder(), thunk.astream()
        recorder.to(thunk)
        hand.answers[0].say("Once ").fail(broken())
        assert hand.answers[1].asked.wait(30)  # and all the while, this loop stands still
        hand.answers[1].say("Twice").end()
        assert "".join([piece async for piece in reader]) == "Twice"
        await until(lambda: recorder.terminals)
        assert (recorder.text, recorder.terminals) == ("Twice", ["completed"])

    asyncio.run(main())


@pytest.mark.parametrize("second", ["Twice", ""])
def test_a_reader_that_was_woken_for_text_that_is_taken_back_waits_on(second: str) -> None:
    async def main() -> None:
        hand = Hand(2)
        how = options(STREAM=True, ON_INTERRUPT="restart")
        thunk = await MelleaSession(hand).ainstruct("Go.", model_options=how)
        reading = asyncio.create_task(anext(thunk.astream(), "the end"))
        await asyncio.sleep(0)
        hand.answers[0].say("Once ").fail(broken())
        assert hand.answers[1].asked.wait(30)  # and all the while, this loop stands still
        await asyncio.to_thread(engine_has_told)
        assert not reading.done()
        hand.answers[1].say(second).end()
        assert await soon(reading) == (second or "the end")

    asyncio.run(main())


def test_a_restart_leaves_those_that_wait_for_the_end_and_hold_it() -> None:
    async def main() -> None:
        hand = Hand(2)
        how = options(STREAM=True, ON_INTERRUPT="restart")
        thunk = await MelleaSession(hand).ainstruct("Go.", model_options=how)
        hold, waiting = thunk.hold(), asyncio.create_task(thunk.avalue())
        hand.answers[0].say("Once ").fail(broken())
        await asyncio.to_thread(hand.answers[1].asked.wait, 5)
        assert (thunk.text, thunk.ttft) == ("", None)
        async with thunk.astream():
            pass
        assert not thunk.cancelled, "it is held"
        assert not waiting.done()
        hand.answers[1].say("Twice").end()
        assert await soon(waiting) == "Twice"
        hold.dispose()

    asyncio.run(main())


def test_a_restart_is_an_event_that_says_so() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(["Once ", broken()], ["Twice"]))
        thunk = await m.ainstruct("Go.", model_options=options(ON_INTERRUPT="restart"))
        seen: list[Any] = []
        thunk.events.subscribe(seen.append)
        assert await soon(thunk.avalue()) == "Twice"
        await until(lambda: any(isinstance(event, Retrying) and event.restarts for event in seen))

    asyncio.run(main())


def test_a_beginning_is_said_again_with_the_new_answer() -> None:
    backend = ScriptedBackend([" upon", broken()], [" more"])
    how = options(ON_INTERRUPT="restart")
    thunk = MelleaSession(backend).instruct("Go.", prefix="Once", model_options=how)
    assert thunk.value == "Once more"


def test_an_attempt_of_a_strategy_restarts_unseen() -> None:
    good = req("has b", simple_validate(lambda text: text == "b"))
    backend = ScriptedBackend(["a", broken()], ["b"])
    thunk = MelleaSession(backend).instruct(
        "Go.", requirements=[good], model_options=options(ON_INTERRUPT="restart")
    )
    assert (thunk.value, len(thunk.sampling.attempts)) == ("b", 1)


def test_an_attempt_whose_units_were_judged_does_not_restart() -> None:
    fine = check("fine", stream_validate=lambda unit: True)
    backend = ScriptedBackend(["a. B", broken()], ["b"])
    with pytest.raises(StreamInterruptedError):
        MelleaSession(backend).instruct(
            "Go.", requirements=[fine], model_options=options(ON_INTERRUPT="restart")
        )


# Limits in time.


@pytest.mark.parametrize(
    ("answer", "how", "error", "text"),
    [
        ([Pause(60), "a"], {"FIRST_TOKEN_TIMEOUT": 0.02}, FirstTokenTimeoutError, ""),
        (["a", Pause(60)], {"STREAM_TIMEOUT": 0.5}, IdleTimeoutError, "a"),
        (
            ["a", Pause(60)],
            {"STREAM_TIMEOUT": 0.02, "FIRST_TOKEN_TIMEOUT": None},
            IdleTimeoutError,
            "a",
        ),
        (["a", Pause(60)], {"TOTAL_TIMEOUT": 0.5}, TotalTimeoutError, "a"),
    ],
)
def test_each_limit_has_an_error_of_its_own_with_what_had_come(
    answer: Any, how: dict[str, Any], error: type[MelleaRxError], text: str
) -> None:
    told, backend = asked(answer, **how)
    assert type(told) is error
    assert told.text == text
    assert next(iter(reversed(how))) in str(told) or "STREAM_TIMEOUT" in str(told)
    assert backend.running == 0


def test_a_first_token_may_take_longer_than_the_silence_after_it() -> None:
    value, _ = asked([Pause(0.7), "a", "b"], STREAM_TIMEOUT=0.5, FIRST_TOKEN_TIMEOUT=None)
    assert value == "ab"


def test_the_total_holds_for_all_attempts_together() -> None:
    bad = req("never", simple_validate(lambda text: False))
    backend = ScriptedBackend([Pause(0.04), "a"])
    with pytest.raises(TotalTimeoutError):
        MelleaSession(backend).instruct(
            "Go.",
            requirements=[bad],
            strategy=RejectionSampling(1000),
            model_options=options(TOTAL_TIMEOUT=0.1),
        )
    assert 1 <= len(backend.requests) < 10


@pytest.mark.parametrize("name", ["FIRST_TOKEN_TIMEOUT", "TOTAL_TIMEOUT", "STREAM_TIMEOUT"])
def test_a_limit_that_is_none_is_refused_by_name(name: str) -> None:
    with pytest.raises(OptionError, match=name):
        MelleaSession(ScriptedBackend()).instruct("Go.", model_options={ModelOption[name]: 0})


def test_stream_alone_changes_nothing_of_that() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(REFUSED, ["a", "b"]))
        thunk = await m.ainstruct("Go.", model_options={**options(), **STREAM})
        assert "".join([piece async for piece in thunk.astream()]) == "ab"

    asyncio.run(main())
