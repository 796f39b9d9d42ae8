"""The sampling strategies: what each asks, and which attempt becomes the value."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace
from typing import Any

import pytest

from mellea_rx import (
    CallbackError,
    GenerationFailedError,
    InvalidInputError,
    MelleaSession,
    ModelOption,
    RequirementsNotMetError,
    ScriptedBackend,
    ValidatorError,
)
from mellea_rx.backends import Request
from mellea_rx.stdlib.requirements import Requirement, req, simple_validate
from mellea_rx.stdlib.sampling import (
    BestOfN,
    MajorityVoting,
    MultiTurn,
    RejectionSampling,
    RepairTemplate,
    WeakThenStrong,
)
from tests.core.hand import STREAM, soon, until


def has(*words: str) -> list[Requirement]:
    """Requirements, one for each word that the text must have."""
    return [req(f"has {w}", simple_validate(lambda text, w=w: w in text)) for w in words]


def script(*answers: Any, **how: Any) -> ScriptedBackend:
    """A backend with these answers, each in one chunk."""
    return ScriptedBackend(*([each] for each in answers), **how)


def roles(request: Request) -> list[str]:
    return [message.role for message in request.messages]


# Rejection, side by side.


def test_attempts_side_by_side_end_with_the_first_that_is_right() -> None:
    async def main() -> None:
        backend = ScriptedBackend(["slow"] * 1000, ["good"], ["slow"] * 1000, delay=0.005)
        strategy = RejectionSampling(loop_budget=3, concurrency_budget=3)
        m = MelleaSession(backend)
        thunk = await m.ainstruct("Go.", requirements=has("good"), strategy=strategy)
        assert await soon(thunk.avalue()) == "good"
        await until(lambda: backend.running == 0)
        assert len(backend.requests) == 3
        assert [attempt.text for attempt in thunk.sampling.attempts] == ["good"]

    asyncio.run(main())


def test_no_more_run_at_once_than_the_budget_has() -> None:
    most = 0

    def answer(request: Request) -> Any:
        nonlocal most
        most = max(most, backend.running)
        return ["bad"]

    backend = ScriptedBackend(answer, delay=0.002)
    strategy = RejectionSampling(loop_budget=7, concurrency_budget=2)
    thunk = MelleaSession(backend).instruct("Go.", requirements=has("good"), strategy=strategy)
    assert (len(backend.requests), most) == (7, 2)
    assert not thunk.sampling.success


@pytest.mark.parametrize(
    ("strategy", "arguments", "words"),
    [
        (RejectionSampling, {"repair": "again"}, "repair is 'restart' or 'continue', not 'again'"),
        (
            RejectionSampling,
            {"repair": "continue", "concurrency_budget": 2},
            "repair='continue' goes on from one attempt: it needs concurrency_budget=1",
        ),
        (BestOfN, {"scorer": "long"}, "scorer is a function of the text, not str"),
        (BestOfN, {"concurrency_budget": 0}, "concurrency_budget must be an int, 1 or more, not 0"),
        (MajorityVoting, {"key": None}, "key is a function of the text, not NoneType"),
        (MajorityVoting, {"concurrency_budget": 0}, "concurrency_budget must be an int, 1 or more"),
    ],
)
def test_what_a_strategy_cannot_do_is_refused_when_it_is_made(
    strategy: Any, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        strategy(**arguments)
    assert str(refused.value).startswith(words)


@pytest.mark.parametrize("name", ["loop_budget", "concurrency_budget"])
def test_a_budget_below_one_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} must be an int, 1 or more, not 0"):
        RejectionSampling(**{name: 0})


def test_an_attempt_that_fails_leaves_those_beside_it() -> None:
    async def main() -> None:
        failing = ["half", GenerationFailedError("crashed")]
        backend = ScriptedBackend(["slow"] * 10 + ["good"], failing, delay=0.005)
        strategy = RejectionSampling(loop_budget=2, concurrency_budget=2)
        m = MelleaSession(backend)
        thunk = await m.ainstruct("Go.", requirements=has("good"), strategy=strategy)
        assert str(await soon(thunk.avalue())).endswith("good")
        await until(lambda: backend.running == 0)

    asyncio.run(main())


# Parameters with two names.


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (BestOfN(loop_budget=4), BestOfN(n=4)),
        (MajorityVoting(loop_budget=4), MajorityVoting(n=4)),
        (BestOfN(max_concurrent=2), BestOfN(concurrency_budget=2)),
        (MajorityVoting(max_concurrent=2), MajorityVoting(concurrency_budget=2)),
        (RejectionSampling(max_concurrent=2), RejectionSampling(concurrency_budget=2)),
    ],
)
def test_both_names_of_a_parameter_mean_the_same(one: Any, other: Any) -> None:
    assert one == other
    assert one.concurrency_budget == other.max_concurrent
    if not isinstance(one, RejectionSampling):
        assert one.n == other.loop_budget
    assert replace(one, loop_budget=5) == replace(other, loop_budget=5)
    assert pickle.loads(pickle.dumps(one)) == other


@pytest.mark.parametrize(
    ("strategy", "name", "alias"),
    [
        (RejectionSampling, "max_concurrent", "concurrency_budget"),
        (BestOfN, "max_concurrent", "concurrency_budget"),
        (BestOfN, "loop_budget", "n"),
        (MajorityVoting, "max_concurrent", "concurrency_budget"),
        (MajorityVoting, "loop_budget", "n"),
    ],
)
def test_a_parameter_is_given_by_one_of_its_names(strategy: Any, name: str, alias: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{alias}= is another name of {name}=: give one"):
        strategy(**{name: 1, alias: 1})
    for each in (name, alias):
        with pytest.raises(InvalidInputError, match=f"{each} must be an int, 1 or more, not 0"):
            strategy(**{each: 0})


def test_a_repair_that_continues_names_the_parameter_that_was_given() -> None:
    with pytest.raises(InvalidInputError, match="it needs max_concurrent=1"):
        RejectionSampling(max_concurrent=2, repair="continue")


# Repair.


def test_a_repair_tells_the_model_why_it_was_rejected() -> None:
    backend = script("bad", "good")
    shout = req("is calm", simple_validate(lambda text: (text != "bad", "it shouts")))
    thunk = MelleaSession(backend).instruct(
        "Say it.", requirements=[shout, *has("o")], strategy=RepairTemplate()
    )
    assert thunk.value == "good"
    first, second = (request.messages[-1].content for request in backend.requests)
    assert second.startswith(first)
    assert "- is calm: it shouts\n- has o\n" in second
    assert roles(backend.requests[1]) == ["user"]


def test_a_repair_has_the_reasons_of_the_attempt_before_only() -> None:
    backend = script("a", "b", "a b")
    unsaid = [replace(each, check_only=True) for each in has("a", "b")]
    MelleaSession(backend).instruct("Go.", requirements=unsaid, strategy=RepairTemplate(3))
    second, third = (request.messages[-1].content for request in backend.requests[1:])
    assert "- has b\n" in second
    assert "- has a\n" not in second
    assert "- has a\n" in third
    assert "- has b\n" not in third


def test_a_reason_that_looks_like_a_template_is_not_rendered() -> None:
    backend = script("bad", "good")
    odd = req("is {{7*7}}", simple_validate(lambda text: (text == "good", "{{7*7}}")))
    MelleaSession(backend).instruct("Go.", requirements=[odd], strategy=RepairTemplate())
    assert "is {{7*7}}: {{7*7}}" in backend.requests[1].messages[-1].content


def test_multi_turn_shows_the_model_its_answers_and_what_was_wrong() -> None:
    backend = script("one", "two", "three")
    MelleaSession(backend).instruct("Go.", requirements=has("three"), strategy=MultiTurn(3))
    last = backend.requests[2]
    assert roles(last) == ["user", "assistant", "user", "assistant", "user"]
    assert [last.messages[i].content for i in (1, 3)] == ["one", "two"]
    assert "- has three\n" in last.messages[2].content


# Best of n, and majority.


def test_the_best_by_the_scorer_is_the_value() -> None:
    backend = script("a", "aaa", "aa")
    thunk = MelleaSession(backend).instruct("Go.", strategy=BestOfN(3, scorer=len))
    assert thunk.value == "aaa"
    assert {attempt.text: attempt.score for attempt in thunk.sampling.attempts} == {
        "a": 1,
        "aa": 2,
        "aaa": 3,
    }


def test_an_async_scorer_runs_on_the_callers_loop() -> None:
    loops: set[Any] = set()

    async def score(text: str) -> float:
        loops.add(asyncio.get_running_loop())
        return len(text)

    async def main() -> None:
        m = MelleaSession(script("a", "aa"))
        thunk = await m.ainstruct("Go.", strategy=BestOfN(2, scorer=score))
        assert await soon(thunk.avalue()) == "aa"
        assert loops == {asyncio.get_running_loop()}

    asyncio.run(main())


def test_what_meets_the_requirements_goes_before_what_scores_higher() -> None:
    backend = script("long and bad", "good")
    thunk = MelleaSession(backend).instruct(
        "Go.", requirements=has("good"), strategy=BestOfN(2, scorer=len)
    )
    assert (thunk.value, thunk.sampling.success) == ("good", True)


def test_without_a_scorer_the_one_that_meets_most_is_the_best() -> None:
    backend = script("a", "a b", "c")
    thunk = MelleaSession(backend).instruct(
        "Go.", requirements=has("a", "b", "x"), strategy=BestOfN(3)
    )
    assert (thunk.value, thunk.sampling.success) == ("a b", False)


def test_a_scorer_that_raises_is_named_and_the_text_is_kept() -> None:
    def broken(text: str) -> float:
        raise ZeroDivisionError("no")

    with pytest.raises(CallbackError, match=r"scorer 'broken' of BestOfN.*ZeroDivisionError") as it:
        MelleaSession(script("a")).instruct("Go.", strategy=BestOfN(1, scorer=broken))
    assert it.value.text == "a"


def test_all_attempts_of_best_of_n_run_at_once() -> None:
    async def main() -> None:
        backend = ScriptedBackend(["a", "b"], delay=0.05)
        thunk = await MelleaSession(backend).ainstruct("Go.", strategy=BestOfN(5))
        await until(lambda: backend.running == 5)
        assert await soon(thunk.avalue()) == "ab"

    asyncio.run(main())


def test_the_majority_is_the_value() -> None:
    backend = script("Paris.", "London", "paris", "Rome")
    thunk = MelleaSession(backend).instruct("Where?", strategy=MajorityVoting(4))
    assert thunk.value in ("Paris.", "paris")
    assert len(thunk.sampling.attempts) == 4


def test_a_key_says_what_is_voted_on() -> None:
    backend = script("it is 4", "5", "the answer: 4")
    strategy = MajorityVoting(3, key=lambda text: next(c for c in text if c.isdigit()))
    thunk = MelleaSession(backend).instruct("2+2?", strategy=strategy)
    assert "4" in str(thunk.value)


def test_a_key_that_cannot_be_counted_is_named() -> None:
    with pytest.raises(CallbackError, match=r"the key 'list' of MajorityVoting.*unhashable"):
        MelleaSession(script("a")).instruct("Go.", strategy=MajorityVoting(1, key=list))


def test_only_those_that_meet_the_requirements_vote() -> None:
    backend = script("bad", "bad", "good")
    thunk = MelleaSession(backend).instruct(
        "Go.", requirements=has("good"), strategy=MajorityVoting(3)
    )
    assert thunk.value == "good"


# Majority by similarity.


def alike(one: str, other: str) -> float:
    """The share of words that two texts have in common."""
    words = set(one.split()), set(other.split())
    return len(words[0] & words[1]) / len(words[0] | words[1])


def test_the_attempt_that_is_most_like_the_others_is_the_value() -> None:
    backend = script("a b c", "a b d", "x y z", "a b")
    strategy = MajorityVoting(4, similarity=alike)
    thunk = MelleaSession(backend).instruct("Go.", strategy=strategy)
    assert thunk.value == "a b"
    scores = {each.text: each.score for each in thunk.sampling.attempts}
    assert scores["a b"] == pytest.approx(4 / 3)
    assert scores["x y z"] == 0


def test_with_a_threshold_each_attempt_that_is_so_similar_is_a_vote() -> None:
    backend = script("a b c d", "a b c", "x", "a b c d e f")
    strategy = MajorityVoting(4, similarity=alike, threshold=0.6)
    thunk = MelleaSession(backend).instruct("Go.", strategy=strategy)
    assert thunk.value == "a b c d"
    scores = {each.text: each.score for each in thunk.sampling.attempts}
    assert scores == {"a b c d": 2, "a b c": 1, "x": 0, "a b c d e f": 1}


def test_a_similarity_may_say_yes_or_no_and_be_async() -> None:
    pairs: list[tuple[str, str]] = []

    async def same_start(one: str, other: str) -> bool:
        pairs.append((one, other))
        await asyncio.sleep(0)
        return one[0] == other[0]

    async def main() -> None:
        m = MelleaSession(script("b1", "a1", "a2", "c1", "a3"))
        thunk = await m.ainstruct("Go.", strategy=MajorityVoting(5, similarity=same_start))
        assert (await soon(thunk.avalue()))[0] == "a"
        assert len(pairs) == 10
        assert len({frozenset(pair) for pair in pairs}) == 10

    asyncio.run(main())


def test_one_voter_is_the_value_without_a_comparison() -> None:
    def never(one: str, other: str) -> bool:
        raise AssertionError("there is nothing to compare")

    strategy = MajorityVoting(2, similarity=never)
    thunk = MelleaSession(script("bad", "good")).instruct(
        "Go.", requirements=has("good"), strategy=strategy
    )
    assert thunk.value == "good"


def test_of_equally_similar_attempts_the_first_to_end_is_the_value() -> None:
    strategy = MajorityVoting(3, similarity=lambda one, other: False)
    thunk = MelleaSession(script("a", "b", "c")).instruct("Go.", strategy=strategy)
    assert thunk.sampling.chosen == 0


@pytest.mark.parametrize(
    "returned", [None, "much", float("nan"), float("inf"), ZeroDivisionError("no")], ids=repr
)
def test_a_similarity_that_fails_ends_the_call_and_is_named(returned: Any) -> None:
    def broken(one: str, other: str) -> Any:
        if isinstance(returned, Exception):
            raise returned
        return returned

    with pytest.raises(CallbackError, match=r"the similarity 'broken' of MajorityVoting") as it:
        MelleaSession(script("a", "b", "c")).instruct(
            "Go.", strategy=MajorityVoting(3, similarity=broken)
        )
    assert it.value.text in ("a", "b", "c")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"similarity": 0.5}, "similarity is a function of two texts, not float"),
        ({"similarity": alike, "key": len}, "key= and similarity= are two ways to compare"),
        ({"threshold": 0.5}, "threshold= needs similarity="),
        ({"similarity": alike, "threshold": "0.5"}, "threshold must be a finite number"),
        ({"similarity": alike, "threshold": True}, "threshold must be a finite number"),
        ({"similarity": alike, "threshold": float("nan")}, "threshold must be a finite number"),
    ],
)
def test_a_similarity_that_cannot_be_used_is_refused(arguments: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        MajorityVoting(3, **arguments)


def test_a_vote_by_similarity_is_a_value() -> None:
    strategy = MajorityVoting(3, similarity=alike, threshold=0.5)
    assert replace(strategy, loop_budget=4).similarity is alike
    assert pickle.loads(pickle.dumps(strategy)) == strategy
    assert strategy.callables == (alike,)


@pytest.mark.parametrize("make", [BestOfN, MajorityVoting])
def test_a_number_below_one_is_refused(make: Any) -> None:
    with pytest.raises(InvalidInputError, match="loop_budget must be an int, 1 or more"):
        make(0)


# Weak, then strong.


def test_the_strong_backend_is_asked_when_the_weak_ones_budget_is_spent() -> None:
    weak, strong = script("bad"), script("good")
    thunk = MelleaSession(weak).instruct(
        "Go.", requirements=has("good"), strategy=WeakThenStrong(strong, weak_budget=2)
    )
    assert (len(weak.requests), len(strong.requests)) == (2, 1)
    assert (thunk.value, thunk.sampling.chosen) == ("good", 2)


def test_the_strong_backend_rests_where_the_weak_one_is_right() -> None:
    weak, strong = script("good"), script("never")
    MelleaSession(weak).instruct("Go.", requirements=has("good"), strategy=WeakThenStrong(strong))
    assert strong.requests == ()


def test_each_backend_has_its_own_options_under_the_calls() -> None:
    weak = script("bad", model_options={"penalty": 1, "top_k": 5})
    strong = script("good", model_options={"top_k": 7, ModelOption.TEMPERATURE: 1})
    m = MelleaSession(weak, model_options={ModelOption.TEMPERATURE: 0})
    m.instruct("Go.", requirements=has("good"), strategy=WeakThenStrong(strong, weak_budget=1))
    assert weak.requests[0].options.extra == {"penalty": 1, "top_k": 5}
    asked = strong.requests[0].options
    assert asked.extra == {"top_k": 7}
    assert asked.get(ModelOption.TEMPERATURE) == 0


def test_what_is_no_backend_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="strong needs a backend, not str"):
        WeakThenStrong("gpt")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="not MelleaSession: give its `backend`"):
        WeakThenStrong(MelleaSession(ScriptedBackend()))  # type: ignore[arg-type]


# What holds for all of them.


def test_a_seed_grows_with_the_attempts() -> None:
    backend = script("bad")
    strategy = RejectionSampling(3)
    options = {ModelOption.SEED: 7}
    MelleaSession(backend).instruct(
        "Go.", requirements=has("good"), strategy=strategy, model_options=options
    )
    assert [r.options.get(ModelOption.SEED) for r in backend.requests] == [7, 8, 9]


@pytest.mark.parametrize("strategy", [RejectionSampling(), RepairTemplate(), MultiTurn()])
def test_without_requirements_the_text_of_the_one_attempt_goes_out_as_it_comes(
    strategy: Any,
) -> None:
    async def main() -> None:
        backend = ScriptedBackend(["a", "b", "c"], delay=0.02)
        m = MelleaSession(backend)
        thunk = await m.ainstruct("Go.", strategy=strategy, model_options=STREAM)
        assert await soon(anext(thunk.astream())) in ("a", "ab")
        assert await soon(thunk.avalue()) == "abc"
        assert thunk.sampling is None

    asyncio.run(main())


def test_require_makes_a_spent_budget_an_error_with_all_reasons() -> None:
    backend = script("a", "b")
    with pytest.raises(RequirementsNotMetError, match="in 2 attempts") as caught:
        MelleaSession(backend).instruct("Go.", requirements=has("a", "b"), require=True)
    assert caught.value.reasons == ("attempt 1: has b", "attempt 2: has a")
    assert caught.value.text == "b"


def test_the_attempts_can_be_read_where_require_failed() -> None:
    async def main() -> None:
        m = MelleaSession(script("a", "b"))
        thunk = await m.ainstruct("Go.", requirements=has("x"), require=True)
        with pytest.raises(RequirementsNotMetError):
            await soon(thunk.avalue())
        assert [attempt.text for attempt in thunk.sampling.attempts] == ["a", "b"]

    asyncio.run(main())


def test_require_without_requirements_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="require=True needs requirements"):
        MelleaSession(script("a")).instruct("Go.", require=True)


def test_a_validator_that_raises_is_named_with_its_attempt_and_the_text_is_kept() -> None:
    def picky(text: str) -> bool:
        if text == "two":
            raise ValueError("what is this")
        return False

    with pytest.raises(ValidatorError, match=r"'picky'.*'fine'.*ValueError in attempt 2") as it:
        MelleaSession(script("one", "two")).instruct(
            "Go.", requirements=[req("fine", simple_validate(picky))]
        )
    assert it.value.text == "two"
    assert isinstance(it.value.__cause__, ValueError)


def test_the_judges_answer_may_be_read_by_a_function() -> None:
    backend = script("answer", "I would say 7 of 10.")
    good = req("is good", output_to_bool=lambda said: "7" in said)
    thunk = MelleaSession(backend).instruct("Go.", requirements=[good])
    assert thunk.sampling.success
    assert backend.requests[1].schema is None


def test_a_judge_that_says_neither_is_a_counted_failure() -> None:
    backend = script("answer", "maybe")
    strategy = RejectionSampling(1)
    thunk = MelleaSession(backend).instruct("Go.", requirements=["is good"], strategy=strategy)
    assert not thunk.sampling.success
    assert "neither yes nor no: 'maybe'" in thunk.sampling.attempts[0].reasons[0]
