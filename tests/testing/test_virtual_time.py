"""Virtual time: hours pass at once, durations are exact, and nothing hangs."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as ops

from mellea_rx import (
    BlockingWaitError,
    ChatContext,
    Chunk,
    FirstTokenTimeoutError,
    GenerationCancelledError,
    IdleTimeoutError,
    InvalidInputError,
    MelleaSession,
    ModelOption,
    ModelOutputThunk,
    OllamaBackend,
    RateLimitError,
    ScriptedBackend,
    VirtualTimeError,
    WaitTimeoutError,
)
from mellea_rx.backends import Pause
from mellea_rx.backends.scripted import Answer
from mellea_rx.core.runtime.engine import engine, engine_loop
from mellea_rx.operators import RetryPolicy, chunk_timeout, retry
from mellea_rx.stdlib.requirements import Requirement, check, simple_validate
from mellea_rx.testing import STALL, LoopScheduler, Probe, VirtualTime, failing, run_virtual
from mellea_rx.testing.conformance import request
from tests.core.hand import STREAM

HOUR = 3600.0


def now() -> float:
    return asyncio.get_running_loop().time()


async def ask(*answers: Answer, delay: float = 0.0, **how: Any) -> ModelOutputThunk[str]:
    return await MelleaSession(ScriptedBackend(*answers, delay=delay)).ainstruct("Go.", **how)


def test_an_hour_of_silence_runs_into_the_timeout_of_two_minutes() -> None:
    async def main() -> None:
        silent = await ask([Pause(HOUR), "late"])
        with pytest.raises(FirstTokenTimeoutError, match="120 s"):
            await silent.avalue()
        assert (silent.duration, silent.ttft, now()) == (120.0, None, 120.0)
        stalled = await ask(["Once ", Pause(HOUR), "late"])
        with pytest.raises(IdleTimeoutError):
            await stalled.avalue()
        assert (stalled.text, stalled.duration, stalled.ttft) == ("Once ", 120.0, 0.0)

    run_virtual(main())


def test_a_pause_of_an_hour_is_exactly_an_hour() -> None:
    async def main() -> tuple[list[tuple[float, str]], float | None, float]:
        patient = {ModelOption.STREAM: True, ModelOption.STREAM_TIMEOUT: None}
        thunk = await ask([Pause(1), "a", Pause(HOUR), "b"], model_options=patient)
        pieces = [(now(), piece) async for piece in thunk.astream()]
        return [each for each in pieces if each[1]], thunk.ttft, thunk.duration

    assert run_virtual(main()) == ([(1.0, "a"), (HOUR + 1, "b")], 1.0, HOUR + 1)


def test_three_calls_take_as_long_as_one() -> None:
    async def main() -> float:
        thunks = [await ask("a b c d", delay=10) for _ in range(3)]
        await asyncio.gather(*(thunk.avalue() for thunk in thunks))
        return now()

    assert run_virtual(main()) == 40.0


def test_duration_of_a_running_call_goes_with_the_clock() -> None:
    async def main() -> None:
        thunk = await ask([STALL], model_options={ModelOption.STREAM_TIMEOUT: None})
        await asyncio.sleep(7)
        assert thunk.duration == 7.0
        thunk.cancel()
        with pytest.raises(GenerationCancelledError):
            await thunk.avalue()
        await asyncio.sleep(5)
        assert thunk.duration == 7.0

    run_virtual(main())


def test_events_have_virtual_times() -> None:
    async def main() -> list[float]:
        thunk = await ask(["a", Pause(30), "b", Pause(60), "c"], model_options=STREAM)
        probe: Probe[Any] = Probe()
        probe.to(thunk.events)
        await probe.end()
        times = [event.at for event in probe.items]
        assert times == [at for at, note in probe.told if note.kind == "N"]
        return sorted(set(times))

    assert run_virtual(main()) == [0.0, 30.0, 90.0]


def test_cancelling_ends_the_answer() -> None:
    async def main() -> int:
        backend = ScriptedBackend("a b c", delay=10)
        thunk = await MelleaSession(backend).ainstruct("Go.")
        await asyncio.sleep(15)
        assert backend.running == 1
        thunk.cancel()
        await asyncio.sleep(0)
        assert thunk.text == "a "
        return backend.running

    assert run_virtual(main()) == 0


def test_turns_of_a_chat_wait_for_each_other() -> None:
    async def main() -> tuple[float, int]:
        backend = ScriptedBackend("one", "two", delay=10)
        m = MelleaSession(backend, ctx=ChatContext())
        await m.achat("First.", model_options=STREAM)
        second = await m.achat("Second.", model_options=STREAM)
        await second.avalue()
        return now(), len(backend.requests[1].messages)

    assert run_virtual(main()) == (20.0, 3)


def test_is_computed_is_false_when_the_verb_returns() -> None:
    async def main() -> list[bool]:
        thunk = await ask("a")
        first = thunk.is_computed()
        await thunk.avalue()
        return [first, thunk.is_computed()]

    assert run_virtual(main()) == [False, True]


# Functions of the user.


def accepted(*verdicts: bool, how: Callable[[], Any]) -> Requirement:
    rest = list(verdicts)

    def validate(_: str) -> bool:
        how()
        return rest.pop(0)

    return check("fine", simple_validate(validate))


def test_the_clock_stands_still_while_a_sync_function_works() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go_on.wait(30)

    async def main() -> tuple[float, list[float]]:
        marks: list[float] = []

        def tick() -> None:
            marks.append(now())
            go_on.set()

        timer = asyncio.get_running_loop().call_later(50, tick)
        thunk = await ask("x", requirements=[accepted(True, how=work)])
        helper = threading.Thread(target=lambda: (begun.wait(30), go_on.set()))
        helper.start()
        assert await thunk.avalue() == "x"
        helper.join()
        assert not timer.cancelled()
        held = now()
        await asyncio.sleep(60)
        return held, marks

    assert run_virtual(main()) == (0.0, [50.0])


def test_an_async_validator_is_on_the_clock() -> None:
    async def slow(_: str) -> bool:
        await asyncio.sleep(HOUR)
        return True

    async def main() -> float:
        thunk = await ask("x", requirements=[check("fine", simple_validate(slow))])
        assert await thunk.avalue() == "x"
        return thunk.duration

    assert run_virtual(main()) == HOUR


def test_a_sync_verb_in_a_worker_thread_waits_in_virtual_time() -> None:
    judge = MelleaSession(ScriptedBackend("fine, I think", delay=10))

    async def main() -> float:
        judged = accepted(True, how=lambda: judge.instruct("Is it fine?"))
        thunk = await ask("x", requirements=[judged])
        assert await thunk.avalue() == "x"
        return now()

    assert run_virtual(main()) == 30.0


def test_a_plain_iterator_in_a_worker_thread_reads_in_virtual_time() -> None:
    async def main() -> tuple[list[str], float]:
        thunk = await ask("a b c", delay=10, model_options=STREAM)
        return await asyncio.to_thread(lambda: list(thunk.stream())), now()

    assert run_virtual(main()) == (["a ", "b ", "c"], 30.0)


def test_a_thread_that_is_waited_for_no_more_does_not_hold_the_clock() -> None:
    go_on = threading.Event()
    both: list[float] = []

    async def main() -> float:
        thunk = await ask("a b", delay=10)

        def left() -> None:
            assert go_on.wait(30)
            thunk.wait()

        leaving = asyncio.create_task(asyncio.to_thread(left))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait({leaving})
        await asyncio.sleep(60)
        go_on.set()
        both.append(await asyncio.to_thread(lambda: thunk.wait().duration))
        await asyncio.sleep(60)
        return now()

    assert run_virtual(main()) == 120.0
    assert both == [20.0]


def test_a_wait_in_a_worker_thread_times_out_in_virtual_time() -> None:
    async def main() -> tuple[float, str]:
        thunk = await ask("a b c", delay=100)
        with pytest.raises(WaitTimeoutError, match="5 s"):
            await asyncio.to_thread(thunk.wait, 5)
        early = now()
        assert (await asyncio.to_thread(thunk.wait, HOUR)) is thunk
        return early, str(thunk)

    assert run_virtual(main()) == (5.0, "a b c")


def test_a_blocking_wait_on_the_loop_itself_is_refused() -> None:
    async def main() -> None:
        thunk = await ask("a", delay=1)
        for wait in (str, ModelOutputThunk.wait, lambda t: list(t.stream())):
            with pytest.raises(BlockingWaitError, match="virtual time"):
                wait(thunk)
        assert await thunk.avalue() == "a"

    run_virtual(main())


# ReactiveX.


def test_timers_of_rx_run_on_the_same_clock() -> None:
    async def main() -> list[tuple[float, int]]:
        seen: list[tuple[float, int]] = []
        done = asyncio.Event()
        rx.interval(60.0).pipe(ops.take(3), ops.delay(0.5)).subscribe(
            lambda n: seen.append((now(), n)),
            on_completed=done.set,
            scheduler=LoopScheduler(asyncio.get_running_loop()),
        )
        await done.wait()
        return seen

    assert run_virtual(main()) == [(60.5, 0), (120.5, 1), (180.5, 2)]


def test_operators_on_chunks_take_their_time_from_it() -> None:
    async def main() -> float:
        slow = failing("a", after=0, error=lambda: RateLimitError("slower", status=429))
        backend = ScriptedBackend(slow, slow, [STALL])
        source = backend.stream(request(STREAM_TIMEOUT=None))
        policy = RetryPolicy(tries=3, initial=10, maximum=600, jitter=0)
        probe: Probe[Chunk] = Probe()
        probe.to(source.pipe(retry(policy), chunk_timeout(first=1000)))
        await probe.end()
        assert isinstance(probe.error, FirstTokenTimeoutError)
        assert len(backend.requests) == 3
        return now()

    # The pauses of 10 and 20 seconds are part of the 1,000 seconds.
    assert run_virtual(main()) == 1000.0


def test_the_schedulers_now_is_the_clocks() -> None:
    with VirtualTime() as time:
        time.run(asyncio.sleep(90))
        assert time.scheduler.to_seconds(time.scheduler.now) == time.now == 90.0


def test_a_thunk_is_delivered_in_the_moment_in_which_it_speaks() -> None:
    async def main() -> list[float]:
        thunk = await ask(["a", Pause(1), "b", Pause(1), "c"], model_options=STREAM)
        times: list[float] = []
        done = asyncio.Event()
        thunk.subscribe(lambda _: times.append(now()), on_completed=done.set)
        await done.wait()
        return [*times, now()]

    # The last chunk has the finish reason and no text.
    assert sorted(set(run_virtual(main()))) == [0.0, 1.0, 2.0]


@given(st.lists(st.integers(0, 5), max_size=40))
def test_timers_of_the_same_moment_fire_in_the_order_in_which_they_were_set(
    delays: list[int],
) -> None:
    async def main() -> list[tuple[int, int]]:
        fired: list[tuple[int, int]] = []
        loop = asyncio.get_running_loop()
        for place, delay in enumerate(delays):
            loop.call_later(delay, fired.append, (delay, place))
        await asyncio.sleep(6)
        return fired

    expected = sorted((delay, place) for place, delay in enumerate(delays))
    assert run_virtual(main()) == expected


# The engine of a run, and the one of the process.


def test_the_process_keeps_its_engine() -> None:
    def threads() -> list[str]:
        return [each.name for each in threading.enumerate() if "engine" in each.name]

    outside = MelleaSession(ScriptedBackend("outside"))
    assert outside.instruct("Go.").value == "outside"
    before, its_own = threads(), engine()

    async def main() -> None:
        assert engine() is not its_own
        assert engine_loop() is asyncio.get_running_loop()
        assert await (await ask("inside", delay=1)) == "inside"
        # A thread that the loop did not start uses the engine of the process.
        other: list[str | None] = []
        thread = threading.Thread(target=lambda: other.append(outside.instruct("Go.").value))
        thread.start()
        thread.join()
        assert other == ["outside"]

    run_virtual(main())
    assert engine() is its_own
    assert threads() == before
    assert outside.instruct("Go.").value == "outside"


def test_it_runs_where_a_loop_runs_already() -> None:
    async def inner() -> float:
        await (await ask("a b", delay=10)).avalue()
        return now()

    async def outer() -> float:
        return run_virtual(inner())

    assert asyncio.run(outer()) == 20.0


def test_several_runs_share_one_clock_and_its_calls() -> None:
    async def begin() -> ModelOutputThunk[str]:
        return await ask("a b c", delay=10)

    with VirtualTime() as time:
        thunk = time.run(begin())
        time.run(asyncio.sleep(15))
        assert thunk.text == "a "
        assert time.run(thunk.avalue()) == "a b c"
        assert time.now == 30.0


def test_what_still_runs_at_the_end_is_cancelled() -> None:
    backend = ScriptedBackend("a b c", delay=10)

    async def main() -> ModelOutputThunk[str]:
        return await MelleaSession(backend).ainstruct("Go.")

    with VirtualTime() as time:
        thunk = time.run(main())
        time.run(asyncio.sleep(15))
    assert isinstance(thunk.error, GenerationCancelledError)
    assert (thunk.text, backend.running) == ("a ", 0)
    time.close()
    thunk.cancel()


def test_what_main_raises_comes_out() -> None:
    async def main() -> None:
        raise ZeroDivisionError("oops")

    with pytest.raises(ZeroDivisionError, match="oops"):
        run_virtual(main())


# Tests that cannot end.


async def waits_for_nothing() -> None:
    await asyncio.Event().wait()


def test_a_wait_for_what_never_comes_is_an_error_that_says_where() -> None:
    with pytest.raises(VirtualTimeError, match="nothing will ever happen") as caught:
        run_virtual(waits_for_nothing())
    assert "waits_for_nothing" in str(caught.value)
    assert "test_virtual_time.py:" in str(caught.value)


def test_a_model_that_is_silent_for_ever_is_such_a_wait() -> None:
    async def main() -> None:
        thunk = await ask(["a", STALL], model_options={ModelOption.STREAM_TIMEOUT: None})
        await thunk.avalue()

    with pytest.raises(VirtualTimeError, match="nothing will ever happen"):
        run_virtual(main())


def test_nothing_is_logged_of_what_was_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        thunk = await ask([STALL], model_options={ModelOption.STREAM_TIMEOUT: None})
        reading = asyncio.create_task(thunk.avalue())
        await asyncio.gather(reading, waits_for_nothing())

    with pytest.raises(VirtualTimeError):
        run_virtual(main())
    gc.collect()
    assert caplog.records == []


def test_waiting_by_looking_again_and_again_comes_to_the_limit() -> None:
    async def polls() -> None:
        for _ in itertools.count():
            await asyncio.sleep(60)

    with pytest.raises(VirtualTimeError, match=r"limit of 3600 s.*polls"):
        run_virtual(polls(), limit=HOUR)


def test_the_limit_itself_can_be_reached() -> None:
    run_virtual(asyncio.sleep(HOUR), limit=HOUR)


def test_a_thread_that_does_not_return_is_not_waited_for_without_end() -> None:
    never = threading.Event()

    async def main() -> None:
        await asyncio.to_thread(never.wait)

    try:
        with pytest.raises(VirtualTimeError, match=r"1 worker thread.*patience"):
            run_virtual(main(), patience=0.01)
    finally:
        never.set()


def test_real_connections_are_refused() -> None:
    async def main() -> None:
        with MelleaSession(OllamaBackend("m", base_url="http://127.0.0.1:9")) as m:
            await (await m.ainstruct("Go.")).avalue()

    with pytest.raises(VirtualTimeError, match="real connections"):
        run_virtual(main())


@pytest.mark.parametrize("name", ["limit", "patience"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_limits_of_no_time_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidInputError, match=name):
        VirtualTime(**{name: value})
