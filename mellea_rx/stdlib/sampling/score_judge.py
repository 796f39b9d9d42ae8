"""The model as judge that gives an attempt a score. `BestOfN` uses it."""

from __future__ import annotations

import re
from dataclasses import replace

from mellea_rx.core.interfaces.backend import Backend
from mellea_rx.core.interfaces.component import Template
from mellea_rx.core.interfaces.sampling import Sampler
from mellea_rx.core.text.judge_answers import JUDGE_TOKENS, judge_schema, reason_of
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.sampling_result import Attempt
from mellea_rx.errors import MelleaRxError

SCORE_JUDGE = Template(
    """\
Score the answer to a task by a criterion, from 0 (worst) to 10 (best).

Task:
{{ prompt }}

Answer:
{{ text }}

Criterion: {{ criterion }}

Give the score, and the reason in one short sentence.""",
    name="score_judge",
)

BEST_SCORE = 10
"""The highest score; the lowest is 0."""

_SCHEMA = judge_schema("score", {"type": "integer", "minimum": 0, "maximum": BEST_SCORE})
_BRIEF = Options({ModelOption.MAX_NEW_TOKENS: JUDGE_TOKENS})

_NAMED = re.compile(r"score\W{0,20}?(-?\d+(?:\.\d+)?)", re.IGNORECASE)
_OF_TEN = re.compile(r"(-?\d+(?:\.\d+)?)\s*(?:/|out of|of)\s*10\b", re.IGNORECASE)
_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?)")


async def scored_by_judge(
    attempt: Attempt, criterion: str, sampler: Sampler, judge: Backend | None
) -> Attempt:
    """Ask the model for the score of an attempt.

    Args:
        attempt: The attempt.
        criterion: The criterion in words.
        sampler: Asks.
        judge: The backend that is asked; the call's own by default.

    Returns:
        The attempt with its score and the judge's words; without a number in the answer, with
        the reason why there is no score.

    Raises:
        MelleaRxError: The judge failed; the error has the attempt's text.
    """
    prompt = SCORE_JUDGE.given(
        prompt=sampler.request.prompt, text=attempt.text, criterion=criterion
    )
    try:
        answer = await sampler.ask(prompt, schema=_SCHEMA, backend=judge, options=_BRIEF)
    except MelleaRxError as error:
        error.text = attempt.text
        raise
    if answer.finish_reason in ("refusal", "content_filter"):  # its text may contain a number
        reason = f"no score: the judge refused to answer: {answer.text[:200]!r}"
        return replace(attempt, score_reason=reason)
    score = score_in(answer.text)
    if score is None:
        reason = f"no score: the judge gave no number from 0 to {BEST_SCORE}: {answer.text[:200]!r}"
        return replace(attempt, score_reason=reason)
    return replace(attempt, score=score, score_reason=reason_of(answer.text))


def score_in(answer: str) -> float | None:
    """The score in a judge's answer; None where it has none from 0 to 10.

    In JSON it is the member "score". In words it is the number behind "score", else one "of 10",
    else the only number.

    Example:
        >>> score_in('{"score": 7, "reason": "It has 2 faults."}'), score_in("I say 8/10.")
        (7.0, 8.0)
        >>> score_in("It has 2 faults in 3 lines.")
    """
    found = _NAMED.search(answer)
    if found is None and not answer.lstrip().startswith("{"):
        found = _OF_TEN.search(answer)
        numbers = _NUMBER.findall(answer)
        if found is None and len(numbers) == 1:
            found = _NUMBER.search(answer)
    score = -1.0 if found is None else float(found[1])
    return score if 0 <= score <= BEST_SCORE else None
