"""`is_computed()` and `value`: when a thunk says that it is done."""

from __future__ import annotations

import asyncio

import pytest

from mellea_rx import GenerationFailedError, MelleaSession, ModelOption, ScriptedBackend
from mellea_rx.core.runtime.delivery import loop_dispatcher
from mellea_rx.core.streams.thunk import when_ended
from tests.core.hand import STREAM, engine_has_told, soon, started, until, until_blocking


@pytest.mark.parametrize("options", [{}, STREAM])
def test_it_is_not_computed_when_an_a_verb_returns_even_from_an_instant_backend(
    options: dict[ModelOption, bool],
) -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(["instant"]))
        thunk = await m.ainstruct("Go.", model_options=options)
        assert not thunk.is_computed()

    for _ in range(20):
        asyncio.run(main())


@pytest.mark.parametrize("options", [{}, STREAM])
def test_it_is_not_computed_in_the_turn_of_the_loop_in_which_the_verb_returned(
    options: dict[ModelOption, bool],
) -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(["instant"]))
        thunk = await m.ainstruct("Go.", model_options=options)
        until_blocking(lambda: thunk.finish_reason)  # this loop stands still; the engine does not
        assert not thunk.is_computed()

    asyncio.run(main())


def test_it_turns_true_without_anybody_reading_it() -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend("One two.")).ainstruct("Go.")
        await until(thunk.is_computed)
        assert thunk.value == "One two."

    asyncio.run(main())


def test_the_first_look_after_the_loop_was_told_finds_it() -> None:
    async def main() -> None:
        thunk, answer = started(stream=False)
        answer.say("all").end()
        until_blocking(lambda: repr(thunk).startswith("<ModelOutputThunk computed"))
        await asyncio.to_thread(engine_has_told)
        assert thunk.value == "all"

    asyncio.run(main())


def test_a_caller_that_polls_without_running_its_loop_sees_the_end_too() -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend("One two.")).ainstruct("Go.")
        assert until_blocking(thunk.is_computed)
        assert thunk.value == "One two."

    asyncio.run(main())


def test_once_true_it_stays_true() -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend("One.")).ainstruct("Go.")
        await thunk.avalue()
        assert [thunk.is_computed() for _ in range(3)] == [True, True, True]
        assert [thunk.value for _ in range(3)] == ["One."] * 3

    asyncio.run(main())


def test_the_value_is_none_before_and_the_text_is_what_came_so_far() -> None:
    async def main() -> None:
        thunk, answer = started()
        assert (thunk.value, thunk.text, thunk.parsed) == (None, "", None)
        answer.say("Once ", "upon")
        await until(lambda: thunk.text == "Once upon")
        assert (thunk.value, thunk.parsed) == (None, None)
        answer.say(" a time")
        answer.end()
        assert await soon(thunk.avalue()) == "Once upon a time"
        assert (thunk.value, thunk.text, thunk.parsed) == ("Once upon a time",) * 3

    asyncio.run(main())


def test_the_text_so_far_is_there_without_stream_too() -> None:
    async def main() -> None:
        thunk, answer = started(stream=False)
        answer.say("Once ", "upon")
        await until(lambda: thunk.text == "Once upon")
        assert thunk.value is None
        answer.end()
        await soon(thunk.avalue())

    asyncio.run(main())


def test_with_stream_it_is_not_computed_before_the_reader_took_the_last_piece() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("all")
        answer.end()
        await until(lambda: repr(thunk).startswith("<ModelOutputThunk computed"))
        assert not thunk.is_computed()
        assert thunk.value is None
        assert await soon(thunk.astream()) == "all"
        assert thunk.is_computed()
        assert thunk.value == "all"

    asyncio.run(main())


def test_with_stream_avalue_counts_as_taking_it() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("all")
        answer.end()
        assert await soon(thunk.avalue()) == "all"
        assert thunk.is_computed()

    asyncio.run(main())


def test_a_sync_verb_returns_it_computed() -> None:
    thunk = MelleaSession(ScriptedBackend("One two.")).instruct("Go.")
    assert thunk.is_computed()
    assert thunk.value == "One two."


def test_repr_never_waits_and_says_what_there_is() -> None:
    async def main() -> None:
        thunk, answer = started()
        assert repr(thunk) == "<ModelOutputThunk running ''>"
        answer.say("x" * 40)
        await until(lambda: repr(thunk) == f"<ModelOutputThunk running {'x' * 40!r}>")
        answer.say("x").end()
        await soon(thunk.avalue())
        assert repr(thunk) == f"<ComputedThunk computed '{'x' * 39}…'>"

    asyncio.run(main())


def test_after_a_wait_that_was_given_up_the_first_look_finds_the_end() -> None:
    async def main() -> None:
        thunk, answer = started(stream=False)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(thunk.avalue(), 0.01)
        answer.say("all").end()
        until_blocking(lambda: repr(thunk).startswith("<ModelOutputThunk computed"))
        await asyncio.to_thread(engine_has_told)
        assert thunk.value == "all"

    asyncio.run(main())


def test_a_wait_that_is_cancelled_when_the_end_is_there_finds_it() -> None:
    async def main() -> None:
        thunk, answer = started(stream=False)
        looks: list[bool] = []

        async def wait() -> None:
            try:
                await thunk.avalue()
            except asyncio.CancelledError:
                looks.append(thunk.is_computed())

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        answer.say("all").end()  # this loop stands still: the cancellation comes first
        until_blocking(lambda: repr(thunk).startswith("<ModelOutputThunk computed"))
        engine_has_told()
        await waiting
        await asyncio.to_thread(engine_has_told)
        assert [*looks, thunk.is_computed()] == [True, True]

    asyncio.run(main())


def test_with_stream_a_wait_that_is_cancelled_at_the_end_does_not_count_as_taking_it() -> None:
    async def main() -> None:
        thunk, answer = started()
        waiting = asyncio.create_task(thunk.avalue())
        await asyncio.sleep(0)
        waiting.cancel()
        answer.say("all").end()
        until_blocking(lambda: repr(thunk).startswith("<ModelOutputThunk computed"))
        engine_has_told()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.to_thread(engine_has_told)
        assert [thunk.is_computed() for _ in range(2)] == [False, False]
        assert await soon(thunk.astream()) == "all"
        assert thunk.is_computed()

    asyncio.run(main())


@pytest.mark.parametrize("fails", [False, True])
def test_a_callback_of_the_end_finds_it_computed(fails: bool) -> None:
    async def main() -> None:
        thunk, answer = started()
        looks: list[bool] = []
        dispatcher = loop_dispatcher(asyncio.get_running_loop())
        when_ended(thunk, dispatcher, lambda: looks.append(thunk.is_computed()), looks.clear)
        answer.say("all")
        if fails:
            answer.fail(GenerationFailedError("crashed"))
        else:
            answer.end()
        assert await until(lambda: looks) == [True]
        assert (thunk.error is not None) == fails

    asyncio.run(main())


def test_a_callback_that_is_disposed_when_the_end_is_on_its_way_is_not_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        thunk, answer = started()
        calls: list[str] = []
        wait = when_ended(
            thunk,
            loop_dispatcher(asyncio.get_running_loop()),
            lambda: calls.append("ended"),
            lambda: calls.append("lost"),
        )
        answer.say("all").end()
        until_blocking(lambda: repr(thunk).startswith("<ModelOutputThunk computed"))
        engine_has_told()
        wait.dispose()
        await asyncio.to_thread(engine_has_told)
        assert calls == []

    asyncio.run(main())
    assert caplog.text == ""


def test_a_callback_that_is_disposed_keeps_nothing_running() -> None:
    async def main() -> None:
        thunk, _ = started()
        dispatcher = loop_dispatcher(asyncio.get_running_loop())
        wait = when_ended(thunk, dispatcher, lambda: None, lambda: None)
        thunk.keep_alive().dispose()
        assert not thunk.cancelled
        wait.dispose()
        thunk.keep_alive().dispose()
        assert thunk.cancelled

    asyncio.run(main())
