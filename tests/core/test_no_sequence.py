"""A thunk and other Observables of ours are no sequences and no texts, and say what to write."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncIterable, Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops
from starlette.responses import JSONResponse, StreamingResponse

import mellea_rx.operators as rxo
from mellea_rx import MelleaSession, ModelOption, ModelOutputThunk, ScriptedBackend
from tests.core.hand import Recorder, soon, until


def session(*answers: Any) -> MelleaSession:
    return MelleaSession(ScriptedBackend(*(answers or ("a b",))))


def running() -> ModelOutputThunk[str]:
    return asyncio.run(session().ainstruct("Go."))


def computed() -> ModelOutputThunk[str]:
    return session().instruct("Go.")


def unpacked(source: Any) -> None:
    print(*source)


ITERATED: dict[str, Callable[[Any], object]] = {
    "in": lambda source: "yes" in source,
    "not in": lambda source: "yes" not in source,
    "for": lambda source: [each for each in source],  # noqa: C416
    "list": list,
    "tuple": tuple,
    "set": set,
    "iter": iter,
    "print(*)": unpacked,
    "sum": sum,
    "max": max,
    "sorted": sorted,
    "enumerate": enumerate,
    "zip": lambda source: list(zip(source, source, strict=True)),
    "map": lambda source: list(map(str, source)),
    "unpacking": lambda source: (lambda a, *b: b)(*source),
    "extend": lambda source: [].extend(source),
    "dict": dict,
}


@pytest.mark.parametrize("made", [running, computed])
@pytest.mark.parametrize("way", ITERATED)
def test_a_thunk_is_no_sequence(made: Callable[[], Any], way: str) -> None:
    with pytest.raises(TypeError) as caught:
        ITERATED[way](made())
    for hint in ("astream()", "stream()", "str(thunk)", "to_iterator"):
        assert hint in str(caught.value)


THUNK = ["in", "list", "for"]


def test_joining_a_thunk_is_refused_in_pythons_words() -> None:
    with pytest.raises(TypeError, match="can only join an iterable"):
        ", ".join(computed())


OPERATORS: dict[str, Callable[[Observable[Any]], Any]] = {
    "accumulate": lambda s: s.pipe(rxo.accumulate()),
    "apply_retractions": lambda s: s.pipe(rxo.apply_retractions()),
    "as_completed": lambda s: rxo.as_completed(s),
    "by_line": lambda s: s.pipe(rxo.by_line()),
    "by_paragraph": lambda s: s.pipe(rxo.by_paragraph()),
    "by_sentence": lambda s: s.pipe(rxo.by_sentence()),
    "by_unit": lambda s: s.pipe(rxo.by_unit("word")),
    "by_word": lambda s: s.pipe(rxo.by_word()),
    "chunk_timeout": lambda s: s.pipe(rxo.chunk_timeout(idle=1)),
    "coalesce": lambda s: s.pipe(rxo.coalesce(0.1)),
    "combine_latest": lambda s: rxo.combine_latest(s),
    "concat": lambda s: rxo.concat(s, s),
    "fallback": lambda s: rxo.fallback(s),
    "from_async_iterable": lambda s: rxo.from_async_iterable(_nothing()),
    "gather": lambda s: rxo.gather(s),
    "hedge": lambda s: rxo.hedge(s, after=1),
    "map_async": lambda s: rxo.map_async(str, max_concurrent=1)([1]),
    "map_generate": lambda s: rxo.map_generate(session(), "{{it}}")([1]),
    "map_thunks": lambda s: rxo.map_thunks(session(), "{{it}}")([1]),
    "merge": lambda s: rxo.merge(s, s),
    "observe": lambda s: s.pipe(rxo.observe(print)),
    "partial_object": lambda s: s.pipe(rxo.partial_object(dict[str, int])),
    "race": lambda s: rxo.race(s),
    "retry": lambda s: s.pipe(rxo.retry()),
    "smooth": lambda s: s.pipe(rxo.smooth(100)),
    "split_thinking": lambda s: s.pipe(rxo.split_thinking()),
    "tee": lambda s: rxo.tee(2)(s)[1],
    "text": lambda s: s.pipe(rxo.text()),
    "to_thunk": rxo.to_thunk,
    "zip": lambda s: rxo.zip(s),
}


async def _nothing() -> Any:
    for piece in ():
        yield piece


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("way", THUNK)
@pytest.mark.filterwarnings("ignore:coroutine")
def test_what_an_operator_returns_is_no_sequence(name: str, way: str) -> None:
    with pytest.raises(TypeError, match="to_iterator"):
        ITERATED[way](OPERATORS[name](rx.of("a", "b")))


def test_every_operator_is_tried() -> None:
    functions = {name for name in rxo.__all__ if name[0].islower()}
    others = {"from_future", "splitter", "to_async_iterator", "to_iterator"}
    assert functions - others == set(OPERATORS)


MORE: dict[str, Callable[[ModelOutputThunk[str]], Any]] = {
    "pipe": lambda thunk: thunk.pipe(ops.map(str)),
    "two operators": lambda thunk: thunk.pipe(ops.map(str), ops.filter(bool)),
    "a method": lambda thunk: thunk.map(str),
    "a method of a method": lambda thunk: thunk.map(str).filter(bool),
    "merge": lambda thunk: thunk.merge(thunk),
    "a slice": lambda thunk: thunk[0:1],
    "an item": lambda thunk: thunk[0],
    "a sum": lambda thunk: thunk + thunk,
    "events": lambda thunk: thunk.events,
    "cold": lambda _: session().cold.instruct("Go."),
}


@pytest.mark.parametrize("name", MORE)
@pytest.mark.parametrize("way", THUNK)
def test_what_comes_of_a_thunk_is_no_sequence(name: str, way: str) -> None:
    with pytest.raises(TypeError, match="to_iterator"):
        ITERATED[way](MORE[name](computed()))


def test_slices_and_sums_stay_rx() -> None:
    async def main() -> None:
        m = session(["a", "b", "c"], "d")
        options = {ModelOption.STREAM: True}
        first = await m.ainstruct("1", model_options=options)
        second = await m.ainstruct("2", model_options=options)
        both, one, rest = Recorder(), Recorder(), Recorder()
        both.to(first + second)
        one.to(first[0])
        rest.to(first[1:])
        await until(lambda: both.terminals and one.terminals and rest.terminals)
        assert both.text == "abcd"
        assert one.text + rest.text == "abc"

    asyncio.run(main())


@pytest.mark.parametrize("made", [running, computed])
def test_a_thunk_and_a_text_are_not_added(made: Callable[[], Any]) -> None:
    for add in (lambda t: t + "!", lambda t: "!" + t, lambda t: t + 1):
        with pytest.raises(TypeError, match=r"cannot be added: .*str\(thunk\)"):
            add(made())
    thunk = made()
    with pytest.raises(TypeError, match="cannot be added"):
        thunk += "!"


def test_a_thunk_is_equal_to_itself_and_warns_of_a_text() -> None:
    thunk = computed()
    assert thunk == thunk
    assert thunk != computed()
    assert thunk in [1, thunk]
    assert {thunk: 1}[thunk] == 1
    with pytest.warns(UserWarning, match=r"is never equal to a str.*str\(thunk\)") as told:
        assert (thunk == "a b", thunk != "a b") == (False, True)
    assert [warning.filename for warning in told] == [__file__] * 2


def test_the_warning_appears_once_at_a_place() -> None:
    thunk = computed()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(3):
            assert thunk != "a b"
    assert len(told) == 1


def test_async_for_gives_the_pieces() -> None:
    async def main() -> None:
        m = session(["a", "b"])
        thunk = await m.ainstruct("Go.", model_options={ModelOption.STREAM: True})
        assert isinstance(thunk, AsyncIterable)
        assert "".join([piece async for piece in thunk]) == "ab"
        assert [piece async for piece in thunk] == ["ab"]

    asyncio.run(soon(main()))


def test_what_asks_for_a_text_gets_the_text() -> None:
    thunk = computed()
    assert f"{thunk}" == "a b"
    assert f"{thunk:>5}" == "  a b"
    assert f"{thunk!s}" == "a b"


def test_what_it_has_not_is_refused_as_of_any_object() -> None:
    thunk: Any = computed()
    for wrong in (len, json.dumps, reversed, lambda t: t * 2, JSONResponse):
        with pytest.raises(TypeError):
            wrong(thunk)
    assert thunk  # as any object


def test_a_web_handler_that_returns_a_thunk_streams_it() -> None:
    async def main() -> None:
        sent = []

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))

        async def receive() -> Any:
            return await asyncio.Event().wait()

        response = StreamingResponse(await session().ainstruct("Go."))
        scope = {"type": "http", "asgi": {"spec_version": "2.4"}, "method": "GET", "headers": []}
        await soon(response(scope, receive, send))
        assert b"".join(sent) == b"a b"

    asyncio.run(main())
