"""A limit on silence is held to the moment, by any number of streams at once."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellea_rx import (
    FirstTokenTimeoutError,
    GenerationCancelledError,
    IdleTimeoutError,
    MelleaSession,
    ModelOption,
    ModelOutputThunk,
    ScriptedBackend,
)
from mellea_rx.backends import Options, Pause
from mellea_rx.core.streams.idle_timeout import IdleTimeout
from mellea_rx.testing import run_virtual
from tests.core.hand import PATIENCE

LIMITS = (1.1, 7.3, 60.7)
"""None of these is a pause's length: which comes first is clear."""

Stream = tuple[float, float, list[int]]
"""Its start, its limit, and its silence before each of its chunks; in seconds."""

streams = st.tuples(
    st.integers(0, 100), st.sampled_from(LIMITS), st.lists(st.integers(0, 80), max_size=6)
)


async def begun(stream: Stream) -> ModelOutputThunk[str]:
    begin, limit, pauses = stream
    await asyncio.sleep(begin)
    answer = [piece for pause in pauses for piece in (Pause(float(pause)), "x")]
    session = MelleaSession(ScriptedBackend(answer))
    options = {ModelOption.STREAM_TIMEOUT: limit, ModelOption.RETRIES: 0}
    return await session.ainstruct("Go.", model_options=options)


def expected(stream: Stream) -> tuple[type[Exception] | None, float]:
    """Its end, and the number of seconds until then."""
    _, limit, pauses = stream
    passed = 0.0
    for index, pause in enumerate(pauses):
        if pause > limit:
            return (IdleTimeoutError if index else FirstTokenTimeoutError), passed + limit
        passed += pause
    return None, passed


@settings(max_examples=60, deadline=None)
@given(st.lists(streams, min_size=1, max_size=12))
def test_each_stream_ends_when_it_was_silent_for_too_long(all_streams: list[Stream]) -> None:
    async def main() -> list[tuple[type[Exception] | None, float]]:
        thunks = await asyncio.gather(*map(begun, all_streams))
        await asyncio.gather(*(each.avalue() for each in thunks), return_exceptions=True)
        return [(each.error and type(each.error), each.duration) for each in thunks]

    ended = run_virtual(main())
    assert [kind for kind, _ in ended] == [expected(each)[0] for each in all_streams]
    times = [expected(each)[1] for each in all_streams]
    assert [time for _, time in ended] == pytest.approx(times, abs=1e-6)


def test_streams_that_end_leave_the_others_their_limit() -> None:
    async def main() -> list[float]:
        long, short = await asyncio.gather(begun((0, 60.7, [80])), begun((0, 60.7, [0, 1])))
        cancelled = await begun((1, 60.7, [80]))
        assert await short.avalue() == "xx"
        cancelled.cancel()
        with pytest.raises(FirstTokenTimeoutError):
            await long.avalue()
        assert isinstance(cancelled.error, GenerationCancelledError)
        again = await begun((0, 60.7, [80]))
        with pytest.raises(FirstTokenTimeoutError):
            await again.avalue()
        return [long.duration, again.duration]

    assert run_virtual(main()) == pytest.approx([60.7, 60.7], abs=1e-6)


async def worked_on(options: dict[ModelOption, float | None], *, answers: bool) -> float:
    """A prompt that takes nine steps of one second, then an answer or silence."""
    began = asyncio.get_running_loop().time()
    with IdleTimeout(Options(options), "the model") as watch:
        for _ in range(9):
            await asyncio.sleep(1)
            watch.working()
        if answers:
            watch.touch()
        await asyncio.sleep(1 if answers else 60)
    return asyncio.get_running_loop().time() - began


def test_work_on_the_prompt_is_no_silence() -> None:
    options: dict[ModelOption, float | None] = {ModelOption.STREAM_TIMEOUT: 3}
    assert run_virtual(worked_on(options, answers=True)) == 10.0


def test_work_on_the_prompt_does_not_begin_the_answer() -> None:
    options: dict[ModelOption, float | None] = {ModelOption.STREAM_TIMEOUT: 3}
    with pytest.raises(FirstTokenTimeoutError, match=r"STREAM_TIMEOUT"):
        run_virtual(worked_on(options, answers=False))


def test_work_on_the_prompt_does_not_put_off_the_limit_on_the_first_token() -> None:
    options = {ModelOption.FIRST_TOKEN_TIMEOUT: 5.0, ModelOption.STREAM_TIMEOUT: 3.0}
    with pytest.raises(FirstTokenTimeoutError, match=r"within 5 s .*FIRST_TOKEN_TIMEOUT"):
        run_virtual(worked_on(options, answers=True))


class _Counting(asyncio.SelectorEventLoop):
    """Counts the timers that are set on it."""

    timers = 0

    def call_at(self, *args: Any, **more: Any) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(*args, **more)


@pytest.mark.parametrize("limits", [[120.0], [100 + index / 7 for index in range(400)]])
def test_streams_one_after_another_set_few_timers(limits: list[float]) -> None:
    async def main() -> None:
        for index in range(1000):
            options = Options({ModelOption.STREAM_TIMEOUT: limits[index % len(limits)]})
            with IdleTimeout(options, "the model") as watch:
                watch.touch()

    with asyncio.Runner(loop_factory=_Counting) as runner:
        runner.run(main())
        loop = runner.get_loop()
        assert isinstance(loop, _Counting)
        assert loop.timers <= 2 * len({round(limit / 6) for limit in limits})


def test_limits_that_are_over_at_once_on_two_loops_are_both_held_to() -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Slow(asyncio.Task[Any]):
        """Whoever cancels it is kept."""

        def cancel(self, msg: Any = None) -> bool:
            inside.set()
            assert go_on.wait(PATIENCE)
            return super().cancel(msg)

    async def silent() -> None:
        with IdleTimeout(Options({ModelOption.STREAM_TIMEOUT: 0.01}), "the model"):
            await asyncio.sleep(PATIENCE)

    async def main(kind: type[asyncio.Task[Any]]) -> None:
        with pytest.raises(FirstTokenTimeoutError):
            await kind(silent())

    def other() -> None:
        asyncio.run(main(Slow))
        ended.append(True)

    ended: list[bool] = []
    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(PATIENCE)
    asyncio.run(main(asyncio.Task))
    go_on.set()
    thread.join(PATIENCE)
    assert ended == [True]


def test_a_closed_loop_is_freed_though_streams_had_limits_on_it() -> None:
    async def main() -> None:
        with IdleTimeout(Options(), "the model"):
            await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    freed = weakref.ref(loop)
    del loop
    gc.collect()
    assert freed() is None
