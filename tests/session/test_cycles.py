"""Calls that wait for each other in a circle fail, and say who waits for whom; none hangs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from reactivex import Observable

from mellea_rx import (
    ChatContext,
    Chunk,
    DependencyCycleError,
    DependencyError,
    InvalidInputError,
    MelleaRxError,
    MelleaSession,
    ModelOutputThunk,
    ScriptedBackend,
    WaitTimeoutError,
)
from mellea_rx.backends import Options, Request
from mellea_rx.core.runtime.delivery import loop_dispatcher
from mellea_rx.core.streams.chunk_source import ChunkSource, Push
from mellea_rx.core.streams.thunk import when_ended
from mellea_rx.stdlib.components import Template
from mellea_rx.stdlib.requirements import Requirement, req, simple_validate
from mellea_rx.stdlib.sampling import RejectionSampling
from tests.core.hand import PATIENCE, STREAM, soon, until

Thunk = ModelOutputThunk[Any]
ONCE = RejectionSampling(loop_budget=1)


def session(*answers: Any) -> MelleaSession:
    return MelleaSession(ScriptedBackend(*(answers or ("a",))))


def after(wait: Callable[[], Awaitable[Any]]) -> Requirement:
    """A requirement that is met when an async wait is over."""

    async def waits(_: str) -> bool:
        await wait()
        return True

    return req("waits", simple_validate(waits))


def after_blocking(wait: Callable[[], Any]) -> Requirement:
    """A requirement that is met when a blocking wait is over."""

    def waits(_: str) -> bool:
        wait()
        return True

    return req("waits", simple_validate(waits))


async def until_they_wait(*calls: Thunk) -> None:
    """Return when each of these calls waits for another: the next wait closes the circle."""
    await until(lambda: all(call._generation.waits_for for call in calls))


def cycle_in(error: BaseException | None) -> DependencyCycleError:
    """The circle that an error came from."""
    while error is not None:
        if isinstance(error, DependencyCycleError):
            return error
        error = error.__cause__
    raise AssertionError("no circle in it")


async def failure(thunk: Thunk) -> MelleaRxError:
    with pytest.raises(MelleaRxError) as caught:
        await soon(thunk.avalue())
    return caught.value


async def piece_of(thunk: Thunk) -> None:
    await thunk.astream()


async def pieces_of(thunk: Thunk) -> None:
    async for _ in thunk.astream():
        pass


async def with_others(thunk: Thunk) -> None:
    await asyncio.gather(thunk.avalue(), asyncio.sleep(0))


async def as_a_task(thunk: Thunk) -> None:
    await asyncio.create_task(thunk.avalue())


async def in_a_thread(thunk: Thunk) -> None:
    await asyncio.to_thread(str, thunk)


async def be_called(thunk: Thunk) -> None:
    """Wait by a callback of the end, as a stream of calls does."""
    ended = asyncio.Event()
    dispatcher = loop_dispatcher(asyncio.get_running_loop())
    when_ended(thunk, dispatcher, ended.set, ended.set)
    await ended.wait()


ASYNC_WAITS: list[Callable[[Thunk], Awaitable[Any]]] = [
    *(ModelOutputThunk.avalue, piece_of, pieces_of, with_others, as_a_task, be_called),
]


@pytest.mark.parametrize("wait", ASYNC_WAITS, ids=lambda wait: wait.__name__)
@pytest.mark.parametrize("stream", [{}, STREAM], ids=["whole", "stream"])
def test_a_validator_awaits_a_call_that_needs_the_answer(
    wait: Callable[[Thunk], Awaitable[Any]], stream: Any
) -> None:
    async def main() -> None:
        m = session()
        later: list[Thunk] = []

        async def wait_for_the_second() -> None:
            await until_they_wait(*later)
            await wait(later[0])

        check = after(wait_for_the_second)
        first = await m.ainstruct("First.", requirements=check, strategy=ONCE)
        later.append(
            await m.ainstruct("{{it}}", user_variables={"it": first}, model_options=stream)
        )
        told = str(cycle_in(await failure(first)))
        assert "Instruction(description='First.'" in told
        assert told.count("→") == 2
        second = await failure(later[0])
        assert isinstance(second, DependencyError)
        assert second.__cause__ is first.error

    asyncio.run(main())


def test_a_thread_of_the_validators_counts_as_the_validator() -> None:
    async def main() -> None:
        m = session()
        later: list[Thunk] = []
        check = after(lambda: in_a_thread(later[0]))
        first = await m.ainstruct("First.", requirements=check, strategy=ONCE)
        later.append(await m.ainstruct("{{it}}", user_variables={"it": first}))
        cycle_in(await failure(first))

    asyncio.run(main())


@pytest.mark.parametrize("wait", [str, ModelOutputThunk.wait, lambda t: list(t.stream())])
def test_a_sync_validator_waits_for_a_call_that_needs_the_answer(wait: Any) -> None:
    m = session()
    later: list[Thunk] = []
    made = threading.Event()

    def wait_for_it() -> None:
        assert made.wait(PATIENCE)
        wait(later[0])

    async def main() -> None:
        check = after_blocking(wait_for_it)
        first = await m.ainstruct("First.", requirements=check, strategy=ONCE)
        later.append(await m.ainstruct("{{it}}", user_variables={"it": first}))
        made.set()
        cycle_in(await failure(first))

    asyncio.run(main())


def test_a_validator_waits_for_its_own_call() -> None:
    async def main() -> None:
        own: list[Thunk] = []
        check = after(lambda: own[0].avalue())
        own.append(await session().ainstruct("Go.", requirements=check, strategy=ONCE))
        assert str(cycle_in(await failure(own[0]))).count("→") == 1

    asyncio.run(main())


class Named:
    """A component with a name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name

    def template(self) -> Template:
        """Its name."""
        return Template("{{ name }}", {"name": self.name})

    def parse(self, text: str) -> str:
        """The text as it is."""
        return text


@pytest.mark.parametrize(("name", "shown"), [("n" * 80, "n" * 80), ("n" * 81, "n" * 79 + "…")])
def test_a_call_is_named_by_eighty_characters_of_what_it_is_asked(name: str, shown: str) -> None:
    async def main() -> None:
        own: list[Thunk] = []
        check = after(lambda: own[0].avalue())
        own.append(await session().aact(Named(name), requirements=check, strategy=ONCE))
        assert str(cycle_in(await failure(own[0]))) == (
            f"this wait could never end, since these calls wait for each other: {shown} → {shown}"
        )

    asyncio.run(main())


def test_a_call_of_a_pipeline_alone_is_named_a_call() -> None:
    async def main() -> None:
        own: list[Thunk] = []
        made = threading.Event()

        async def pipeline(_: object) -> None:
            assert await asyncio.to_thread(made.wait, PATIENCE)
            await own[0].avalue()

        own.append(ModelOutputThunk(pipeline))
        made.set()
        assert str(await failure(own[0])).endswith(": a call → a call")

    asyncio.run(main())


def test_a_circle_by_way_of_others_names_all_of_them() -> None:
    async def main() -> None:
        m = session()
        later: list[Thunk] = []

        async def wait_for_the_last() -> None:
            await until_they_wait(*later)
            await later[-1].avalue()

        check = after(wait_for_the_last)
        first = await m.ainstruct("first", requirements=check, strategy=ONCE)
        later.append(await m.ainstruct("second {{x}}", user_variables={"x": first}))
        later.append(await m.ainstruct("third {{x}}", user_variables={"x": later[0]}))
        told = str(cycle_in(await failure(first)))
        places = [told.index(f"description='{word}") for word in ("first", "third", "second")]
        assert places == sorted(places)
        assert told.rindex("description='first") > places[-1]

    asyncio.run(main())


@pytest.mark.parametrize("blocking", [False, True], ids=["async", "sync"])
def test_a_validator_asks_the_conversation_that_waits_for_it(blocking: bool) -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a"), ChatContext())

        async def ask() -> None:
            await m.achat("Is it good?")

        check = after_blocking(lambda: m.chat("Is it good?")) if blocking else after(ask)
        first = await m.ainstruct("First.", requirements=check, strategy=ONCE)
        cycle_in(await failure(first))

    asyncio.run(main())


def test_two_validators_wait_for_each_others_calls() -> None:
    async def main() -> None:
        m = session()
        made: list[Thunk] = []
        for other in (1, 0):
            check = after(lambda other=other: made[other].avalue())  # type: ignore[misc]
            made.append(await m.ainstruct("Go.", requirements=check, strategy=ONCE))
        failures = [await failure(thunk) for thunk in made]
        assert any(cycle_in(each) for each in failures)

    asyncio.run(main())


class Reading:
    """A value whose own code waits for a call."""

    def __init__(self) -> None:
        self.of: list[Thunk] = []

    def __str__(self) -> str:
        return str(self.of[0])


def test_a_values_own_code_waits_for_the_call_that_it_is_a_part_of() -> None:
    async def main() -> None:
        m = session()
        value = Reading()
        first = await m.ainstruct("First.")
        second = await m.ainstruct("{{a}} {{b}}", user_variables={"a": first, "b": value})
        value.of.append(second)
        assert isinstance(await failure(second), DependencyCycleError)

    asyncio.run(main())


class Produced:
    """A backend whose answers are what a function pushes."""

    name = "produced"

    def __init__(self, produce: Callable[[Push], Awaitable[None]]) -> None:
        self.model_options = Options()
        self._produce = produce

    def check(self, options: Options) -> None:
        """Every option is fine."""

    def stream(self, request: Request) -> Observable[Chunk]:
        """The items that the function pushes."""
        return ChunkSource(self._produce)

    def close(self) -> None:
        """Nothing to let go of."""


class Gated(Produced):
    """A backend that says a word, and goes on when it is told to: by what `rest` then gives."""

    def __init__(self, rest: Callable[[], Awaitable[str]]) -> None:
        super().__init__(self._say)
        self.opened = threading.Event()
        self._rest = rest

    async def _say(self, push: Push) -> None:
        push(Chunk("one"))
        assert await asyncio.to_thread(self.opened.wait, PATIENCE)
        push(Chunk(await self._rest()))


def test_a_backend_waits_for_a_call_that_waits_for_its_answer() -> None:
    async def main() -> None:
        later: list[Thunk] = []
        backend = Gated(lambda: later[0].avalue())
        first = await MelleaSession(backend).ainstruct("First.")
        later.append(await session().ainstruct("{{it}}", user_variables={"it": first}))
        backend.opened.set()
        assert isinstance(await failure(first), DependencyCycleError)

    asyncio.run(main())


class Hall:
    """A component that contains itself."""

    def template(self) -> Template:
        """A mirror in a mirror."""
        return Template("{{ mirror }}", {"mirror": self})

    def parse(self, text: str) -> str:
        """The text as it is."""
        return text


def test_a_component_or_a_value_that_contains_itself_is_refused() -> None:
    m = session()
    with pytest.raises(InvalidInputError, match="Hall contains itself"):
        m.act(Hall())
    knot: list[Any] = []
    knot.append(knot)
    with pytest.raises(InvalidInputError, match="contains itself"):
        m.instruct("{{knot}}", user_variables={"knot": knot})


# What is no circle.


@pytest.mark.parametrize("loop", [True, False], ids=["on a loop", "on the delivery thread"])
def test_a_subscriber_may_wait_for_a_call_that_needs_its_source(loop: bool) -> None:
    async def main() -> None:
        begun, here = asyncio.Event(), asyncio.get_running_loop()
        backend = Gated(partial(asyncio.sleep, 0, " two"))
        first = await MelleaSession(backend).ainstruct("First.", model_options=STREAM)
        second = await session(lambda r: r.messages[-1].content).ainstruct(
            "{{it}}", user_variables={"it": first}
        )
        waits: list[asyncio.Task[str]] = []
        texts: list[str] = []

        def follow(_: Chunk) -> None:
            if begun.is_set():
                return
            if loop:
                waits.append(asyncio.ensure_future(second.avalue()))
                asyncio.get_running_loop().call_soon(begun.set)
            else:
                here.call_soon_threadsafe(begun.set)
                texts.append(str(second))

        await asyncio.to_thread(first.subscribe, follow) if not loop else first.subscribe(follow)
        await soon(begun.wait())
        backend.opened.set()
        if loop:
            texts.append(await soon(waits[0]))
        assert await until(lambda: texts) == ["one two"]

    asyncio.run(main())


def test_a_wait_that_was_given_up_is_none() -> None:
    async def main() -> None:
        m = session(["slow"], ["second"])
        slow = await MelleaSession(ScriptedBackend("a", delay=30)).ainstruct("Slow.")

        async def give_up() -> None:
            for read in (slow.avalue, lambda: piece_of(slow)):
                with suppress(TimeoutError):
                    await asyncio.wait_for(read(), 0.01)

        thunk = await m.ainstruct("Go.", requirements=after(give_up), strategy=ONCE)
        assert await soon(thunk.avalue()) == "slow"
        assert thunk._generation.waits_for == ()
        slow.cancel()

    asyncio.run(main())


async def take_it_back(thunk: Thunk) -> None:
    """Begin to wait by a callback of the end, and give it up."""
    dispatcher = loop_dispatcher(asyncio.get_running_loop())
    when_ended(thunk, dispatcher, lambda: None, lambda: None).dispose()


def test_a_callback_of_the_end_is_a_wait_until_it_is_called_or_disposed() -> None:
    async def main() -> None:
        slow = await MelleaSession(ScriptedBackend("a", delay=30)).ainstruct("Slow.")
        quick = await session("quick").ainstruct("Quick.")

        async def both() -> None:
            await take_it_back(slow)
            await be_called(quick)

        thunk = await session().ainstruct("Go.", requirements=after(both), strategy=ONCE)
        assert await soon(thunk.avalue()) == "a"
        assert thunk._generation.waits_for == ()
        slow.cancel()

    asyncio.run(main())


def give_up(thunk: Thunk) -> None:
    with pytest.raises(WaitTimeoutError):
        thunk.wait(0.001)


@pytest.mark.parametrize("wait", [give_up, lambda thunk: next(thunk.stream())])
def test_a_blocking_wait_that_is_over_is_none(wait: Callable[[Thunk], object]) -> None:
    async def main() -> None:
        over, goes_on = threading.Event(), threading.Event()
        calls: list[Thunk] = []

        async def help_out(push: Push) -> None:
            await asyncio.sleep(0.02)  # time enough for its reader to wait
            push(Chunk("one "))
            assert await asyncio.to_thread(over.wait, PATIENCE)
            waiting = asyncio.ensure_future(calls[0].avalue())
            await asyncio.sleep(0)
            goes_on.set()
            push(Chunk(await waiting))

        def wait_and_be_waited_for() -> None:
            wait(helper)
            over.set()
            assert goes_on.wait(PATIENCE)

        helper = await MelleaSession(Produced(help_out)).ainstruct("Help.", model_options=STREAM)
        calls.append(
            await session().ainstruct(
                "Go.", requirements=after_blocking(wait_and_be_waited_for), strategy=ONCE
            )
        )
        assert await soon(helper.avalue()) == "one a"

    asyncio.run(main())


def test_a_validator_may_wait_for_any_other_call() -> None:
    async def main() -> None:
        m = session()
        helper = await m.ainstruct("Help.")
        more = await m.ainstruct("{{it}}", user_variables={"it": helper})
        thunk = await m.ainstruct("Go.", requirements=after(more.avalue), strategy=ONCE)
        assert await soon(thunk.avalue()) == "a"

    asyncio.run(main())


def test_a_validator_may_look_at_its_own_call() -> None:
    async def main() -> None:
        seen: list[Any] = []

        async def look() -> None:
            seen.append((own[0].is_computed(), own[0].value))

        own = [await session().ainstruct("Go.", requirements=after(look), strategy=ONCE)]
        await soon(own[0].avalue())
        assert seen == [(False, None)]

    asyncio.run(main())
