"""Validators get an `Output`: a text with everything that came with it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import json
import pickle
import re
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx import (
    CallbackError,
    ChatContext,
    Chunk,
    FormatError,
    InvalidInputError,
    MelleaRxError,
    MelleaSession,
    ModelOption,
    Output,
    Requirement,
    ScriptedBackend,
    SimpleContext,
    ToolCall,
    Usage,
    ValidationResult,
    ValidatorError,
)
from mellea_rx.core.types.output import Origin
from mellea_rx.stdlib.components import Template, TextComponent
from mellea_rx.stdlib.requirements import check, req, simple_validate
from mellea_rx.stdlib.sampling import BestOfN, MajorityVoting, RejectionSampling
from tests.core.hand import Hand, soon, until, until_blocking

CALL = ToolCall("area", {"width": 2.0}, "c1")
WHOLE = Chunk("Hello", "hm", (CALL,), Usage(3, 5), "stop", "m")


def keeping(kept: list[Output]) -> Any:
    """A validation function that keeps what it gets."""

    def keep(output: Output) -> bool:
        kept.append(output)
        return True

    return simple_validate(keep)


# What a validator sees.


def test_a_validator_sees_everything_that_came_with_the_text() -> None:
    seen: list[Output] = []
    requirement = req("any", keeping(seen), decided_on="all")
    m = MelleaSession(ScriptedBackend([WHOLE]))
    thunk = m.instruct("Go.", requirements=[requirement])
    (output,) = seen
    assert (output, output.text, output.parsed) == ("Hello", "Hello", "Hello")
    assert (output.thinking, output.tool_calls) == ("hm", (CALL,))
    assert (output.usage, type(output.usage)) == (thunk.usage, Usage)
    assert (output.finish_reason, output.model, output.attempt) == ("stop", "scripted", 1)
    assert output.session is m


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_function_of_the_text_and_one_of_the_output_are_the_same(wrapped: bool) -> None:
    def of_text(text: str) -> ValidationResult:
        return ValidationResult(text.startswith("a"))

    async def of_output(output: Output) -> ValidationResult:
        return ValidationResult(output.text == "a")

    for function in (of_text, of_output):
        made: Any = simple_validate(function) if wrapped else function
        m = MelleaSession(ScriptedBackend("a"))
        assert m.instruct("Go.", requirements=[req("x", made)], require=True).value == "a"


def test_the_attempt_is_counted_from_1() -> None:
    seen: list[Output] = []

    def third(output: Output) -> bool:
        seen.append(output)
        return output.attempt == 3

    thunk = MelleaSession(ScriptedBackend("a", "b", "c")).instruct(
        "Go.", requirements=[req("x", simple_validate(third))], strategy=RejectionSampling(5)
    )
    assert thunk.value == "c"
    assert [output.attempt for output in seen] == [1, 2, 3]
    assert [attempt.number for attempt in thunk.sampling.attempts] == [1, 2, 3]


def test_in_a_chat_the_context_has_the_turns_before_the_call() -> None:
    seen: list[Output] = []
    m = MelleaSession(ScriptedBackend("Hello Ada.", "Ada."), ChatContext())
    m.chat("I am Ada.")
    before = m.ctx
    m.instruct("Who am I?", requirements=[req("x", keeping(seen))])
    assert seen[0].context is before
    assert [message.content for message in seen[0].context] == ["I am Ada.", "Hello Ada."]


def test_a_simple_context_has_no_turns() -> None:
    seen: list[Output] = []
    m = MelleaSession(ScriptedBackend("a"))
    for _ in range(2):
        m.instruct("Go.", requirements=[req("x", keeping(seen))])
    assert [output.context for output in seen] == [SimpleContext(), SimpleContext()]


def test_a_validator_may_make_calls_with_the_session() -> None:
    def asks(output: Output) -> bool:
        return output.session.instruct("Is it?").value == "yes"

    m = MelleaSession(ScriptedBackend("answer", "no", "again", "yes"))
    thunk = m.instruct("Go.", requirements=[req("x", simple_validate(asks))])
    assert (thunk.value, thunk.sampling.success) == ("again", True)


def test_in_a_chat_it_makes_calls_with_a_session_of_the_context() -> None:
    def asks(output: Output) -> bool:
        if own:
            return bool(output.session.instruct("Who am I?").value)
        beside = MelleaSession(output.session.backend, output.context)
        return beside.instruct("Who am I?").value == "Ada."

    backend = ScriptedBackend("Hello Ada.", "answer", "Ada.")
    m = MelleaSession(backend, ChatContext())
    m.chat("I am Ada.")
    for own in (False, True):
        judged = [req("x", simple_validate(asks))]
        if own:  # the chat's next turn waits for the one that is being judged
            with pytest.raises(ValidatorError, match="DependencyCycleError"):
                m.instruct("Go.", requirements=judged)
        else:
            assert m.instruct("Go.", requirements=judged, require=True).value == "answer"
    assert [message.content for message in backend.requests[2].messages] == [
        *("I am Ada.", "Hello Ada.", "Who am I?")
    ]


def test_scorers_and_keys_get_it_too() -> None:
    answers = [["a "] * count for count in (5, 9, 7)]
    by_tokens = BestOfN(3, scorer=lambda output: output.usage.completion_tokens)
    m = MelleaSession(ScriptedBackend(*answers))
    thunk = m.instruct("Go.", strategy=by_tokens)
    assert thunk.value == "a " * 9
    seen: set[tuple[int, bool]] = set()

    def key(output: Output) -> Any:
        seen.add((output.attempt, output.session is m))
        return output

    assert m.instruct("Go.", strategy=MajorityVoting(3, key=key)).value == "a " * 7
    assert seen == {(1, True), (2, True), (3, True)}


# The typed object.


@dataclass
class Person:
    name: str
    age: int


def test_similarities_get_it_too_and_each_answer_is_parsed_once() -> None:
    pairs: list[tuple[Any, Any]] = []

    def alike(one: Output, other: Output) -> bool:
        pairs.append((one.parsed, other.parsed))
        return one.parsed is other.parsed

    strategy = MajorityVoting(3, similarity=alike, max_concurrent=1)
    backend = ScriptedBackend("[1]", "[2]", "[3]")
    MelleaSession(backend).instruct("Go.", format=list[int], strategy=strategy)
    objects = {id(each) for pair in pairs for each in pair}
    assert len(pairs) == len(objects) == 3


def test_with_a_format_it_has_the_object() -> None:
    grown = req("grown up", simple_validate(lambda output: output.parsed.age > 17))
    young, old = '{"name": "Ada", "age": 3}', '{"name": "Ada", "age": 36}'
    m = MelleaSession(ScriptedBackend([young], [old]))
    thunk = m.instruct("Who?", format=Person, requirements=[grown])
    assert thunk.parsed == Person("Ada", 36)
    assert [attempt.success for attempt in thunk.sampling.attempts] == [False, True]


def test_an_answer_that_cannot_be_parsed_does_not_meet_what_reads_its_object() -> None:
    grown = req("grown up", simple_validate(lambda output: output.parsed.age > 17))
    m = MelleaSession(ScriptedBackend(["no JSON"], ['{"name": "Ada", "age": 36}']))
    thunk = m.instruct("Who?", format=Person, requirements=[grown])
    assert thunk.parsed == Person("Ada", 36)
    first = thunk.sampling.attempts[0]
    assert len(first.reasons) == 2
    assert all("JSON" in reason for reason in first.reasons)


class Numbers(TextComponent):
    """A component that parses a list of numbers."""

    def template(self) -> Template:
        return Template("Count.")

    def parse(self, text: str) -> Any:
        return [int(word) for word in text.split()]


def test_with_a_component_it_has_what_the_component_parses() -> None:
    three = req("three", simple_validate(lambda output: len(output.parsed) == 3))
    m = MelleaSession(ScriptedBackend("one two", "1 2", "1 2 3"))
    thunk = m.act(Numbers(), requirements=[three], strategy=RejectionSampling(3))
    assert thunk.parsed == [1, 2, 3]
    assert "cannot parse" in thunk.sampling.attempts[0].reasons[0]


def test_a_format_error_of_another_call_is_an_exception_of_the_function() -> None:
    def asks(output: Output) -> bool:
        return bool(output.session.instruct("Count.", format=int).parsed)

    m = MelleaSession(ScriptedBackend(["fine"], ["none"]))
    with pytest.raises(ValidatorError, match="raised FormatError"):
        m.instruct("Go.", requirements=[req("x", simple_validate(asks))])


def test_its_parser_is_called_once_and_its_error_raised_each_time() -> None:
    calls: list[str] = []

    def parse(text: str) -> Any:
        calls.append(text)
        return int(text)

    good, bad = (Output(text, origin=Origin(parse)) for text in ("4", "four"))
    assert (good.parsed, good.parsed, good.parse_error, calls) == (4, 4, None, ["4"])
    for _ in range(2):
        with pytest.raises(CallbackError, match="cannot parse this answer: ValueError"):
            bad.parsed  # noqa: B018
    assert calls == ["4", "four"]
    assert isinstance(bad.parse_error, CallbackError)


# `validate`.


def test_validate_gives_a_thunks_output_with_all_of_it() -> None:
    seen: list[Output] = []
    m = MelleaSession(ScriptedBackend([WHOLE]), ChatContext())
    thunk = m.instruct("Go.")
    assert m.validate([req("x", keeping(seen))], output=thunk)
    assert m.validate([req("x", keeping(seen))])
    for output in seen:
        assert (output.tool_calls, output.thinking, output.usage) == ((CALL,), "hm", thunk.usage)
        assert (output.context, output.session, output.attempt) == (m.ctx, m, 1)


def test_validate_gives_the_thunks_own_object() -> None:
    seen: list[Output] = []
    m = MelleaSession(ScriptedBackend(['{"name": "Ada", "age": 36}']))
    thunk = m.instruct("Who?", format=Person)
    m.validate([req("x", keeping(seen))], output=thunk)
    assert seen[0].parsed is thunk.parsed


def test_validate_gives_a_text_as_text_only() -> None:
    seen: list[Output] = []
    m = MelleaSession(ScriptedBackend())
    m.validate([req("x", keeping(seen))], output="some text")
    (output,) = seen
    assert (output, output.parsed, output.tool_calls, output.usage) == (
        *("some text", "some text"),
        *((), None),
    )
    assert output.session is m


def test_validate_of_an_output_within_a_validator_keeps_it_whole() -> None:
    seen: list[Output] = []

    def again(output: Output) -> bool:
        (result,) = output.session.validate([req("x", keeping(seen))], output=output)
        return bool(result)

    m = MelleaSession(ScriptedBackend([WHOLE]))
    m.instruct("Go.", requirements=[req("y", simple_validate(again), decided_on="all")])
    assert seen[0].tool_calls == (CALL,)


# A text everywhere.


@given(st.text())
def test_it_is_its_text_for_everything_that_takes_a_text(text: str) -> None:
    output = Output(text)
    assert (output == text, hash(output) == hash(text), len(output)) == (True, True, len(text))
    assert {text: 1}[output] == 1
    assert json.loads(json.dumps(output)) == text
    assert re.escape(output) == re.escape(text)
    assert f"{output}" == str(output) == output + "" == text
    assert {type(f"{output}"), type(str(output)), type(output + ""), type(output.text)} == {str}
    assert repr(output) == repr(text)


def test_it_is_frozen() -> None:
    output = Output("a")
    for name in ("text", "tool_calls", "attempt", "session", "other"):
        with pytest.raises(AttributeError):
            setattr(output, name, 1)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_has_the_text_and_the_plain_data(protocol: int) -> None:
    seen: list[Output] = []
    m = MelleaSession(ScriptedBackend(['{"name": "Ada", "age": 36}']), ChatContext())
    m.instruct("Who?", format=Person, requirements=[req("x", keeping(seen))])
    restored = pickle.loads(pickle.dumps(seen[0], protocol))
    assert (type(restored), restored, restored.usage) == (Output, seen[0], seen[0].usage)
    assert (restored.session, restored.context, restored.parsed) == (None, None, restored.text)
    whole = pickle.loads(pickle.dumps(Output(WHOLE, attempt=3), protocol))
    assert (whole.tool_calls, whole.attempt, whole.model) == ((CALL,), 3, "m")


def test_a_copy_is_the_same_output() -> None:
    output = Output(WHOLE)
    assert copy.copy(output) is output
    assert copy.deepcopy([output])[0] is output


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: Output(5), "answer must be a Chunk or a str, not int"),  # type: ignore[arg-type]
        (lambda: Output(None), "answer must be"),  # type: ignore[arg-type]
        (lambda: Output("a", attempt=0), "attempt must be an int, 1 or more"),
    ],
)
def test_what_is_no_answer_is_refused(wrong: Any, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        wrong()


# Nothing is kept alive.


def test_a_session_that_is_dropped_is_gone_while_its_call_runs() -> None:
    seen: list[Output] = []

    async def main() -> None:
        backend = Hand()
        m = MelleaSession(backend)
        gone = weakref.ref(m)
        thunk = await m.ainstruct("Go.", requirements=[req("x", keeping(seen))])
        del m
        assert gone() is None
        backend.answers[0].say("a").end()
        assert await soon(thunk.avalue()) == "a"
        assert seen[0].session is None

    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()


def test_dropping_the_last_reference_to_a_thunk_ends_its_request() -> None:
    async def main() -> None:
        backend = Hand()
        m = MelleaSession(backend)
        thunk = await m.ainstruct("Go.", requirements=[req("x", keeping([]))])
        await asyncio.to_thread(backend.answers[0].asked.wait, 30)
        del thunk
        await until(backend.answers[0].closed.is_set)

    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()


def test_dropping_it_while_a_validator_holds_its_output_ends_its_request_too() -> None:
    kept: list[Output] = []
    go_on = threading.Event()

    async def main() -> None:
        backend = Hand(2)

        def blocks(output: Output) -> bool:
            kept.append(output)
            return go_on.wait(30)

        m = MelleaSession(backend, ChatContext())
        first = await m.ainstruct("Go.", requirements=[req("x", simple_validate(blocks))])
        backend.answers[0].say("a").end()
        await until(lambda: bool(kept))
        del first
        m.reset()
        await until(lambda: not m._calls())
        go_on.set()

    asyncio.run(main())


def explode(output: Output) -> bool:
    raise ZeroDivisionError(output)


async def explode_async(output: Output) -> bool:
    raise ZeroDivisionError(output)


def read(output: Output) -> bool:
    return bool(output.parsed)


async def read_async(output: Output) -> bool:
    return bool(output.parsed)


@pytest.mark.parametrize("function", [explode, explode_async, read, read_async])
def test_a_function_that_raises_keeps_no_thunk_alive(function: Any) -> None:
    async def main() -> weakref.ref[Any]:
        m = MelleaSession(ScriptedBackend("Hello."), ChatContext())
        before = await m.achat("Hello.")
        gone = weakref.ref(before)
        judged = [req("x", simple_validate(function))]
        thunk = await m.ainstruct("Go.", format=Person, requirements=judged)
        with contextlib.suppress(MelleaRxError):
            await thunk.avalue()
        assert thunk.error is not None
        with contextlib.suppress(ValidatorError):
            await m.avalidate(judged, output=before)
        return gone

    gc.disable()
    try:
        gone = asyncio.run(main())
        until_blocking(lambda: gone() is None)
    finally:
        gc.enable()


@pytest.mark.parametrize("context", [SimpleContext, ChatContext])
def test_calls_whose_validators_raise_keep_no_call_before_them_alive(context: Any) -> None:
    """The frames of the exception refer to the output, and that to the context."""

    class Mark:
        """What each turn's component has, to see when it is gone."""

    class Asks(TextComponent):
        def __init__(self, mark: Mark) -> None:
            self.mark = mark

        def template(self) -> Template:
            return Template("Go.")

    marks: list[weakref.ref[Mark]] = []
    m = MelleaSession(ScriptedBackend("a"), context())
    for _ in range(3):
        mark = Mark()
        marks.append(weakref.ref(mark))
        with pytest.raises(ValidatorError):
            m.act(Asks(mark), requirements=[req("x", simple_validate(explode))])
        del mark
    if context is ChatContext:
        m.reset()
    else:  # the last one is the context's latest turn
        assert marks.pop()() is not None
    until_blocking(lambda: gc.collect() >= 0 and not [each for each in marks if each()])


def test_reasons_are_plain_text() -> None:
    def told(output: Output) -> Any:
        return False, output

    def result(output: Output) -> ValidationResult:
        return ValidationResult(False, reason=output)

    checks = [req("x", simple_validate(told)), req("y", result)]
    thunk = MelleaSession(ScriptedBackend("bad")).instruct("Go.", requirements=checks)
    results = [result for each in thunk.sampling.attempts for _, result in each.validations]
    assert [type(each.reason) for each in results] == [str] * 4


def test_several_validators_may_read_the_object_at_once() -> None:
    together = threading.Barrier(4)

    def reads(output: Output) -> bool:
        together.wait(30)
        return bool(output.parsed.age == 36)

    checks = [check(str(n), simple_validate(reads)) for n in range(4)]
    m = MelleaSession(ScriptedBackend(['{"name": "Ada", "age": 36}']))
    thunk = m.instruct("Who?", format=Person, requirements=checks, require=True)
    assert thunk.parsed == Person("Ada", 36)


def test_a_requirement_of_ones_own_may_be_tried_by_hand() -> None:
    asks = Requirement("calls a tool", lambda o: ValidationResult(bool(o.tool_calls)))
    assert asks.validate(Output(WHOLE))
    assert not asks.validate(Output("Hello"))


def test_the_format_of_a_call_that_streams_is_read_as_before() -> None:
    m = MelleaSession(ScriptedBackend(["no"]))
    with pytest.raises(FormatError):
        m.instruct("Go.", format=Person, model_options={ModelOption.STREAM: True}).wait()
