"""`thunk.events`: everything that happens in a call, live, and for whoever comes late."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as ops
from reactivex.scheduler import EventLoopScheduler

from mellea_rx import (
    Chunk,
    GenerationFailedError,
    MelleaSession,
    ScriptedBackend,
    ToolCall,
    Usage,
)
from mellea_rx.events import (
    AttemptStarted,
    Completed,
    Event,
    Failed,
    Rejected,
    Retrying,
    TextAdded,
    ThinkingAdded,
    ToolCalled,
    UsageReported,
    Validated,
    dump_events,
    load_events,
)
from mellea_rx.stdlib.requirements import req, simple_validate
from tests.core.hand import PATIENCE, STREAM, engine_has_told, soon, started, until


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


async def all_events(thunk: Any) -> list[Event]:
    events: list[Event] = await soon(thunk.events.pipe(ops.to_list()))
    return events


def run(*answers: Any, **how: Any) -> list[Event]:
    async def main() -> list[Event]:
        m = MelleaSession(ScriptedBackend(*answers))
        thunk = await m.ainstruct("Go.", **how)
        return await all_events(thunk)

    return asyncio.run(main())


def test_a_plain_call_tells_its_text_its_usage_and_its_end() -> None:
    events = run([Chunk(thinking="hm"), "Hello ", "there"])
    assert kinds(events)[0] == "AttemptStarted"
    assert kinds(events)[-2:] == ["UsageReported", "Completed"]
    first, last = events[0], events[-1]
    assert isinstance(first, AttemptStarted)
    assert (first.attempt, first.backend, first.prompt) == (0, "scripted", "Go.")
    assert "".join(e.text for e in events if isinstance(e, TextAdded)) == "Hello there"
    assert [e.text for e in events if isinstance(e, ThinkingAdded)] == ["hm"]
    assert isinstance(last, Completed)
    assert last.finish_reason == "stop"
    assert [e.at for e in events] == sorted(e.at for e in events)


def test_it_is_live_also_without_stream() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(["a", "b", "c"] * 100, delay=0.01))
        async with await m.ainstruct("Go.") as thunk:
            seen: list[Event] = []
            thunk.events.subscribe(seen.append)
            await until(lambda: "TextAdded" in kinds(seen))
            assert not thunk.is_computed()

    asyncio.run(main())


def test_text_that_came_before_the_first_look_is_one_event() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("a", "b")
        await until(lambda: thunk.text == "ab")
        seen: list[Event] = []
        thunk.events.subscribe(seen.append)
        await until(lambda: len(seen) == 2)
        answer.say("c")
        await until(lambda: len(seen) == 3)
        assert [e.text for e in seen if isinstance(e, TextAdded)] == ["ab", "c"]
        answer.end()
        await until(lambda: kinds(seen)[-1] == "Completed")

    asyncio.run(main())


def test_what_a_late_look_finds_is_of_the_first_attempt_and_has_its_times() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("a").end()
        await soon(thunk.avalue())
        for events in (await all_events(thunk), await all_events(thunk)):
            assert kinds(events) == ["AttemptStarted", "TextAdded", "Completed"]
            assert [e.attempt for e in events if not isinstance(e, Completed)] == [0, 0]
            assert events[1].at == thunk.ttft
            assert events[2].at == thunk.duration

    asyncio.run(main())


def test_what_comes_live_is_of_the_first_attempt_and_has_its_times() -> None:
    async def main() -> None:
        thunk, answer = started()
        seen: list[Event] = []
        thunk.events.subscribe(seen.append)
        await until(lambda: seen)
        answer.say("a")
        await until(lambda: len(seen) == 2)
        answer.say(Chunk(thinking="hm")).fail(GenerationFailedError("crashed"))
        await until(lambda: len(seen) == 4)
        assert kinds(seen) == ["AttemptStarted", "TextAdded", "ThinkingAdded", "Failed"]
        assert [e.attempt for e in seen if not isinstance(e, Failed)] == [0, 0, 0]
        assert 0 < seen[1].at <= seen[2].at <= seen[3].at == thunk.duration

    asyncio.run(main())


def test_a_call_that_failed_before_it_began_has_its_failure_at_its_time() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.fail(GenerationFailedError("crashed"))
        with pytest.raises(GenerationFailedError):
            await soon(thunk.avalue())
        events = await all_events(thunk)
        assert kinds(events) == ["AttemptStarted", "Failed"]
        assert events[-1].at == thunk.duration

    asyncio.run(main())


def test_usage_that_is_told_before_any_token_has_the_time_of_the_call() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say(Chunk(usage=Usage(3, 0)))
        await until(lambda: thunk.usage)
        seen: list[Event] = []
        thunk.events.subscribe(seen.append)
        await until(lambda: len(seen) == 2)
        assert seen[1] == UsageReported(0.0, 0, Usage(3, 0))

    asyncio.run(main())


def test_a_call_that_ends_before_it_asked_has_its_failure_as_its_only_event() -> None:
    async def main() -> None:
        needed, _ = started()
        thunk = await MelleaSession(ScriptedBackend()).ainstruct(
            "{{it}}", user_variables={"it": needed}
        )
        seen: list[Event] = []
        thunk.events.subscribe(seen.append)
        thunk.cancel("enough")
        assert await all_events(thunk) == [
            Failed(thunk.duration, "GenerationCancelledError", "enough")
        ]
        await until(lambda: seen)
        assert kinds(seen) == ["Failed"]

    asyncio.run(main())


def test_a_call_that_waits_for_another_tells_of_its_attempt_when_it_begins() -> None:
    async def main() -> None:
        needed, answer = started()
        thunk = await MelleaSession(ScriptedBackend("b")).ainstruct(
            "{{it}}", user_variables={"it": needed}
        )
        seen: list[Event] = []
        thunk.events.subscribe(seen.append)
        await until(lambda: needed._generation.is_watched)
        assert seen == []
        answer.say("a").end()
        await until(lambda: kinds(seen)[-1:] == ["Completed"])
        assert kinds(seen) == ["AttemptStarted", "TextAdded", "UsageReported", "Completed"]
        assert 0 < seen[0].at <= seen[1].at

    asyncio.run(main())


def test_events_come_where_the_subscribers_scheduler_has_them() -> None:
    thunk, answer = started()
    scheduler = EventLoopScheduler()
    on: set[str] = set()
    done = threading.Event()
    thunk.events.subscribe(
        lambda _: on.add(threading.current_thread().name),
        on_completed=done.set,
        scheduler=scheduler,
    )
    answer.say("a").end()
    assert done.wait(PATIENCE)
    scheduler.dispose()
    assert "mellea-rx-delivery" not in on
    assert len(on) == 1


def test_a_failure_is_the_last_event_and_the_stream_of_events_completes() -> None:
    events = run(["half", GenerationFailedError("crashed")])
    last = events[-1]
    assert isinstance(last, Failed)
    assert (last.error, last.message) == ("GenerationFailedError", "crashed")


def test_a_cancelled_call_says_so() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("a")
        await until(lambda: thunk.text)
        thunk.cancel("enough")
        events = await all_events(thunk)
        assert isinstance(events[-1], Failed)
        assert events[-1].message == "enough"

    asyncio.run(main())


def test_rejected_attempts_are_told_of_though_no_reader_sees_them() -> None:
    good = req("has good", simple_validate(lambda text: ("good" in text, "it is bad")))
    events = run(["bad"], ["good"], requirements=[good])
    assert [e for e in kinds(events) if e not in ("UsageReported",)] == [
        *("AttemptStarted", "TextAdded", "Validated", "Rejected"),
        *("Retrying", "AttemptStarted", "TextAdded", "Validated", "Completed"),
    ]
    assert [e.text for e in events if isinstance(e, TextAdded)] == ["bad", "good"]
    assert [(e.attempt, e.result) for e in events if isinstance(e, Validated)] == [
        (0, False),
        (1, True),
    ]
    rejected = next(e for e in events if isinstance(e, Rejected))
    retrying = next(e for e in events if isinstance(e, Retrying))
    assert rejected.reasons == ("has good: it is bad",)
    assert (retrying.attempt, retrying.why) == (1, "has good: it is bad")


def test_each_unit_that_is_judged_is_told_of() -> None:
    calm = req("calm", stream_validate=lambda unit: "!" not in unit)
    events = run("One. Two! Three.", "Fine.", requirements=[calm])
    units = [(e.unit, e.result) for e in events if isinstance(e, Validated) and e.unit]
    assert units == [("One. ", True), ("Two! ", False), ("Fine.", True)]


def test_tool_calls_and_usage_are_events() -> None:
    call = ToolCall("look", {"at": "x"})
    events = run([Chunk(tool_calls=(call,))])
    assert [e.call for e in events if isinstance(e, ToolCalled)] == [call]
    assert any(isinstance(e, UsageReported) for e in events)


def test_several_subscribers_see_the_same() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("One two three.", delay=0.002))
        thunk = await m.ainstruct("Go.")
        lists = await asyncio.gather(*(all_events(thunk) for _ in range(3)))
        late = await all_events(thunk)
        texts = {"".join(e.text for e in es if isinstance(e, TextAdded)) for es in [*lists, late]}
        assert texts == {"One two three."}

    asyncio.run(main())


def test_disposing_ends_only_that_subscription() -> None:
    async def main() -> None:
        thunk, answer = started()
        gone: list[Event] = []
        kept: list[Event] = []
        subscription = thunk.events.subscribe(gone.append)
        thunk.events.subscribe(kept.append)
        await until(lambda: kept and gone)
        subscription.dispose()
        before = len(gone)
        answer.say("a").end()
        await until(lambda: kinds(kept)[-1] == "Completed")
        assert len(gone) == before

    asyncio.run(main())


def test_a_subscription_that_is_disposed_keeps_no_call() -> None:
    async def main() -> None:
        thunk, answer = started()
        subscription = thunk.events.subscribe(lambda _: None)
        subscription.dispose()
        del thunk
        gc.collect()
        assert await asyncio.to_thread(answer.closed.wait, PATIENCE)

    asyncio.run(main())


@pytest.mark.parametrize("text", ["a", ""])
def test_a_thunk_whose_events_were_looked_at_is_released_without_the_garbage_collector(
    text: str,
) -> None:
    async def main() -> weakref.ref[Any]:
        thunk, answer = started()
        answer.say(text).end()
        await soon(thunk.avalue())
        await all_events(thunk)
        await asyncio.to_thread(engine_has_told)
        return weakref.ref(thunk._generation)

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(main())() is None
    finally:
        gc.enable()


def test_a_subscription_keeps_the_call_running_and_its_end_is_not_a_reading() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(["a", "b"], delay=0.01))
        events = (await m.ainstruct("Go.", model_options=STREAM)).events
        done = threading.Event()
        events.subscribe(on_completed=done.set)
        thunk = events._thunk
        await until(done.is_set)
        assert not thunk.is_computed()
        assert await thunk.astream() == "ab"
        assert thunk.is_computed()

    asyncio.run(main())


def test_a_subscription_to_events_keeps_a_call_that_is_dropped() -> None:
    async def main() -> None:
        thunk, answer = started()
        seen: list[Event] = []
        thunk.events.subscribe(seen.append)
        del thunk
        gc.collect()
        answer.say("a").end()
        await until(lambda: kinds(seen)[-1:] in (["Completed"], ["Failed"]))
        assert kinds(seen) == ["AttemptStarted", "TextAdded", "Completed"]

    asyncio.run(main())


SAMPLES: list[Event] = [
    AttemptStarted(0.0, 0, "ollama", "Go."),
    TextAdded(0.5, 0, "é\u2028"),
    ThinkingAdded(0.5, 0, "hm"),
    ToolCalled(0.6, 0, ToolCall("f", {"a": [1, None]}, "id")),
    UsageReported(0.7, 0, Usage(3, 4)),
    Validated(0.8, 0, "short", None, "too early", "One. "),
    Rejected(0.9, 0, ("short: no",)),
    Retrying(1.0, 1, "short: no"),
    Completed(1.5, "stop"),
    Failed(1.5, "ServerError", "down"),
]


@given(st.lists(st.sampled_from(SAMPLES)))
def test_events_can_be_written_down_and_read_again(events: list[Event]) -> None:
    assert load_events(dump_events(events)) == events


def test_what_is_no_event_is_refused() -> None:
    with pytest.raises(ValueError, match="event"):
        load_events(b'{"event":"party"}')
