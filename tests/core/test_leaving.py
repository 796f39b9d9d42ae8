"""Leaving a thunk by any way ends its request at once, without the help of Python's collector.

The collector is off in these tests: what is kept by a circle of references stays for ever.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import aclosing, contextmanager, suppress
from typing import Any

import pytest
from reactivex import operators as ops
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from mellea_rx import (
    DependencyError,
    GenerationFailedError,
    MelleaSession,
    ModelOutputThunk,
    ThunkStream,
)
from mellea_rx.operators import to_async_iterator, to_iterator
from tests.core.hand import PATIENCE, Answer, Hand, soon, started_many, until

Thunk = ModelOutputThunk[str]


@contextmanager
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def is_left(*answers: Answer) -> None:
    """Return when nobody wants these answers any more."""
    for answer in answers:
        assert await asyncio.to_thread(answer.closed.wait, PATIENCE), "its request goes on"


async def _text(thunk: Thunk) -> None:
    await until(lambda: thunk.text)


async def _error(thunk: Thunk) -> None:
    await until(lambda: thunk.error)


# Ways in which a task is cancelled.


async def iterating(thunk: Thunk) -> None:
    async for _ in thunk.astream():
        pass


async def awaiting_pieces(thunk: Thunk) -> None:
    while not thunk.is_computed():
        await thunk.astream()


async def in_a_generator(thunk: Thunk) -> None:
    async def pieces() -> AsyncIterator[str]:
        async for piece in thunk.astream():
            yield piece

    async for _ in pieces():
        pass


async def waiting(thunk: Thunk) -> None:
    await thunk.avalue()


async def awaiting_the_thunk(thunk: Thunk) -> None:
    await thunk


async def awaiting_an_operator(thunk: Thunk) -> None:
    await thunk.pipe(ops.map(str))


async def iterating_an_observable(thunk: Thunk) -> None:
    async for _ in to_async_iterator(thunk):
        pass


async def with_a_timeout(thunk: Thunk) -> None:
    async with asyncio.timeout(PATIENCE * 10):
        await asyncio.wait_for(anext(thunk.astream(), None), PATIENCE * 10)
        await asyncio.wait_for(anext(thunk.astream(), None), PATIENCE * 10)


@pytest.mark.parametrize(
    "way",
    [
        iterating,
        awaiting_pieces,
        in_a_generator,
        waiting,
        awaiting_the_thunk,
        awaiting_an_operator,
        iterating_an_observable,
        with_a_timeout,
    ],
)
def test_a_task_that_is_cancelled_while_it_waits(way: Callable[[Thunk], Awaitable[None]]) -> None:
    async def main() -> None:
        (thunk,), hand = started_many(1)
        (answer,) = hand.answers
        task = asyncio.ensure_future(way(thunk))
        del thunk
        answer.say("a")
        for _ in range(20):
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        del task
        await is_left(answer)

    with no_collector():
        asyncio.run(main())


# Ways in which code that reads goes on elsewhere by itself.


async def breaking(thunk: Thunk) -> None:
    async for _ in thunk.astream():
        break


async def breaking_out_of_a_generator(thunk: Thunk) -> None:
    async def pieces() -> AsyncIterator[str]:
        async for piece in thunk.astream():
            yield piece

    async with aclosing(pieces()) as each:
        async for _ in each:
            break


async def raising(thunk: Thunk) -> None:
    async for _ in thunk.astream():
        raise ZeroDivisionError("the user's own")


async def breaking_an_observable(thunk: Thunk) -> None:
    async for _ in to_async_iterator(thunk):
        break


async def raising_over_an_observable(thunk: Thunk) -> None:
    async for _ in to_async_iterator(thunk):
        raise ZeroDivisionError("the user's own")


async def breaking_in_a_thread(thunk: Thunk) -> None:
    def read() -> None:
        for _ in thunk.stream():
            break

    await asyncio.to_thread(read)


async def raising_in_a_thread(thunk: Thunk) -> None:
    def read() -> None:
        for _ in to_iterator(thunk):
            raise ZeroDivisionError("the user's own")

    await asyncio.to_thread(read)


async def running_out_of_time(thunk: Thunk) -> None:
    await anext(thunk.astream())
    try:
        async with asyncio.timeout(0.001):
            await thunk.avalue()
    except TimeoutError:
        pass


async def running_out_of_time_in_a_thread(thunk: Thunk) -> None:
    await asyncio.to_thread(thunk.wait, 0.001)


@pytest.mark.parametrize(
    "way",
    [
        breaking,
        breaking_out_of_a_generator,
        raising,
        breaking_an_observable,
        raising_over_an_observable,
        breaking_in_a_thread,
        raising_in_a_thread,
        running_out_of_time,
        running_out_of_time_in_a_thread,
    ],
)
def test_code_that_leaves_by_itself(way: Callable[[Thunk], Awaitable[None]]) -> None:
    async def main() -> None:
        (thunk,), hand = started_many(1)
        (answer,) = hand.answers
        answer.say("a")
        await _text(thunk)
        task = asyncio.ensure_future(way(thunk))
        del thunk
        await asyncio.wait({task})
        if task.exception() is not None:
            assert isinstance(task.exception(), (ZeroDivisionError, TimeoutError))
        del task
        await is_left(answer)

    with no_collector():
        asyncio.run(main())


# Ways in which one thunk's failure is raised in code that holds another, running one.


async def of_a_reader(failing: Thunk, running: Thunk) -> None:
    async for _ in failing.astream():
        pass


async def of_a_wait(failing: Thunk, running: Thunk) -> None:
    await failing.avalue()


async def of_a_blocking_wait(failing: Thunk, running: Thunk) -> None:
    def wait() -> str:
        assert running
        return str(failing)

    await asyncio.to_thread(wait)


async def of_a_blocking_reader(failing: Thunk, running: Thunk) -> None:
    def read() -> list[str]:
        assert running
        return list(failing.stream())

    await asyncio.to_thread(read)


async def of_a_look(failing: Thunk, running: Thunk) -> None:
    with suppress(GenerationFailedError):
        await failing.avalue()
    assert failing.value


async def of_an_iterator(failing: Thunk, running: Thunk) -> None:
    async for _ in to_async_iterator(failing):
        pass


async def of_a_blocking_iterator(failing: Thunk, running: Thunk) -> None:
    def read() -> list[Any]:
        assert running
        return list(to_iterator(failing))

    await asyncio.to_thread(read)


async def of_an_operator(failing: Thunk, running: Thunk) -> None:
    await failing.pipe(ops.map(str))


async def of_a_call_that_needs_both(failing: Thunk, running: Thunk) -> None:
    values = {"first": failing, "second": running}
    m = MelleaSession(Hand())
    try:
        await (await m.ainstruct("{{first}} {{second}}", user_variables=values)).avalue()
    except DependencyError as error:
        raise GenerationFailedError("a part of it failed") from error


@pytest.mark.parametrize(
    "way",
    [
        of_a_reader,
        of_a_wait,
        of_a_blocking_wait,
        of_a_blocking_reader,
        of_a_look,
        of_an_iterator,
        of_a_blocking_iterator,
        of_an_operator,
        of_a_call_that_needs_both,
    ],
)
@pytest.mark.parametrize("moment", ["before", "meanwhile"])
def test_the_failure_of_another(
    way: Callable[[Thunk, Thunk], Awaitable[None]], moment: str
) -> None:
    async def main() -> None:
        (failing, running), hand = started_many(2)
        if moment == "before":
            hand.answers[0].fail(GenerationFailedError("it failed"))
            await _error(failing)
        task = asyncio.ensure_future(way(failing, running))
        kept = failing  # somebody else may hold the one that failed
        del failing, running
        await asyncio.sleep(0.01)
        if moment == "meanwhile":
            hand.answers[0].say("a").fail(GenerationFailedError("it failed"))
        await asyncio.wait({task})
        assert isinstance(task.exception(), GenerationFailedError)
        del task
        await is_left(hand.answers[1])
        assert kept.error is not None

    with no_collector():
        asyncio.run(main())


# A web server's client that goes away.


def closed_in_the_background(thunk: Thunk) -> StreamingResponse:
    pieces = thunk.astream()
    return StreamingResponse(pieces, background=BackgroundTask(pieces.aclose))


def a_generator_closed_in_the_background(thunk: Thunk) -> StreamingResponse:
    pieces = thunk.astream()
    return StreamingResponse(events(pieces), background=BackgroundTask(pieces.aclose))


def the_plain_reader(thunk: Thunk) -> StreamingResponse:
    return StreamingResponse(thunk.astream())


def a_plain_generator(thunk: Thunk) -> StreamingResponse:
    return StreamingResponse(events(thunk.astream()))


async def events(pieces: ThunkStream) -> AsyncIterator[str]:
    async for piece in pieces:
        yield f"data: {piece}\n\n"


FORMS: list[tuple[Callable[[Thunk], StreamingResponse], str]] = [
    (closed_in_the_background, "2.0"),
    (closed_in_the_background, "2.4"),
    (a_generator_closed_in_the_background, "2.0"),
    (a_generator_closed_in_the_background, "2.4"),
    (the_plain_reader, "2.4"),
    (a_plain_generator, "2.4"),
]


@pytest.mark.parametrize(("form", "version"), FORMS)
@pytest.mark.parametrize("moment", ["while it waits", "while it sends"])
def test_the_client_of_a_streaming_response_goes_away(
    form: Callable[[Thunk], StreamingResponse], version: str, moment: str
) -> None:
    async def main() -> None:
        (answer,) = await _left_by_its_client(form, version, moment)
        await is_left(answer)

    with no_collector():
        asyncio.run(main())


@pytest.mark.parametrize("form", [the_plain_reader, a_plain_generator])
def test_without_a_background_task_the_older_interface_leaves_it_to_the_collector(
    form: Callable[[Thunk], StreamingResponse],
) -> None:
    async def main() -> None:
        (answer,) = await _left_by_its_client(form, "2.0", "while it sends")
        gc.collect()
        await is_left(answer)

    with no_collector():
        asyncio.run(main())


async def _left_by_its_client(
    form: Callable[[Thunk], StreamingResponse], version: str, moment: str
) -> list[Answer]:
    (thunk,), hand = started_many(1)
    response = form(thunk)
    del thunk
    client = _Client(version, stands_still=moment == "while it sends")
    serving = asyncio.ensure_future(client.serve(response))
    del response
    hand.answers[0].say("a")
    await until(lambda: client.got)
    client.gone.set()
    if version != "2.0":
        hand.answers[0].say("b")  # only what it sends tells this server that nobody is there
    await soon(asyncio.wait({serving}))
    assert isinstance(serving.exception(), ClientDisconnect if version != "2.0" else type(None))
    return hand.answers


class _Client:
    """A client of an ASGI server that goes away, as a server of this version tells it.

    Args:
        version: Of ASGI: before 2.4 a server is asked for it; from then on, sending fails.
        stands_still: Whether it takes nothing of its first piece until it goes.
    """

    def __init__(self, version: str, *, stands_still: bool) -> None:
        self.got: list[Any] = []
        self.gone = asyncio.Event()
        self._version = version
        self._stands_still = stands_still

    async def serve(self, response: StreamingResponse) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": self._version},
            "method": "GET",
            "headers": [],
        }
        await response(scope, self._receive, self._send)

    async def _receive(self) -> MutableMapping[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message.get("body"):
            self.got.append(message["body"])
            if self._stands_still:
                await (asyncio.Event() if self._version == "2.0" else self.gone).wait()
            if self.gone.is_set() and self._version != "2.0":
                raise OSError("the client has gone")
