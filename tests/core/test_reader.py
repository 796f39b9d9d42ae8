"""`astream()`: one reader, whose pieces' join is the whole, whenever it reads."""

from __future__ import annotations

import asyncio

import pytest

from mellea_rx import (
    ConcurrentReaderError,
    GenerationCancelledError,
    MelleaSession,
    ModelOutputThunk,
    ScriptedBackend,
    ThunkStream,
)
from tests.core.hand import STREAM, soon, started, until


async def page_loop(mot: ModelOutputThunk[str]) -> list[str]:
    """The page's loop, as it stands there."""
    pieces = []
    while not mot.is_computed():
        chunk = await mot.astream()
        pieces.append(chunk)
    return pieces


async def ended(thunk: ModelOutputThunk[str]) -> None:
    """Wait until the model has ended, without taking anything."""
    await until(lambda: repr(thunk).startswith("<ModelOutputThunk computed"))


def test_the_pages_loop_sees_each_piece_as_it_comes() -> None:
    async def main() -> None:
        thunk, answer = started()
        seen = []
        for piece in ("Once ", "upon ", "a ", "time"):
            answer.say(piece)
            seen.append(await soon(thunk.astream()))
        answer.end()
        await ended(thunk)
        assert seen == ["Once ", "upon ", "a ", "time"]
        assert thunk.is_computed()
        assert await soon(page_loop(thunk)) == []

    asyncio.run(main())


def test_the_pages_loop_loses_nothing_when_it_starts_after_the_end() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("Once ", "upon")
        answer.end()
        await ended(thunk)
        assert await soon(page_loop(thunk)) == ["Once upon"]

    asyncio.run(main())


def test_a_late_reader_gets_the_text_so_far_as_one_piece_then_the_live_ones() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("Once ", "upon ")
        await until(lambda: thunk.text == "Once upon ")
        assert await soon(thunk.astream()) == "Once upon "
        answer.say("a time")
        assert await soon(thunk.astream()) == "a time"
        answer.end()
        assert await soon(page_loop(thunk)) in ([], [""])
        assert thunk.value == "Once upon a time"

    asyncio.run(main())


def test_an_end_that_comes_between_is_computed_and_astream_repeats_nothing() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("all")
        assert await soon(thunk.astream()) == "all"
        assert not thunk.is_computed()  # so the page's loop goes round once more …
        answer.end()
        await ended(thunk)  # … and in that moment the model ends
        assert await soon(thunk.astream()) == ""
        assert thunk.is_computed()

    asyncio.run(main())


def test_a_slow_reader_gets_fewer_larger_pieces() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("a")
        pieces = [await soon(thunk.astream())]
        answer.say("b", "c", "d")
        await until(lambda: thunk.text == "abcd")
        pieces.append(await soon(thunk.astream()))
        answer.say("e", "f")
        answer.end()
        await ended(thunk)
        pieces += await soon(page_loop(thunk))
        assert pieces == ["a", "bcd", "ef"]

    asyncio.run(main())


def test_it_is_an_async_iterator_that_ends() -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend("a b c d")).ainstruct(
            "Go.", model_options=STREAM
        )
        assert "".join([piece async for piece in thunk.astream()]) == "a b c d"
        assert thunk.is_computed()

    asyncio.run(main())


def test_each_call_of_astream_is_the_same_reader() -> None:
    async def main() -> None:
        thunk, answer = started()
        first, second = thunk.astream(), thunk.astream()
        assert isinstance(first, ThunkStream)
        answer.say("a")
        assert await soon(anext(first)) == "a"
        answer.say("b")
        assert await soon(anext(second)) == "b"
        answer.end()
        assert await soon(_rest(first)) == []

    asyncio.run(main())


async def _rest(reader: ThunkStream) -> list[str]:
    return [piece async for piece in reader]


def test_without_stream_there_is_one_piece_the_whole() -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend("a b c", delay=0.002)).ainstruct("Go.")
        assert await soon(_rest(thunk.astream())) == ["a b c"]

    asyncio.run(main())


def test_without_stream_the_pages_loop_sees_the_whole_once() -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend("a b c", delay=0.002)).ainstruct("Go.")
        assert await soon(page_loop(thunk)) == ["a b c"]

    asyncio.run(main())


@pytest.mark.parametrize("options", [{}, STREAM])
def test_on_a_computed_thunk_a_fresh_reader_gives_the_whole_once_each_time(
    options: dict[object, bool],
) -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend("a b c")).ainstruct(
            "Go.", model_options=options
        )
        await thunk.avalue()
        for _ in range(3):
            assert await soon(thunk.astream()) == "a b c"
            assert await soon(_rest(thunk.astream())) == ["a b c"]

    asyncio.run(main())


def test_after_its_end_the_old_reader_gives_nothing_and_a_fresh_one_the_whole() -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend("a b c")).ainstruct("Go.", model_options=STREAM)
        reader = thunk.astream()
        assert "".join(await soon(_rest(reader))) == "a b c"
        assert await soon(reader) == ""
        assert await soon(thunk.astream()) == "a b c"

    asyncio.run(main())


def test_an_empty_answer_ends_the_pages_loop() -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend([])).ainstruct("Go.", model_options=STREAM)
        assert "".join(await soon(page_loop(thunk))) == ""
        assert thunk.value == ""

    asyncio.run(main())


def test_a_second_coroutine_is_refused_and_the_first_loses_nothing() -> None:
    async def main() -> None:
        thunk, answer = started()
        first = asyncio.create_task(_rest(thunk.astream()))
        await asyncio.sleep(0)  # the first one waits now
        with pytest.raises(ConcurrentReaderError) as caught:
            await thunk.astream()
        assert str(caught.value) == (
            "two readers wait in this thunk's single reader: give each its own with "
            "`thunk.subscribe`, or let one read and share what it gets"
        )
        answer.say("a")
        await until(lambda: thunk.text == "a")
        answer.say("b")
        answer.end()
        assert "".join(await soon(first)) == "ab"

    asyncio.run(main())


def test_a_refused_reader_can_read_when_the_first_one_is_done() -> None:
    async def main() -> None:
        thunk, answer = started()
        first = asyncio.create_task(anext(thunk.astream()))
        await asyncio.sleep(0)
        with pytest.raises(ConcurrentReaderError):
            await thunk.astream()
        answer.say("a")
        assert await soon(first) == "a"
        answer.say("b")
        assert await soon(thunk.astream()) == "b"
        answer.end()
        await soon(thunk.avalue())

    asyncio.run(main())


def test_cancelling_a_waiting_read_loses_nothing() -> None:
    async def main() -> None:
        thunk, answer = started()
        waiting = asyncio.create_task(anext(thunk.astream()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        answer.say("a")
        assert await soon(thunk.astream()) == "a"
        answer.say("b")
        answer.end()
        assert "".join(await soon(page_loop(thunk))) == "b"

    asyncio.run(main())


def test_closing_a_coroutine_that_waits_in_the_reader_is_no_leaving_of_it() -> None:
    async def main() -> None:
        thunk, answer = started()
        waiting = anext(thunk.astream()).__await__()
        next(waiting)
        waiting.close()
        assert not thunk.cancelled
        answer.say("all").end()
        assert await soon(thunk.avalue()) == "all"

    asyncio.run(main())


def test_leaving_the_reader_early_ends_the_generation() -> None:
    async def main() -> None:
        thunk, answer = started()
        async with thunk.astream() as reader:
            answer.say("Once ")
            assert await soon(anext(reader)) == "Once "
        assert thunk.cancelled
        assert thunk.text == "Once "
        await until(answer.closed.is_set)

    asyncio.run(main())


def test_leaving_the_reader_early_leaves_it_to_others_who_take_it() -> None:
    async def main() -> None:
        thunk, answer = started()
        value = asyncio.create_task(thunk.avalue())
        await asyncio.sleep(0)
        async with thunk.astream() as reader:
            answer.say("Once ")
            await soon(anext(reader))
        answer.say("upon")
        answer.end()
        assert await soon(value) == "Once upon"

    asyncio.run(main())


def test_who_reads_after_a_reader_was_closed_goes_on_where_it_stopped() -> None:
    async def main() -> None:
        thunk, answer = started()
        value = asyncio.create_task(thunk.avalue())
        await asyncio.sleep(0)
        async with thunk.astream() as reader:
            answer.say("Once ")
            assert await soon(anext(reader)) == "Once "
        answer.say("upon ")
        again = thunk.astream()
        assert await soon(anext(again)) == "upon "
        answer.say("a time").end()
        assert await soon(_rest(again)) == ["a time"]
        assert await soon(value) == "Once upon a time"

    asyncio.run(main())


def test_who_reads_after_a_reader_was_closed_and_its_call_ended_is_told_so() -> None:
    async def main() -> None:
        thunk, answer = started()
        async with thunk.astream() as reader:
            answer.say("Once ")
            await soon(anext(reader))
        for again in (reader, thunk.astream()):
            with pytest.raises(GenerationCancelledError, match="closed before its end"):
                await soon(anext(again))

    asyncio.run(main())


def test_closing_a_reader_takes_nothing_from_the_one_that_has_begun_since() -> None:
    async def main() -> None:
        thunk, answer = started()
        closed = thunk.astream()
        reading = asyncio.create_task(_rest(thunk.astream()))
        await asyncio.sleep(0)
        await closed.aclose()
        answer.say("all").end()
        assert await soon(reading) == ["all"]
        assert not thunk.cancelled

    asyncio.run(main())


def test_a_reader_that_began_again_keeps_its_call_running() -> None:
    async def main() -> None:
        thunk, answer = started()
        subscription = thunk.subscribe(lambda _: None)
        await thunk.astream().aclose()
        reading = asyncio.create_task(_rest(thunk.astream()))
        await asyncio.sleep(0)
        subscription.dispose()
        holder = thunk.hold()
        holder.dispose()
        answer.say("all").end()
        assert await soon(reading) == ["all"]

    asyncio.run(main())


def test_leaving_the_reader_at_its_end_is_no_cancellation() -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend("a b")).ainstruct("Go.", model_options=STREAM)
        async with thunk.astream() as reader:
            assert "".join(await soon(_rest(reader))) == "a b"
        assert not thunk.cancelled
        assert thunk.value == "a b"

    asyncio.run(main())


def test_sync_code_reads_the_same_pieces_with_a_plain_iterator() -> None:
    thunk, answer = started()
    pieces = thunk.stream()
    answer.say("Once ")
    assert next(pieces) == "Once "
    answer.say("upon")
    answer.end()
    assert "".join(pieces) == "upon"
    assert thunk.is_computed()
