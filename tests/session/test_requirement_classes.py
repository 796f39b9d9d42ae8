"""Requirements that are classes of the user's own."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import pickle
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from mellea_rx import (
    BlockingWaitError,
    InvalidInputError,
    MelleaSession,
    Output,
    Requirement,
    ScriptedBackend,
    ValidationResult,
    ValidatorError,
)
from mellea_rx.stdlib.requirements import (
    StreamContext,
    as_requirements,
    by_regex,
    check,
    req,
    simple_validate,
)
from mellea_rx.stdlib.sampling import BestOfN, RejectionSampling
from tests.core.hand import soon


class Without(Requirement):
    """Judges the whole answer; has an `__init__` of its own."""

    def __init__(self, *words: str) -> None:
        super().__init__(f"Uses none of {', '.join(words)}.")
        self.words = words

    def validate(self, output: Output) -> tuple[bool, str]:
        found = [word for word in self.words if word in output]
        return not found, f"it has {', '.join(found)}"


class AtMost(Requirement):
    """Judges each unit, and counts them."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"At most {limit} sentences.", check_only=True)
        self.limit = limit
        self.count = 0

    def validate_unit(self, unit: str) -> bool:
        self.count += 1
        return self.count <= self.limit


class NoRepetition(Requirement):
    """Judges each unit by the answer before it."""

    def validate_unit(self, unit: str, so_far: StreamContext) -> bool:
        return unit.strip() not in so_far.text


class AsyncAtMost(AtMost):
    async def validate_unit(self, unit: str) -> bool:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().validate_unit(unit)


@dataclass(frozen=True)
class LongEnough(Requirement):
    """A frozen dataclass."""

    description: str = "Long enough."
    least: int = 3

    def validate(self, output: Output) -> bool:
        return len(output.text) >= self.least


def session(*answers: Any) -> MelleaSession:
    return MelleaSession(ScriptedBackend(*answers))


# The whole answer.


@pytest.mark.parametrize("requirement", [Without("bad"), LongEnough(least=4)])
def test_validate_judges_the_whole_answer(requirement: Requirement) -> None:
    m = session(["bad"], ["good"])
    thunk = m.instruct("Go.", requirements=[requirement], require=True)
    assert thunk.value == "good"
    assert len(m.backend.requests) == 2, "no model judges"
    assert f"- {requirement.description}" in m.backend.requests[0].messages[-1].content


def test_its_reason_is_the_reason() -> None:
    thunk = session("bad").instruct("Go.", requirements=[Without("bad", "worse")])
    assert thunk.sampling.attempts[0].reasons == ("Uses none of bad, worse.: it has bad",)


def test_validate_may_be_async_and_waits_of_its_loop_are_refused() -> None:
    class Asks(Requirement):
        async def validate(self, output: Output) -> ValidationResult:
            await asyncio.sleep(0)
            return ValidationResult(asyncio.get_running_loop() is loop)

    async def main() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        thunk = await session("a").ainstruct("Go.", requirements=[Asks("x")], require=True)
        assert await soon(thunk.avalue()) == "a"
        with pytest.raises(BlockingWaitError):
            session("a").instruct("Go.", requirements=[Asks("x")])
        with pytest.raises(BlockingWaitError):
            session("a").validate([Asks("x")], output="a")

    loop: Any = None
    asyncio.run(main())


def test_validate_goes_before_a_function_and_may_use_it() -> None:
    class Both(Requirement):
        def validate(self, output: Output) -> Any:
            return bool(super().validate(output)) and output.startswith("a")

    both = Both("x", simple_validate(lambda text: text.endswith("z")))
    (first, second) = session().validate([both, both], output="abc")
    assert (bool(first), bool(second)) == (False, False)
    assert session().validate([both], output="a to z")[0]


def test_validate_without_a_function_says_who_decides() -> None:
    with pytest.raises(InvalidInputError, match=r"'polite' has no function.*session\.validate"):
        Requirement("polite").validate(Output("a"))


def test_a_class_without_methods_is_judged_by_the_model() -> None:
    class Plain(Requirement):
        pass

    m = session("no, it is not")
    (result,) = m.validate([Plain("polite")], output="a")
    assert (bool(result), result.reason) == (False, "no, it is not")


def test_one_that_raises_is_told_with_its_requirement() -> None:
    class Explodes(Requirement):
        def validate(self, output: Output) -> bool:
            raise ZeroDivisionError("oops")

    with pytest.raises(ValidatorError, match=r"'validate' of requirement 'x' raised ZeroDiv.*oops"):
        session("a").instruct("Go.", requirements=[Explodes("x")])


# Units.


@pytest.mark.parametrize("kind", [AtMost, AsyncAtMost])
def test_each_attempt_gets_a_copy_of_its_own(kind: Any) -> None:
    short = kind(2)
    for _ in range(2):
        m = session("One. Two. Three.", "One. Two.")
        thunk = m.instruct("Go.", requirements=[short])
        first, second = thunk.sampling.attempts
        assert (first.success, second.success) == (False, True)
        assert "sentence 3" in first.reasons[0]
    assert short.count == 0


def test_attempts_side_by_side_know_nothing_of_each_other() -> None:
    thunk = session("One. Two.").instruct("Go.", requirements=[AtMost(2)], strategy=BestOfN(5))
    assert [attempt.success for attempt in thunk.sampling.attempts] == [True] * 5


def test_a_copy_gets_the_units_that_were_kept() -> None:
    m = session("One. Two. Three.", "Four.")
    strategy = RejectionSampling(2, repair="continue")
    thunk = m.instruct("Go.", requirements=[AtMost(2)], strategy=strategy)
    assert not thunk.sampling.success


def test_a_method_may_take_the_answer_before_its_unit() -> None:
    lines = NoRepetition("No line twice.", unit="line")
    thunk = MelleaSession(ScriptedBackend("a\nb\na\n", "a\nb\nc\n")).instruct(
        "Go.", requirements=[lines]
    )
    assert thunk.value == "a\nb\nc\n"
    assert "line 3 ('a')" in thunk.sampling.attempts[0].reasons[0]


def test_a_method_gets_the_units_of_a_splitter() -> None:
    rows = NoRepetition("No row twice.", unit=by_regex(";"))
    thunk = MelleaSession(ScriptedBackend("a;b;a;", "a;b;c")).instruct("Go.", requirements=[rows])
    assert thunk.value == "a;b;c"


def test_the_method_of_the_base_passes_the_context_to_its_function() -> None:
    so_far = StreamContext(["a"], 1, (), 0.0)
    plain = check("New.", stream_validate=lambda unit: unit == "b")
    aware = check("New.", stream_validate=lambda unit, so_far: unit not in so_far.units)
    assert plain.validate_unit("b")
    assert aware.validate_unit("b", so_far)
    assert not aware.validate_unit("a", so_far)


def test_readers_get_each_unit_that_a_method_validated() -> None:
    session = MelleaSession(ScriptedBackend(["One. ", "Two. ", "Three."]))
    thunk = session.instruct("Go.", requirements=[AtMost(3)], release="validated")
    assert thunk.value == "One. Two. Three."
    assert thunk.sampling.success


def test_both_methods_together_leave_what_is_unknown_to_the_end() -> None:
    class Mostly(Requirement):
        def validate_unit(self, unit: str) -> str:
            return "fail" if "!" in unit else "unknown"

        def validate(self, output: Output) -> bool:
            return output.endswith("end.")

    mostly = Mostly("x")
    m = session("Run! Now.", "Calm.", "Calm to the end.")
    thunk = m.instruct("Go.", requirements=[mostly], strategy=RejectionSampling(3))
    assert [attempt.success for attempt in thunk.sampling.attempts] == [False, False, True]


def test_for_attempt_gives_the_copy_where_the_object_cannot_be_copied() -> None:
    class Locked(AtMost):
        def __init__(self, limit: int) -> None:
            super().__init__(limit)
            self.lock = threading.Lock()

    class Own(Locked):
        def for_attempt(self) -> Own:
            return Own(self.limit)

    with pytest.raises(InvalidInputError, match=r"validate_unit: a Locked cannot be copied"):
        session("a").instruct("Go.", requirements=[Locked(2)])
    m = session("One. Two. Three.", "One. Two.")
    assert m.instruct("Go.", requirements=[Own(2)], require=True).value == "One. Two."


# Values.


@pytest.mark.parametrize("made", [Without("a", "b"), LongEnough(least=7), AtMost(3)])
def test_replace_and_check_keep_the_class_and_its_attributes(made: Any) -> None:
    for changed in (made.replace(check_only=True), check(made)):
        assert (type(changed), changed.check_only) == (type(made), True)
        assert {**vars(changed), "check_only": made.check_only} == vars(made)
    assert made.replace() == made


def test_replace_refuses_what_there_is_not() -> None:
    with pytest.raises(InvalidInputError, match="a Without has no attribute 'unti' to replace"):
        Without("a").replace(unti="word")


def test_check_of_a_requirement_takes_nothing_else() -> None:
    with pytest.raises(InvalidInputError, match="takes no other argument"):
        check(Without("a"), simple_validate(bool))
    with pytest.raises(InvalidInputError, match="takes no other argument"):
        check(req("a"), unit="word")


def test_replace_of_a_plain_one_works_as_dataclasses_does() -> None:
    plain = req("x")
    assert plain.replace(check_only=True) == dataclasses.replace(plain, check_only=True)
    assert plain.replace(check_only=True) == check("x")


def test_two_are_equal_by_their_own_attributes_too() -> None:
    assert Without("a") == Without("a") != Without("b")
    one, other = AtMost(2), AtMost(2)
    assert (one, hash(one)) == (other, hash(other))
    object.__setattr__(other, "limit", 3)
    assert one != other
    assert Requirement("x") != LongEnough("x")
    assert {Requirement("x"), Requirement("x")} == {req("x")}


def test_equal_descriptions_are_two_requirements_while_a_text_streams() -> None:
    class Silent(AtMost):
        def __init__(self, limit: int) -> None:
            super().__init__(limit)
            object.__setattr__(self, "description", "brief")

    m = session("One. Two. Three.")
    thunk = m.instruct("Go.", requirements=[Silent(9), Silent(2)], strategy=RejectionSampling(1))
    assert not thunk.sampling.success


def test_a_field_of_the_base_is_frozen_and_an_own_attribute_is_not() -> None:
    made = AtMost(2)
    made.limit = 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.description = "other"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Requirement("x").unit = "word"  # type: ignore[misc]


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_copies_and_pickles_are_equal(way: Any) -> None:
    for made in (Without("a"), LongEnough(least=2), AtMost(1), Requirement("x", unit="word")):
        assert way(made) == made


def test_one_that_forgot_its_base_is_refused() -> None:
    class Forgetful(Requirement):
        def __init__(self) -> None:
            self.words = ()

    with pytest.raises(InvalidInputError, match="needs a description"):
        as_requirements([Forgetful()])


def test_a_class_is_not_a_requirement() -> None:
    with pytest.raises(InvalidInputError, match="the class Without: make an object of it"):
        as_requirements([Without])  # type: ignore[list-item]
