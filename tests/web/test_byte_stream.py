"""A `ByteStream` owns its thunk: the request ends with it, without Python's collector."""

from __future__ import annotations

import asyncio
import gc
import json
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import reactivex as rx

from mellea_rx import GenerationCancelledError, InvalidInputError, MelleaSession, ScriptedBackend
from mellea_rx.backends import Pause
from mellea_rx.operators import merge
from mellea_rx.testing import run_virtual
from mellea_rx.web import ByteStream, ag_ui, ndjson, sse, ui_message_stream
from tests.core.hand import STREAM, soon, started, until
from tests.core.test_leaving import is_left, no_collector

PROTOCOLS: list[Callable[[Any], ByteStream]] = [sse, ndjson, ui_message_stream, ag_ui]


async def whole(stream: ByteStream) -> bytes:
    return b"".join([data async for data in stream])


async def waiting(stream: ByteStream, said: asyncio.Event) -> None:
    async for _ in stream:
        said.set()


async def waiting_elsewhere(stream: ByteStream, said: asyncio.Event) -> None:
    """As a server does, while its client does not take what it sends."""
    async for _ in stream:
        said.set()
        await asyncio.sleep(math.inf)


async def in_a_generator(stream: ByteStream, said: asyncio.Event) -> None:
    async def wrapped() -> Any:
        async for data in stream:
            yield data

    async for _ in wrapped():
        said.set()
        await asyncio.sleep(math.inf)


async def with_a_limit(stream: ByteStream, said: asyncio.Event) -> None:
    await asyncio.wait_for(anext(stream), 60)
    said.set()
    await asyncio.wait_for(anext(stream), 60)


@pytest.mark.parametrize("way", [waiting, waiting_elsewhere, in_a_generator, with_a_limit])
@pytest.mark.parametrize("protocol", [sse, ui_message_stream])
def test_the_task_that_reads_is_cancelled(
    way: Callable[[ByteStream, asyncio.Event], Awaitable[None]],
    protocol: Callable[[Any], ByteStream],
) -> None:
    async def main() -> None:
        thunk, answer = started()
        said = asyncio.Event()
        task = asyncio.ensure_future(way(protocol(thunk), said))
        answer.say("a")
        await soon(said.wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        await is_left(answer)
        assert isinstance(thunk.error, GenerationCancelledError)

    with no_collector():
        asyncio.run(main())


async def breaking(stream: ByteStream) -> None:
    async for _ in stream:
        break


async def raising(stream: ByteStream) -> None:
    async for _ in stream:
        raise ZeroDivisionError("of the program")


async def losing_the_client(stream: ByteStream) -> None:
    async for _ in stream:
        raise ConnectionResetError("as a server's write does")


async def closing(stream: ByteStream) -> None:
    await anext(stream)
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def leaving_a_block(stream: ByteStream) -> None:
    async with stream:
        await anext(stream)


async def dropping(stream: ByteStream) -> None:
    """It is never read."""


@pytest.mark.parametrize(
    "way", [breaking, raising, losing_the_client, closing, leaving_a_block, dropping]
)
def test_code_that_leaves_by_itself(way: Callable[[ByteStream], Awaitable[None]]) -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("a")
        await until(lambda: thunk.text)
        task = asyncio.ensure_future(way(sse(thunk)))
        await asyncio.wait({task})
        await is_left(answer)
        # The error, and so the frames of the task, are still there.
        assert isinstance(task.exception(), (ZeroDivisionError, ConnectionError, type(None)))

    with no_collector():
        asyncio.run(main())


def test_an_item_may_be_read_in_a_task_of_its_own() -> None:
    async def main() -> None:
        thunk, answer = started()
        stream = ndjson(thunk)
        for text in ("a", "b"):
            answer.say(text)
            data = await asyncio.create_task(anext(stream))  # type: ignore[arg-type]
            assert data == b'{"type":"text","text":"%s"}\n' % text.encode()
            await asyncio.sleep(0)
        assert thunk.error is None
        answer.end()
        assert b'"done"' in await whole(stream)

    asyncio.run(main())


def test_the_error_of_a_task_that_reads_is_still_logged() -> None:
    logged: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
        thunk, answer = started()
        answer.say("a")
        task = asyncio.ensure_future(raising(sse(thunk)))
        await asyncio.wait({task})
        await asyncio.sleep(0)
        del task
        gc.collect()

    asyncio.run(main())
    assert [type(each["exception"]) for each in logged] == [ZeroDivisionError]


def test_closing_from_elsewhere_ends_a_reader_that_waits() -> None:
    async def main() -> None:
        for source in (started()[0], rx.never()):
            stream = sse(source)
            reading = asyncio.ensure_future(whole(stream))
            for _ in range(3):
                await asyncio.sleep(0)
            stream.close()
            assert await soon(reading) == b""

    asyncio.run(main())


def test_two_streams_at_once_are_apart() -> None:
    async def main() -> None:
        (one, first), (two, second) = started(), started()
        streams = sse(one), sse(two)
        first.say("a")
        second.say("b")
        assert b'"a"' in await anext(streams[0])
        assert b'"b"' in await anext(streams[1])
        streams[0].close()
        await is_left(first)
        second.say("c").end()
        assert b'"c"' in await whole(streams[1])

    asyncio.run(main())


def test_an_observable_ends_with_its_subscription() -> None:
    async def main() -> None:
        (one, first), (two, second) = started(), started()
        stream = sse(merge(one, two).pipe())
        stream.close()
        items = ndjson(rx.merge(one, two))
        first.say("a")
        await anext(items)
        del one, two
        items.close()
        await is_left(first, second)

    asyncio.run(main())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_other_readers_of_the_thunk_are_no_reason_to_go_on(
    protocol: Callable[[Any], ByteStream],
) -> None:
    async def main() -> None:
        thunk, answer = started()
        thunk.subscribe(lambda _: None, lambda _: None)
        stream = protocol(thunk)
        answer.say("a")
        await anext(stream)
        await stream.aclose()
        await is_left(answer)

    asyncio.run(main())


def test_silence_is_filled_with_comments_and_nothing_is_lost() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(["a", Pause(35), "b"]))
        stream = sse(await m.ainstruct("Go.", model_options=STREAM))
        sent = await whole(stream)
        assert sent.count(b": keep-alive\n\n") == 2
        assert sent.replace(b": keep-alive\n\n", b"").startswith(
            b'data: {"type":"text","text":"a"}\n\ndata: {"type":"text","text":"b"}\n\ndata:'
        )

    run_virtual(main())


def test_without_keep_alive_there_are_none() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(["a", Pause(3600), "b"]))
        stream = sse(await m.ainstruct("Go.", model_options=STREAM), keep_alive=None)
        assert b"keep-alive" not in await whole(stream)

    run_virtual(main())


def test_a_client_that_reads_late_gets_all_in_a_few_objects() -> None:
    async def main() -> None:
        thunk, answer = started()
        stream = ndjson(thunk)
        answer.say("a")
        await anext(stream)
        answer.say(*["b"] * 1000).end()
        await until(lambda: len(thunk.text) == 1001)
        objects = [json.loads(line) for line in (await whole(stream)).splitlines()]
        assert "".join(each.get("text", "") for each in objects) == "b" * 1000
        assert len(objects) < 100

    asyncio.run(main())


@pytest.mark.parametrize(
    ("given", "words"),
    [("text", "not str"), (7, "not int"), (None, "not NoneType"), (MelleaSession, "the class")],
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_anything_else_is_refused_by_name(
    protocol: Callable[[Any], ByteStream], given: Any, words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        protocol(given)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_call_that_was_not_awaited_is_told(protocol: Callable[[Any], ByteStream]) -> None:
    m = MelleaSession(ScriptedBackend("a"))
    with pytest.raises(InvalidInputError, match=r"write `await m\.ainstruct"):
        protocol(m.ainstruct("Go."))


@pytest.mark.parametrize("seconds", [0, -1, "15", math.nan, True])
def test_a_time_that_is_no_time_is_refused(seconds: Any) -> None:
    with pytest.raises(InvalidInputError, match="keep_alive"):
        sse(rx.of("a"), keep_alive=seconds)


def test_the_request_of_an_answer_that_ended_is_nobodys() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("a").end()
        assert b'"done"' in await whole(sse(thunk))
        assert thunk.error is None
        assert thunk.text == "a"

    asyncio.run(main())
