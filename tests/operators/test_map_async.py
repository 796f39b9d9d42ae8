"""map_async and map_generate: pulling of inputs, order of results, ends and rates."""

from __future__ import annotations

import asyncio
import threading
from collections import namedtuple
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import msgspec
import pydantic
import pytest
import reactivex as rx
from reactivex import operators as ops

from mellea_rx import (
    GenerationCancelledError,
    GenerationFailedError,
    InvalidInputError,
    MelleaSession,
    ScriptedBackend,
    SessionClosedError,
    TemplateError,
    Usage,
)
from mellea_rx.backends import Pause
from mellea_rx.operators import (
    Started,
    fallback,
    map_async,
    map_generate,
    map_thunks,
    to_async_iterator,
    to_iterator,
)
from mellea_rx.operators.rate_limit import RateLimit
from mellea_rx.testing import run_virtual
from tests.core.hand import PATIENCE, STREAM, Hand, Recorder, soon, until


class Gate:
    """An async function whose calls end when the test says so."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.cancelled: list[int] = []
        self._open: dict[int, asyncio.Future[None]] = {}

    async def __call__(self, n: int) -> str:
        self.begun.append(n)
        self._open[n] = asyncio.get_running_loop().create_future()
        try:
            await self._open[n]
        except asyncio.CancelledError:
            self.cancelled.append(n)
            raise
        return f"<{n}>"

    async def let(self, n: int) -> None:
        """Let a call end."""
        await until(lambda: n in self._open)
        self._open[n].set_result(None)


class Numbers:
    """An iterable of one kind or another that records how far it was pulled."""

    def __init__(self, kind: str, count: int) -> None:
        self.count = count
        self.pulled = 0
        self.closed = False
        self.stream: Any = self._async() if kind == "async" else self._plain()

    def _plain(self) -> Iterator[int]:
        try:
            for n in range(self.count):
                self.pulled += 1
                yield n
        finally:
            self.closed = True

    async def _async(self) -> AsyncIterator[int]:
        try:
            for n in range(self.count):
                self.pulled += 1
                yield n
        finally:
            self.closed = True


KINDS = pytest.mark.parametrize("kind", ["plain", "async"])


@KINDS
def test_it_never_pulls_more_than_it_runs(kind: str) -> None:
    async def main() -> None:
        gate, numbers = Gate(), Numbers(kind, 10)
        recorder = Recorder()
        recorder.to(map_async(gate.__call__, max_concurrent=3)(numbers.stream))
        for n in range(10):
            await until(lambda at=n: len(gate.begun) == min(10, at + 3))
            assert numbers.pulled == min(10, n + 3)
            await gate.let(n)
            await until(lambda at=n: len(recorder.texts) == at + 1)
        await until(lambda: recorder.terminals)
        assert recorder.texts == [f"<{n}>" for n in range(10)]

    asyncio.run(main())


@pytest.mark.parametrize("ordered", [True, False])
def test_results_come_in_order_or_as_they_come(ordered: bool) -> None:
    async def main() -> None:
        gate, recorder = Gate(), Recorder()
        recorder.to(map_async(gate.__call__, max_concurrent=3, ordered=ordered)([0, 1, 2]))
        for n in (2, 0, 1):
            await gate.let(n)
            if not ordered:
                await until(lambda last=n: f"<{last}>" in recorder.texts)
        await until(lambda: recorder.terminals)
        assert recorder.texts == (["<0>", "<1>", "<2>"] if ordered else ["<2>", "<0>", "<1>"])

    asyncio.run(main())


def test_a_slow_subscriber_holds_it_up() -> None:
    async def main() -> None:
        from reactivex.scheduler import NewThreadScheduler

        numbers, go_on = Numbers("plain", 50), threading.Event()
        seen: list[int] = []

        def slow(n: int) -> None:
            seen.append(n)
            assert go_on.wait(PATIENCE)

        async def same(n: int) -> int:
            return n

        results = map_async(same, max_concurrent=2)(numbers.stream)
        results.subscribe(slow, scheduler=NewThreadScheduler())
        await until(lambda: seen and numbers.pulled == 3)  # one taken, two on their way
        assert numbers.pulled == 3
        go_on.set()
        await until(lambda: len(seen) == 50)
        assert seen == list(range(50))

    asyncio.run(main())


def test_an_observable_of_inputs_loses_none() -> None:
    async def main() -> None:
        async def double(n: int) -> int:
            return 2 * n

        results = rx.range(100).pipe(map_async(double, max_concurrent=2), ops.to_list())
        assert await soon(results) == list(range(0, 200, 2))

    asyncio.run(main())


def test_sync_functions_run_in_worker_threads_as_many_as_are_asked_for() -> None:
    together = threading.Barrier(12)

    def work(n: int) -> tuple[int, str]:
        together.wait(PATIENCE)
        return n, threading.current_thread().name

    done = list(to_iterator(map_async(work, max_concurrent=12)(range(12))))
    assert [n for n, _ in done] == list(range(12))
    assert all(name.startswith("mellea-rx-worker") for _, name in done)


def test_async_functions_run_on_the_subscribers_loop_or_on_one_of_their_own() -> None:
    async def where(_: int) -> str:
        return threading.current_thread().name

    async def main() -> None:
        assert (
            await soon(map_async(where, max_concurrent=1)([1])) == threading.current_thread().name
        )

    asyncio.run(main())
    assert list(to_iterator(map_async(where, max_concurrent=1)([1]))) == ["mellea-rx-subscription"]


def test_an_observable_that_a_function_returns_is_a_result() -> None:
    source = rx.of(1)
    assert list(to_iterator(map_async(lambda _: source, max_concurrent=1)([1]))) == [source]


@KINDS
def test_a_failure_ends_it_and_cancels_the_other_calls(kind: str) -> None:
    async def main() -> None:
        gate, numbers, recorder = Gate(), Numbers(kind, 100), Recorder()

        async def work(n: int) -> str:
            if n == 1:
                await until(lambda: 0 in gate.begun)
                raise ZeroDivisionError("oops")
            return await gate(n)

        recorder.to(map_async(work, max_concurrent=2)(numbers.stream))
        await until(lambda: recorder.terminals)
        assert isinstance(recorder.error, ZeroDivisionError)
        assert gate.cancelled == [0]
        assert numbers.closed

    asyncio.run(main())


@KINDS
def test_leaving_it_cancels_its_calls_and_closes_its_inputs(kind: str) -> None:
    async def main() -> None:
        gate, numbers = Gate(), Numbers(kind, 100)
        subscription = map_async(gate.__call__, max_concurrent=2)(numbers.stream).subscribe()
        await until(lambda: len(gate.begun) == 2)
        subscription.dispose()
        await until(lambda: sorted(gate.cancelled) == [0, 1] and numbers.closed)

    asyncio.run(main())


def test_inputs_that_raise_fail_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError("oops")

    recorder = Recorder()
    recorder.to(map_async(str, max_concurrent=1)(broken()))
    assert recorder.ended.wait(PATIENCE)
    assert recorder.texts == ["1"]
    assert isinstance(recorder.error, ZeroDivisionError)


def test_what_could_hang_a_future_does_not() -> None:
    def stops(_: int) -> None:
        raise StopIteration(5)

    async def cancels(_: int) -> None:
        raise asyncio.CancelledError

    for fn, kind in ((stops, RuntimeError), (cancels, GenerationCancelledError)):
        recorder = Recorder()
        recorder.to(map_async(fn, max_concurrent=2)([1, 2, 3]))
        assert recorder.ended.wait(PATIENCE)
        assert isinstance(recorder.error, kind)


@pytest.mark.parametrize("make", [map_async, map_generate, map_thunks])
def test_bad_input_is_refused_by_name(make: Any) -> None:
    for wrong in (0, -1, 1.5, True, None):
        with pytest.raises(InvalidInputError, match="max_concurrent"):
            make(str, max_concurrent=wrong)
    with pytest.raises(InvalidInputError, match=f"{make.__name__} takes"):
        make("text", max_concurrent=1)
    for wrong_inputs in ("text", 5, None):
        with pytest.raises(InvalidInputError, match=f"{make.__name__} takes a stream of inputs"):
            make(str, max_concurrent=1)(wrong_inputs)


# map_generate


@dataclass(frozen=True)
class City:
    name: str


def shouting() -> MelleaSession:
    return MelleaSession(ScriptedBackend(lambda r: r.messages[-1].content.upper()))


def test_rows_of_a_table_are_the_variables_of_a_template() -> None:
    async def main() -> None:
        rows = [{"city": "Oslo", "food": "fish"}, {"city": "Rome", "food": "pasta"}]
        done = map_generate(shouting(), "{{ food }} in {{ city }}", max_concurrent=2)(rows)
        items = [item async for item in to_async_iterator(done)]
        assert [(item.index, item.input, item.value, str(item)) for item in items] == [
            (0, rows[0], "FISH IN OSLO", "FISH IN OSLO"),
            (1, rows[1], "PASTA IN ROME", "PASTA IN ROME"),
        ]
        assert all(item.thunk.is_computed() for item in items)

    asyncio.run(main())


def test_any_other_input_is_the_variable_input() -> None:
    done = map_generate(shouting(), "in {{ input.name }}", max_concurrent=1)([City("Oslo")])
    assert [item.value for item in to_iterator(done)] == ["IN OSLO"]


@pytest.mark.parametrize("what", ["coroutine", "async", "thunk", "cold", "operators"])
def test_a_function_may_make_the_call(what: str) -> None:
    m = shouting()

    async def asynchronous(city: str) -> Any:
        return await m.ainstruct(f"in {city}")

    calls: dict[str, Any] = {
        "coroutine": lambda city: m.ainstruct(f"in {city}"),
        "async": asynchronous,
        "thunk": lambda city: m.instruct(f"in {city}"),
        "cold": lambda city: m.cold.instruct(f"in {city}"),
        "operators": lambda city: fallback(m.cold.instruct(f"in {city}")),
    }
    done = map_generate(calls[what], max_concurrent=2)(["Oslo", "Rome", "Bonn"])
    values = [item.value for item in to_iterator(done)]
    assert values == ["IN OSLO", "IN ROME", "IN BONN"]


def test_one_failed_call_is_an_item_and_the_others_go_on() -> None:
    def answer(request: Any) -> Any:
        city = request.messages[-1].content
        return ["half", GenerationFailedError("crashed")] if city == "b" else city

    m = MelleaSession(ScriptedBackend(answer))
    done = map_generate(lambda city: m.ainstruct(city), max_concurrent=1)(["a", "b", "c"])
    items = list(to_iterator(done))
    assert [str(item) for item in items] == ["a", "half", "c"]
    assert isinstance(items[1].error, GenerationFailedError)
    with pytest.raises(GenerationFailedError):
        _ = items[1].value
    assert items[0].error is None


def test_a_call_that_cannot_be_made_fails_the_stream() -> None:
    done = map_generate(shouting(), "in {{ city }}", max_concurrent=1)([{"town": "Oslo"}])
    with pytest.raises(TemplateError):
        list(to_iterator(done))
    m = shouting()
    m.close()
    with pytest.raises(SessionClosedError):
        list(to_iterator(map_generate(m, "Go.", max_concurrent=1)([1])))


@KINDS
def test_so_many_calls_run_and_so_many_inputs_are_pulled(kind: str) -> None:
    async def main() -> None:
        hand, numbers, recorder = Hand(6), Numbers(kind, 6), Recorder()
        m = MelleaSession(hand, model_options=STREAM)
        done = map_generate(m, "{{ input }}", max_concurrent=2, ordered=False)(numbers.stream)
        recorder.to(done)
        for n in range(6):
            await until(lambda at=n: len(hand.requests) == min(6, at + 2))
            assert numbers.pulled == min(6, n + 2)
            hand.answers[n].say(f"<{n}>")
            hand.answers[n].end()
            await until(lambda at=n: len(recorder.texts) == at + 1)
        await until(lambda: recorder.terminals)
        assert recorder.texts == [f"<{n}>" for n in range(6)]

    asyncio.run(main())


def test_leaving_a_stream_of_calls_ends_those_that_run() -> None:
    async def main() -> None:
        hand = Hand(3)
        m = MelleaSession(hand, model_options=STREAM)
        items = to_async_iterator(map_generate(m, "{{ input }}", max_concurrent=2)(range(3)))
        first = asyncio.ensure_future(soon(anext(items)))
        for answer in hand.answers[:2]:
            assert await asyncio.to_thread(answer.asked.wait, PATIENCE)
        hand.answers[0].say("a")
        hand.answers[0].end()
        assert str(await first) == "a"
        await items.aclose()
        for answer in hand.answers[1:]:
            if answer.asked.is_set():
                assert await asyncio.to_thread(answer.closed.wait, PATIENCE)

    asyncio.run(main())


@pytest.mark.parametrize("make", [map_thunks, partial(map_generate, emit="started")])
def test_thunks_are_given_out_while_they_run(make: Any) -> None:
    async def main() -> None:
        hand = Hand(2)
        m = MelleaSession(hand, model_options=STREAM)
        items = to_async_iterator(make(m, "{{ input }}", max_concurrent=1)(["a", "b"]))
        first = await soon(anext(items))
        assert (first.index, first.input, first.thunk.value) == (0, "a", None)
        hand.answers[0].say("text")
        assert await soon(first.thunk.astream()) == "text"
        second = asyncio.ensure_future(soon(anext(items)))
        await asyncio.sleep(0)
        assert not hand.answers[1].asked.is_set()
        hand.answers[0].end()
        assert (await second).input == "b"
        hand.answers[1].end()
        with pytest.raises(StopAsyncIteration):
            await soon(anext(items))

    asyncio.run(main())


@pytest.mark.parametrize(("ordered", "inputs"), [(True, ["a", "b"]), (False, ["b", "a"])])
def test_started_calls_keep_the_order_of_inputs_or_come_as_they_start(
    ordered: bool, inputs: list[str]
) -> None:
    m = shouting()

    async def main() -> None:
        b_is_made = asyncio.Event()

        async def call(text: str) -> Any:
            if text == "a":
                await b_is_made.wait()
            thunk = await m.ainstruct(text)
            if text == "b":
                b_is_made.set()
            return thunk

        started = map_generate(call, max_concurrent=2, ordered=ordered, emit="started")
        items = [each async for each in to_async_iterator(started(["a", "b"]))]
        assert [each.input for each in items] == inputs
        assert all(type(each) is Started for each in items)

    asyncio.run(main())


def test_an_unknown_time_to_emit_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidInputError, match="emit must be one of 'generated', 'started'"):
        map_generate(shouting(), "{{ input }}", emit="thunks")  # type: ignore[call-overload]


def test_plain_rx_goes_on_from_the_values() -> None:
    m = shouting()
    lengths = map_generate(m, "{{ input }}", max_concurrent=2)(["a", "bc"]).pipe(
        ops.map(lambda item: len(item.value or "")), ops.sum()
    )
    assert list(to_iterator(lengths)) == [3]


# Rates


def test_calls_a_second_start_evenly_spaced() -> None:
    limit = RateLimit(per_second=4, tokens_per_minute=None)
    now, starts = 100.0, []
    for _ in range(5):
        now += limit.wait(now)
        limit.start(now)
        starts.append(now)
    assert starts == [100.0, 100.25, 100.5, 100.75, 101.0]
    assert limit.wait(200.0) == 0.0
    limit.start(200.0)
    assert limit.wait(200.0) == 0.25, "what was not used is not saved up"


def test_tokens_a_minute_flow_back() -> None:
    limit = RateLimit(per_second=None, tokens_per_minute=600)
    assert limit.wait(0.0) == 0.0
    limit.start(0.0)
    limit.end(0.0, Usage(100, 500))
    assert limit.wait(0.0) == 60.0, "the next costs as much as the last"
    assert limit.wait(30.0) == 30.0
    assert limit.wait(60.0) == 0.0


def test_calls_that_run_count_as_the_average_does() -> None:
    limit = RateLimit(per_second=None, tokens_per_minute=600)
    limit.start(0.0)
    limit.end(0.0, Usage(0, 200))
    limit.start(0.0)
    assert limit.wait(0.0) == 0.0, "400 left, for the one that runs and another"
    limit.start(0.0)
    assert limit.wait(0.0) == 20.0, "600 wanted, 400 there, 10 a second come"


def test_a_call_larger_than_the_limit_still_starts() -> None:
    limit = RateLimit(per_second=None, tokens_per_minute=60)
    limit.start(0.0)
    limit.end(0.0, Usage(0, 120))
    assert limit.wait(0.0) == 120.0
    assert limit.wait(120.0) == 0.0


def test_a_server_that_tells_no_usage_is_not_limited_by_it() -> None:
    limit = RateLimit(per_second=None, tokens_per_minute=1)
    limit.start(0.0)
    limit.end(0.0, None)
    assert limit.wait(0.0) == 0.0


def starts_of(count: int, **rates: float) -> list[float]:
    """Return the virtual start times of calls that take 10 tokens and a second, eight at once."""

    async def main() -> list[float]:
        clock = asyncio.get_running_loop().time
        m = MelleaSession(ScriptedBackend([Pause(1), *"no answer"]))
        starts: list[float] = []

        async def call(_: int) -> Any:
            starts.append(round(clock(), 1))
            return await m.ainstruct("Go.")

        await map_generate(call, max_concurrent=8, **rates)(range(count))
        return starts

    return run_virtual(main())


def test_a_stream_of_calls_keeps_its_rate() -> None:
    assert starts_of(5, per_second=0.5) == [0, 2, 4, 6, 8]
    assert starts_of(5) == [0] * 5


def test_a_stream_of_calls_keeps_its_tokens() -> None:
    # The tokens of a call are unknown until the first has ended; then 80 tokens are overdrawn.
    assert starts_of(12, tokens_per_minute=60) == [*[0] * 8, 31, 41, 51, 61]


@pytest.mark.parametrize("make", [map_generate, map_thunks])
@pytest.mark.parametrize("name", ["per_second", "tokens_per_minute"])
@pytest.mark.parametrize("wrong", [0, -1, True, "5", float("nan"), float("inf")])
def test_rates_are_refused_by_name(make: Any, name: str, wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match=name):
        make(str, max_concurrent=1, **{name: wrong})


def test_a_template_needs_a_session() -> None:
    with pytest.raises(InvalidInputError, match="a template with a session only"):
        map_generate(str, "Go.", max_concurrent=1)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="a session and a template"):
        map_generate(shouting(), max_concurrent=1)  # type: ignore[call-overload]


@dataclass
class Town:
    """A row as a dataclass."""

    name: str
    people: int = 0


class Land(msgspec.Struct):
    """A row as a Struct."""

    name: str


class Sea(pydantic.BaseModel):
    """A row as a Pydantic model."""

    name: str


Row = namedtuple("Row", ["Index", "name", "people"])


@pytest.mark.parametrize(
    "row",
    [
        {"name": "Oslo", "people": 1},
        MappingProxyType({"name": "Oslo"}),
        Row(0, "Oslo", 1),
        Town("Oslo"),
        Land("Oslo"),
        Sea(name="Oslo"),
    ],
    ids=lambda row: type(row).__name__,
)
def test_the_fields_of_a_row_are_variables_and_so_is_the_row(row: Any) -> None:
    done = list(to_iterator(map_generate(shouting(), "in {{ name }}")([row])))
    assert [(each.value, each.input) for each in done] == [("IN OSLO", row)]
    key = "input['name']" if isinstance(row, Mapping) else "input.name"
    done = list(to_iterator(map_generate(shouting(), f"in {{{{ {key} }}}}")([row])))
    assert [each.value for each in done] == ["IN OSLO"]


def test_a_template_that_uses_nothing_of_a_row_is_asked_for_each_and_braces_are_told() -> None:
    done = list(to_iterator(map_generate(shouting(), "go")([1, 2])))
    assert [each.value for each in done] == ["GO", "GO"]
    with pytest.raises(TemplateError, match=r"\{city\} is plain text.*write \{\{city\}\}"):
        list(to_iterator(map_generate(shouting(), "in {city}")([{"city": "Oslo"}])))
    with pytest.raises(TemplateError, match=r"'town', which was not given .*'city'"):
        list(to_iterator(map_generate(shouting(), "in {{town}}")([{"city": "Oslo"}])))


@pytest.mark.parametrize("make", [map_generate, map_thunks])
def test_sixteen_at_once_by_default(make: Any) -> None:
    async def main() -> None:
        hand = Hand(40)
        items = to_async_iterator(make(MelleaSession(hand), "{{ input }}")(range(40)))
        reading = asyncio.ensure_future(_all(items))
        for answer in hand.answers[:16]:
            assert await asyncio.to_thread(answer.asked.wait, PATIENCE)
        await asyncio.sleep(0.05)
        assert not hand.answers[16].asked.is_set()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(main())


async def _all(items: Any) -> list[Any]:
    return [item async for item in items]
