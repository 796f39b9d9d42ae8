"""Best of n by a judge: the model scores each attempt; and `Sampler.ask`, by which it is asked."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
from dataclasses import replace
from typing import Any

import pytest

from mellea_rx import (
    AuthenticationError,
    CallbackError,
    Chunk,
    GenerationFailedError,
    InvalidInputError,
    MelleaRxError,
    MelleaSession,
    ModelOption,
    OptionError,
    ScriptedBackend,
)
from mellea_rx.backends import Options, Pause, Request
from mellea_rx.stdlib.components import Template
from mellea_rx.stdlib.requirements import check, simple_validate
from mellea_rx.stdlib.sampling import BaseStrategy, BestOfN, Sampler, SamplingResult
from tests.core.hand import soon, until
from tests.session.test_interfaces import Deferred, Picky

POLITE = "The more polite answer is better."
ONCE = {ModelOption.RETRIES: 0}


def is_judge(request: Request) -> bool:
    return "Criterion:" in request.prompt


class Judged(ScriptedBackend):
    """Answers with these texts in order, and judges each as the table says."""

    def __init__(self, table: dict[str, Any], **how: Any) -> None:
        texts = iter(table)

        def answer(request: Request) -> Any:
            if not is_judge(request):
                return [next(texts)]
            text = request.prompt.split("Answer:\n")[1].split("\n")[0]
            said = table[text]
            return [said] if isinstance(said, str) else said

        super().__init__(answer, **how)


def score(number: Any, reason: str = "It is so.") -> str:
    return json.dumps({"score": number, "reason": reason})


def best(table: dict[str, Any], **how: Any) -> Any:
    backend = Judged(table)
    m = MelleaSession(backend, model_options=ONCE)
    thunk = m.instruct("Greet me.", strategy=BestOfN(len(table), judge=POLITE), **how)
    return thunk, backend


def by_text(thunk: Any) -> dict[str, Any]:
    return {each.text: each for each in thunk.sampling.attempts}


def test_the_attempt_with_the_judges_highest_score_is_the_value() -> None:
    thunk, backend = best({"Hi.": score(3), "Good day.": score(9, "Formal."), "Yo.": score(0)})
    assert (thunk.value, thunk.sampling.success) == ("Good day.", True)
    assert {text: each.score for text, each in by_text(thunk).items()} == {
        "Hi.": 3,
        "Good day.": 9,
        "Yo.": 0,
    }
    assert by_text(thunk)["Good day."].score_reason == "Formal."
    asked = next(each for each in backend.requests if is_judge(each))
    assert POLITE in asked.prompt
    assert "Greet me." in asked.prompt
    assert asked.options.get(ModelOption.TEMPERATURE) == 0
    assert asked.schema is not None
    assert asked.schema["required"] == ["score", "reason"]


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("Score: 7.5, since it is kind.", 7.5),
        ("I give it 8/10 for its 3 kind words.", 8),
        ("6", 6),
        ('{"score": 10, "rea', 10),
        ("```json\n" + score(4) + "\n```", 4),
    ],
)
def test_a_score_in_another_form_is_read(said: str, number: float) -> None:
    thunk, _ = best({"Hi.": said})
    assert thunk.sampling.attempts[0].score == number


@pytest.mark.parametrize(
    "said",
    [
        *("", "fine", "between 3 and 5", '{"score": "high", "reason": "5 words"}'),
        *(score(11), score(-1), score(None), "Score: 9999999"),
    ],
)
def test_a_judge_without_a_number_gives_no_score_and_it_is_said(said: str) -> None:
    thunk, _ = best({"Hi.": [said], "Yo.": score(0)})
    unscored = by_text(thunk)["Hi."]
    assert (unscored.score, unscored.success) == (None, True)
    assert unscored.score_reason.startswith("no score: the judge gave no number from 0 to 10")
    assert thunk.value == "Yo."


def test_where_no_attempt_has_a_score_the_first_one_is_the_value() -> None:
    thunk, _ = best({"Hi.": "fine", "Yo.": "fine"})
    assert thunk.value == thunk.sampling.attempts[0].text


def test_a_judge_that_refuses_gives_no_score() -> None:
    refusal = [Chunk("I cannot give it 9 of 10.", finish_reason="refusal")]
    thunk, _ = best({"Hi.": refusal})
    attempt = thunk.sampling.attempts[0]
    assert attempt.score is None
    assert attempt.score_reason.startswith("no score: the judge refused to answer: 'I cannot")


def test_what_meets_the_requirements_goes_before_a_higher_score() -> None:
    short = check("short", simple_validate(lambda text: len(text) < 5))
    thunk, _ = best({"Hi.": score(1), "Good day.": score(9)}, requirements=[short])
    assert thunk.value == "Hi."


def test_a_judge_that_fails_is_the_fault_of_its_attempt_alone() -> None:
    thunk, _ = best({"Hi.": GenerationFailedError("crashed"), "Yo.": score(1)})
    assert thunk.value == "Yo."
    failed = by_text(thunk)["Hi."]
    assert isinstance(failed.error, GenerationFailedError)


def test_a_judge_that_always_fails_fails_the_call_and_the_text_is_kept() -> None:
    backend = Judged({"Hi.": AuthenticationError("wrong key", status=401)})
    with pytest.raises(AuthenticationError) as caught:
        MelleaSession(backend).instruct("Go.", strategy=BestOfN(1, judge=POLITE))
    assert caught.value.text == "Hi."


def test_cancelling_while_the_judge_answers_ends_its_request() -> None:
    async def main() -> None:
        backend = Judged({"Hi.": [Pause(math.inf)], "Yo.": score(1)})
        m = MelleaSession(backend)
        thunk = await m.ainstruct("Go.", strategy=BestOfN(2, judge=POLITE))
        await until(lambda: len(backend.requests) == 4 and backend.running == 1)
        thunk.cancel()
        await until(lambda: backend.running == 0)
        with pytest.raises(MelleaRxError):
            await soon(thunk.avalue())

    asyncio.run(main())


@pytest.mark.parametrize("judge", ["", "  ", 7, len, ScriptedBackend()])
def test_a_judge_is_a_criterion_in_words(judge: Any) -> None:
    with pytest.raises(InvalidInputError, match="judge is a criterion in words"):
        BestOfN(3, judge=judge)


def test_a_judge_and_a_scorer_exclude_each_other() -> None:
    with pytest.raises(InvalidInputError, match="scorer= and judge= are two ways"):
        BestOfN(3, judge=POLITE, scorer=len)


def test_a_strategy_with_a_judge_is_a_value() -> None:
    strategy = BestOfN(3, judge=POLITE)
    assert replace(strategy, loop_budget=4) == BestOfN(4, judge=POLITE)
    assert pickle.loads(pickle.dumps(strategy)) == strategy
    assert strategy.callables == ()


def test_a_result_with_scores_is_pickled() -> None:
    thunk, _ = best({"Hi.": score(3, "Short.")})
    attempt = pickle.loads(pickle.dumps(thunk)).sampling.attempts[0]
    assert (attempt.score, attempt.score_reason) == (3, "Short.")


def test_a_scorer_whose_number_cannot_be_compared_is_refused() -> None:
    with pytest.raises(CallbackError, match=r"scorer.*nan is neither more nor less"):
        MelleaSession(ScriptedBackend("a")).instruct(
            "Go.", strategy=BestOfN(1, scorer=lambda text: math.nan)
        )


# A strategy of the user's that asks.


class Asks(BaseStrategy):
    """One attempt, and one question with these arguments."""

    always = True

    def __init__(self, *args: Any, **how: Any) -> None:
        self.args, self.how = args, how
        self.answer = Chunk()

    async def sample(self, sampler: Sampler) -> SamplingResult:
        attempt = await sampler.attempt()
        self.answer = await sampler.ask(*self.args, **self.how)
        return SamplingResult(True, (attempt,), 0)


def ask(strategy: Asks, backend: Any = None, **options: Any) -> tuple[Asks, Any]:
    backend = ScriptedBackend(["text"], ["answer"]) if backend is None else backend
    MelleaSession(backend).instruct("Go.", strategy=strategy, model_options=options)
    return strategy, backend


def test_a_question_is_asked_without_the_calls_messages_and_at_temperature_0() -> None:
    told = {"temperature": 2, "seed": 7, "num_ctx": 99, "top_k": 5, "max_tokens": 3}
    strategy, backend = ask(Asks("Is it {{ fine }}?"), **told)
    assert strategy.answer.text == "answer"
    asked = backend.requests[1]
    assert [each.content for each in asked.messages] == ["Is it {{ fine }}?"]
    known = asked.options
    assert known.get(ModelOption.TEMPERATURE) == 0
    assert known.get(ModelOption.CONTEXT_WINDOW) == 99
    assert known.extra == {"top_k": 5}
    assert known.get(ModelOption.SEED) is known.get(ModelOption.MAX_NEW_TOKENS) is None
    assert asked.schema is None


def test_a_question_may_be_a_template_with_a_schema_and_options_of_its_own() -> None:
    schema = {"type": "boolean"}
    question = Template("Is {{ it }} fine?", {"it": "this"})
    hot = Options({ModelOption.TEMPERATURE: 1})
    _, backend = ask(Asks(question, schema=schema, options=hot))
    asked = backend.requests[1]
    assert asked.prompt == "Is this fine?"
    assert asked.schema == schema
    assert asked.options.get(ModelOption.TEMPERATURE) == 1


@pytest.mark.parametrize("wrap", [lambda backend: backend, Deferred])
def test_another_backend_is_asked_with_its_own_options_under_the_calls(wrap: Any) -> None:
    other = ScriptedBackend(["answer"], model_options={"top_k": 1, "top_p": 2, "seed": 3})
    strategy, backend = ask(Asks("Well?", backend=wrap(other)), None, top_k=9)
    assert len(backend.requests) == 1
    assert strategy.answer.text == "answer"
    known = other.requests[0].options
    assert known.extra == {"top_k": 9, "top_p": 2}
    assert known.get(ModelOption.SEED) is None


def test_what_is_no_backend_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match=r"ask\(backend=...\) needs a backend, not str"):
        ask(Asks("Well?", backend="gpt"))


def test_an_option_that_the_asked_backend_does_not_support_is_refused() -> None:
    seed = Options({ModelOption.SEED: 7})
    with pytest.raises(OptionError, match="no seed here"):
        ask(Asks("Well?", backend=Picky(), options=seed))
    # The call's own seed is not one of the question's options.
    assert ask(Asks("Well?", backend=Picky()), None, seed=7)[0].answer.text == "Quack."
