"""A streaming validation that keeps something between units begins anew with each attempt."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import pytest

from mellea_rx import BlockingWaitError, InvalidInputError, MelleaSession, ScriptedBackend
from mellea_rx.errors import ValidatorError
from mellea_rx.stdlib.requirements import PerAttempt, check, simple_validate
from mellea_rx.stdlib.sampling import BestOfN, RejectionSampling
from tests.core.hand import soon

BAD = "One. Two. Three. Four."
GOOD = "One. Two."


class AtMost:
    """At most so many sentences."""

    def __init__(self, limit: int = 2) -> None:
        self.limit = limit
        self.seen: list[str] = []

    def __call__(self, sentence: str) -> bool:
        self.seen.append(sentence)
        return len(self.seen) <= self.limit

    def count(self, sentence: str) -> bool:
        return self(sentence)


class AsyncAtMost(AtMost):
    async def __call__(self, sentence: str) -> bool:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().__call__(sentence)


class Its:
    """Says itself what each attempt gets; it cannot be copied."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def for_attempt(self) -> AtMost:
        return AtMost()

    def __call__(self, sentence: str) -> bool:
        raise AssertionError("only what for_attempt gives is called")


class Locked(AtMost):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


FORMS: dict[str, Any] = {
    "an object": AtMost(),
    "an async object": AsyncAtMost(),
    "a method of an object": AtMost().count,
    "a partial of an object": partial(AtMost()),
    "a partial of an async object": partial(AsyncAtMost()),
    "a class": AtMost,
    "a factory": PerAttempt(lambda: AtMost(2)),
    "an object with for_attempt": Its(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_good_retry_and_later_calls_are_accepted(form: str) -> None:
    short = check("short", stream_validate=FORMS[form])
    for _ in range(2):
        thunk = MelleaSession(ScriptedBackend(BAD, GOOD)).instruct("Go.", requirements=[short])
        first, second = thunk.sampling.attempts
        assert (first.success, second.success, thunk.value) == (False, True, GOOD)
        assert first.reasons == ("short: sentence 3 ('Three.') does not",)


@pytest.mark.parametrize("form", FORMS)
def test_attempts_side_by_side_do_not_share_it(form: str) -> None:
    short = check("short", stream_validate=FORMS[form])
    m = MelleaSession(ScriptedBackend(GOOD, GOOD, BAD))
    thunk = m.instruct("Go.", requirements=[short], strategy=BestOfN(3))
    assert sorted(attempt.success for attempt in thunk.sampling.attempts) == [False, True, True]


def test_parallel_calls_do_not_share_it() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(GOOD, delay=0.001))
        short = check("short", stream_validate=AtMost())
        thunks = [await m.ainstruct("Go.", requirements=[short]) for _ in range(20)]
        assert await soon(asyncio.gather(*(thunk.avalue() for thunk in thunks))) == [GOOD] * 20
        assert all(len(thunk.sampling.attempts) == 1 for thunk in thunks)

    asyncio.run(main())


def test_the_object_itself_is_never_called() -> None:
    mine = AtMost()
    m = MelleaSession(ScriptedBackend(BAD, GOOD))
    m.instruct("Go.", requirements=[check("short", stream_validate=mine)])
    assert mine.seen == []


def test_functions_are_called_as_they_are() -> None:
    seen: list[str] = []

    def look(sentence: str, into: list[str]) -> bool:
        into.append(sentence)
        return True

    for function in (lambda unit: look(unit, seen), partial(look, into=seen)):
        m = MelleaSession(ScriptedBackend(GOOD))
        m.instruct("Go.", requirements=[check("x", stream_validate=function)])
    assert seen == ["One. ", "Two."] * 2


def test_an_attempt_that_goes_on_counts_what_was_kept() -> None:
    """Readers have the kept text; it is a part of the answer that the limit is for."""

    class Mild(AtMost):
        def __call__(self, sentence: str) -> bool:
            return super().__call__(sentence) and "Bad" not in sentence

    mild = check("short and mild", stream_validate=Mild(3))
    strategy = RejectionSampling(loop_budget=2, repair="continue")

    def ask(second: str) -> Any:
        m = MelleaSession(ScriptedBackend("One. Two. Bad. x", second))
        return m.instruct("Go.", requirements=[mild], strategy=strategy)

    fits = ask(" Three.")
    assert (fits.value, fits.sampling.success) == ("One. Two. Three.", True)
    long = ask(" Three. Four.")
    assert not long.sampling.success
    assert str(long.value).startswith("One. Two. Three.")


def test_what_cannot_be_copied_is_refused_with_what_to_give() -> None:
    words = r"a Locked cannot be copied for each attempt .*PerAttempt\("
    for function in (Locked(), Locked().count):
        with pytest.raises(InvalidInputError, match=words):
            check("short", stream_validate=function)


@pytest.mark.parametrize(("factory", "words"), [(7, "not int"), (lambda: 7, "returned int")])
def test_what_makes_no_functions_is_no_factory(factory: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        PerAttempt(factory)


def test_a_factory_that_raises_later_is_told_with_its_requirement() -> None:
    made: list[AtMost] = []

    def make() -> AtMost:
        if made:
            raise ValueError("no more")
        made.append(AtMost())
        return made[-1]

    short = check("short", stream_validate=PerAttempt(make))
    with pytest.raises(ValidatorError, match=r"'short' raised ValueError in .*: no more"):
        MelleaSession(ScriptedBackend(GOOD)).instruct("Go.", requirements=[short])


@pytest.mark.parametrize(
    "function",
    [AsyncAtMost(), AsyncAtMost, PerAttempt(AsyncAtMost), partial(AsyncAtMost())],
)
def test_a_blocking_wait_for_an_async_object_on_its_own_loop_is_refused(function: Any) -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(GOOD))
        with pytest.raises(BlockingWaitError):
            m.instruct("Go.", requirements=[check("short", stream_validate=function)])

    asyncio.run(soon(main()))


def test_an_async_object_may_decide_for_the_whole_answer() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(GOOD))
        for function in (AsyncAtMost(), partial(AsyncAtMost())):
            fine = check("fine", simple_validate(function))
            thunk = await m.ainstruct("Go.", requirements=[fine])
            assert await soon(thunk.avalue()) == GOOD
            assert thunk.sampling

    asyncio.run(main())
