"""Streaming validation by units other than words, sentences, lines and paragraphs."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as ops

from mellea_rx import InvalidInputError, MelleaSession, ScriptedBackend, ValidatorError
from mellea_rx.backends import Capabilities
from mellea_rx.events import Validated
from mellea_rx.stdlib.requirements import (
    Requirement,
    by_json_member,
    by_regex,
    check,
    req,
    simple_validate,
)
from mellea_rx.stdlib.sampling import BestOfN, RejectionSampling
from tests.core.hand import STREAM, Hand, soon, until

CONTINUE = RejectionSampling(loop_budget=3, repair="continue")


class Semicolons:
    """A splitter as users write it: a unit ends with each semicolon."""

    def __init__(self) -> None:
        self.rest = ""

    def feed(self, text: str) -> Iterator[str]:
        *units, self.rest = (self.rest + text).split(";")
        for unit in units:
            yield unit + ";"

    def flush(self) -> list[str]:
        return [self.rest]


UNITS: dict[str, Any] = {
    "by_regex": by_regex(";"),
    "a class": Semicolons,
    "a function": lambda: Semicolons(),
}


def no(word: str, unit: Any) -> Requirement:
    """A requirement that fails in the first unit that has `word`."""
    return check(f"no {word}", stream_validate=lambda each: word not in each, unit=unit)


@pytest.mark.parametrize("unit", UNITS)
def test_the_first_unit_that_fails_ends_the_request_and_the_reason_counts_units(unit: str) -> None:
    async def main() -> None:
        backend = ScriptedBackend(
            ["one;", "two;", "bad;"] + ["more;"] * 10_000, "good;", delay=0.001
        )
        thunk = await MelleaSession(backend).ainstruct("Go.", requirements=[no("bad", UNITS[unit])])
        assert await soon(thunk.avalue()) == "good;"
        await until(lambda: backend.running == 0)
        first, second = thunk.sampling.attempts
        assert len(first.text) < 2_000
        assert first.reasons == ("no bad: unit 3 ('bad;') does not",)
        assert first.kept == "one;two;"
        assert second.success

    asyncio.run(main())


@pytest.mark.parametrize("unit", UNITS)
@given(st.lists(st.sampled_from(["a;", "b", ";", "bad", "c;d", "\n"]), max_size=12))
def test_own_units_are_judged_as_those_of_the_same_pattern(unit: str, chunks: list[str]) -> None:
    thunk = MelleaSession(ScriptedBackend(chunks)).instruct(
        "Go.", requirements=[no("bad", UNITS[unit])], strategy=RejectionSampling(1)
    )
    events = thunk.events.pipe(ops.to_list()).run()
    judged = [each.unit for each in events if isinstance(each, Validated) and each.unit]
    units = [each for each in re.split("(?<=;)", "".join(chunks)) if each]
    good = list(takewhile(lambda each: "bad" not in each, units))
    assert judged == units[: len(good) + 1]
    assert thunk.sampling.success is (good == units)


def test_members_of_json_are_judged_while_they_come() -> None:
    seen: list[str] = []

    def small(member: str) -> tuple[bool, str]:
        seen.append(member)
        return "9" not in member, "too large"

    backend = ScriptedBackend(['{"a": 1, "b"', ': 9, "c', '": 3}'], '{"a": 1}')
    small_ones = check("small", stream_validate=small, unit=by_json_member())
    thunk = MelleaSession(backend).instruct("Go.", requirements=[small_ones])
    assert thunk.value == '{"a": 1}'
    assert seen == ['{"a": 1, ', '"b": 9, ', '{"a": 1}']
    assert thunk.sampling.attempts[0].reasons == (
        """small: JSON member 2 ('"b": 9,'): too large""",
    )


@pytest.mark.parametrize("whole", [False, True])
def test_an_answer_that_goes_on_is_split_as_a_whole(whole: bool) -> None:
    """The new text alone is no JSON: the splitter has had the text before."""
    seen: list[str] = []

    class Judge:
        """It has a state, so that it gets the members before once more."""

        def __call__(self, member: str) -> bool:
            seen.append(member)
            return "9" not in member

    judge: Any = Judge() if whole else lambda member: seen.append(member) or "9" not in member
    backend = ScriptedBackend('{"a": 1, "b": 2, "c": 9, "d": 4}', '"c": 3, "d": 4}')
    thunk = MelleaSession(backend).instruct(
        "Go.",
        requirements=[check("small", stream_validate=judge, unit=by_json_member())],
        strategy=CONTINUE,
    )
    members = ['{"a": 1, ', '"b": 2, ', '"c": 9, ', '"c": 3, ', '"d": 4}']
    before = members[:2] if whole else []
    assert seen == [*members[:3], *before, *members[3:]]
    assert thunk.value == '{"a": 1, "b": 2, "c": 3, "d": 4}'


def test_readers_get_units_of_an_own_splitter_as_soon_as_they_are_validated() -> None:
    async def main() -> None:
        hand = Hand()
        hand.capabilities = Capabilities(prefill=True)  # type: ignore[attr-defined]
        m = MelleaSession(hand)
        thunk = await m.ainstruct(
            "Go.", requirements=[no("bad", Semicolons)], strategy=CONTINUE, model_options=STREAM
        )
        await asyncio.to_thread(hand.answers[0].asked.wait, 5)
        hand.answers[0].say("one;", "two;thr")
        await until(lambda: thunk.text == "one;two;")
        hand.answers[0].say("ee;")
        hand.answers[0].end()
        assert await soon(thunk.avalue()) == "one;two;three;"

    asyncio.run(main())


def test_each_attempt_gets_a_splitter_of_its_own() -> None:
    made: list[Semicolons] = []

    def make() -> Semicolons:
        made.append(Semicolons())
        return made[-1]

    short = no("bad", make)
    assert len(made) == 1  # the check of the factory
    m = MelleaSession(ScriptedBackend("a;b", "bad;c", "d;e"))
    thunk = m.instruct("Go.", requirements=[short], strategy=BestOfN(3))
    assert len(made) == len(set(map(id, made))) == 4
    assert sorted(each.success for each in thunk.sampling.attempts) == [False, True, True]


def test_an_own_splitter_that_blocks_holds_up_no_other_call_and_gets_the_text_joined() -> None:
    pieces: list[str] = []
    threads: set[str] = set()
    goes_on = threading.Event()

    class Slow(Semicolons):
        def feed(self, text: str) -> Iterator[str]:
            pieces.append(text)
            threads.add(threading.current_thread().name)
            assert goes_on.wait(10)
            return super().feed(text)

    async def main() -> None:
        hand = Hand()
        m = MelleaSession(hand)
        slow = await m.ainstruct("Go.", requirements=[no("bad", Slow)], model_options=STREAM)
        await asyncio.to_thread(hand.answers[0].asked.wait, 5)
        hand.answers[0].say("a;")
        await until(lambda: pieces == ["a;"])
        hand.answers[0].say("b", ";", "c")
        hand.answers[0].end()
        other = await MelleaSession(ScriptedBackend("quick")).ainstruct("Go.")
        assert await soon(other.avalue()) == "quick"
        assert not slow.is_computed()
        goes_on.set()
        assert await soon(slow.avalue()) == "a;b;c"

    asyncio.run(main())
    assert pieces == ["a;", "b;c"]
    assert all(name.startswith("mellea-rx-worker") for name in threads)


def test_a_call_whose_splitter_hangs_can_be_cancelled() -> None:
    goes_on, began = threading.Event(), threading.Event()

    class Hangs(Semicolons):
        def feed(self, text: str) -> Iterator[str]:
            began.set()
            goes_on.wait(30)
            return super().feed(text)

    async def main() -> None:
        backend = ScriptedBackend("a;b;")
        thunk = await MelleaSession(backend).ainstruct("Go.", requirements=[no("bad", Hangs)])
        await asyncio.to_thread(began.wait, 10)
        begun = time.monotonic()
        thunk.cancel()
        with pytest.raises(Exception, match="cancel"):
            await soon(thunk.avalue())
        assert time.monotonic() - begun < 5
        goes_on.set()

    asyncio.run(main())


class Plays(Semicolons):
    """A splitter that returns, or raises, what it is told to."""

    def __init__(self, returned: Any) -> None:
        super().__init__()
        self.returned = returned

    def feed(self, text: str) -> Any:
        if isinstance(self.returned, BaseException):
            raise self.returned
        return self.returned


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (["One."], r"at character 4, '; two;' is in no unit, and the text has ended"),
        (["One.;", "two;"], r"at character 5, expected ' two;', not 'two;'"),
        (["one"], r"at character 0, expected 'One\.; two;', not 'one'"),
        (["One.; two; three"], r"at character 10, expected no more text yet, not ' three'"),
        ("One.; two;", "feed returned str, and not an iterable of str"),
        (None, "feed returned NoneType, and not an iterable of str"),
        ([b"One."], "feed returned an iterable of bytes, and not of str"),
        (ValueError("it broke"), "raised ValueError: it broke"),
        (StopIteration("no"), "raised RuntimeError: the function raised StopIteration"),
        (SystemExit("no"), "raised RuntimeError: the function raised SystemExit"),
    ],
)
def test_a_splitter_that_is_wrong_is_said_with_requirement_attempt_and_place(
    returned: Any, words: str
) -> None:
    def make() -> Plays:
        return Plays(returned)

    m = MelleaSession(ScriptedBackend(["One.; two;"]))
    said = "^requirement 'no bad' in attempt 1: the splitter 'make'.*"
    with pytest.raises(ValidatorError, match=said + words) as caught:
        m.instruct("Go.", requirements=[no("bad", make)])
    assert caught.value.text == "One.; two;"
    assert caught.value.__cause__ is not None


def test_a_wrong_splitter_ends_the_request_at_once() -> None:
    async def main() -> None:
        backend = ScriptedBackend(["Two."] + ["more"] * 10_000, delay=0.001)
        wrong = no("bad", lambda: Plays(["Three"]))
        thunk = await MelleaSession(backend).ainstruct("Go.", requirements=[wrong])
        with pytest.raises(ValidatorError, match="at character 1, expected 'wo"):
            await soon(thunk.avalue())
        await until(lambda: backend.running == 0)
        assert len(thunk.text) < 4_000

    asyncio.run(main())


@pytest.mark.parametrize(
    ("later", "words"),
    [
        (lambda: None, "made no splitter, but NoneType"),
        (lambda: 1 // 0, "the splitter 'make' raised ZeroDivisionError: "),
    ],
)
def test_a_factory_that_fails_later_is_said_with_its_requirement(later: Any, words: str) -> None:
    factories = [Semicolons, later]

    def make() -> Any:
        return factories.pop(0)()

    m = MelleaSession(ScriptedBackend("a;"))
    with pytest.raises(ValidatorError, match=rf"^requirement 'no bad' in attempt 1: .*{words}"):
        m.instruct("Go.", requirements=[no("bad", make)])


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        (7, "there is no unit 7; .* by_regex"),
        (Semicolons(), r"a Semicolons is a splitter .* lambda: Semicolons\(\.\.\.\)"),
        (lambda: 7, "made no splitter, but int"),
        (Plays, r"'Plays' raised TypeError .*'returned'.* takes no arguments"),
    ],
)
def test_what_is_no_unit_is_refused_when_the_requirement_is_made(unit: Any, words: str) -> None:
    for make in (req, check):
        with pytest.raises(InvalidInputError, match=words):
            make("x", stream_validate=bool, unit=unit)


def test_a_requirement_made_by_hand_is_checked_by_the_call_without_calling_the_factory() -> None:
    m = MelleaSession(ScriptedBackend("a;"))
    by_hand = Requirement("x", stream_validate=bool, unit=Semicolons())  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="a Semicolons is a splitter"):
        m.instruct("Go.", requirements=[by_hand])
    threads: list[str] = []

    def make() -> Semicolons:
        threads.append(threading.current_thread().name)
        return Semicolons()

    m.instruct("Go.", requirements=[Requirement("x", stream_validate=bool, unit=make)])
    assert len(threads) == 1
    assert threads[0].startswith("mellea-rx-worker")


def test_requirements_of_several_units_decide_one_answer_together() -> None:
    checks = [no("bad", unit) for unit in (by_regex(";"), Semicolons, "word", by_json_member())]
    thunk = MelleaSession(ScriptedBackend("a; b; bad; c", " good; d")).instruct(
        "Go.", requirements=checks, strategy=CONTINUE
    )
    assert "bad" not in str(thunk.value)
    assert thunk.sampling.success


def test_a_unit_that_begins_in_the_kept_text_is_judged_as_a_whole() -> None:
    """Lines end within a sentence, and so may the kept text. What follows it is judged too."""
    sentences: list[str] = []

    def mild(sentence: str) -> bool | None:
        sentences.append(sentence)
        return None if "was" in sentence else "Bad" not in sentence

    whole = simple_validate(lambda text: True)
    checks = [check("mild", whole, stream_validate=mild), no("Bad", "line")]

    async def main() -> None:
        hand = Hand(2)
        hand.capabilities = Capabilities(prefill=True)  # type: ignore[attr-defined]
        thunk = await MelleaSession(hand).ainstruct(
            "Go.", requirements=checks, strategy=CONTINUE, model_options=STREAM
        )
        await asyncio.to_thread(hand.answers[0].asked.wait, 5)
        hand.answers[0].say("One. It\nis. B")
        await until(lambda: thunk.text == "One. It\n" and "It\nis. " in sentences)
        hand.answers[0].say("ad. Two.")
        await asyncio.to_thread(hand.answers[1].asked.wait, 5)
        hand.answers[1].say("was. A! B! C!")
        hand.answers[1].end()
        assert await soon(thunk.avalue()) == "One. It\nwas. A! B! C!"

    asyncio.run(main())
    assert sentences == ["One. ", "It\nis. ", "Bad. ", "It\nwas. ", "A! ", "B! ", "C!"]
