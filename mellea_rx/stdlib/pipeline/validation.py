"""Decides requirements by user functions and by the model as judge, for calls and attempts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mellea_rx.core.interfaces.backend import Backend
from mellea_rx.core.interfaces.component import Template
from mellea_rx.core.runtime.run_all import run_all
from mellea_rx.core.runtime.time_limit import unfinished
from mellea_rx.core.runtime.user_functions import call_user_function
from mellea_rx.core.text.judge_answers import JUDGE_TOKENS, judge_schema, reason_of
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.output import Output
from mellea_rx.core.types.requirement import Requirement, ValidationResult
from mellea_rx.stdlib.pipeline.asking import ask_model, options_beside
from mellea_rx.stdlib.pipeline.structured_output import refusal_reason
from mellea_rx.stdlib.pipeline.usage_tally import UsageTally
from mellea_rx.stdlib.prompts.renderer import Sources, render
from mellea_rx.stdlib.requirements.factories import validator_failed, validator_name, verdict

JUDGE = Template(
    """\
Decide whether a text meets a requirement.

Text:
{{ text }}

Requirement: {{ requirement }}

Does the text meet the requirement? Answer yes or no, and give the reason in one short sentence.""",
    name="judge",
)

_YES_OR_NO = judge_schema("verdict", {"type": "string", "enum": ["yes", "no"]})

_NO_OPTIONS = Options()

_BRIEF = Options({ModelOption.MAX_NEW_TOKENS: JUDGE_TOKENS})


class Judge(NamedTuple):
    """The model that judges an attempt.

    Attributes:
        backend: Its backend, resolved.
        options: The options of the call for this backend.
    """

    backend: Backend
    options: Options


async def validate_all(
    requirements: Sequence[Requirement],
    output: Output,
    *,
    backend: Backend,
    options: Options,
    given: Options = _NO_OPTIONS,
    loop: asyncio.AbstractEventLoop | None,
    where: str = "the output",
    sources: Sources,
    tally: UsageTally | None = None,
) -> list[ValidationResult]:
    """Decide all requirements at once. Runs on the engine.

    Args:
        requirements: The requirements.
        output: The output.
        backend: Judges where a requirement has no function; it is resolved.
        options: The call's model options; the judge gets the time limit and the servers' own
            options of them.
        given: Model options for the judge itself.
        loop: The caller's event loop, for async functions.
        where: The name of the output in messages ("attempt 2").
        sources: The user's templates by name, which replace the library's own.
        tally: Counts the judge's tokens.

    Returns:
        A result for each requirement, in order.

    Raises:
        ValidatorError: A function raised, or did not return a verdict; the cause is its exception.
        BackendError: The judge failed.
    """
    counted = UsageTally() if tally is None else tally
    of_the_judge = given.over(_BRIEF.over(options_beside(options)))

    async def decide(requirement: Requirement) -> ValidationResult:
        function = requirement.answer_function
        if function is None:
            return await _judge(
                requirement, output.text, backend, of_the_judge, loop, where, sources, counted
            )
        return await _call(requirement, function, output, loop, where)

    return await run_all([decide(each) for each in requirements])


async def _call(
    requirement: Requirement,
    function: Callable[[Output], Any],
    output: Output,
    loop: asyncio.AbstractEventLoop | None,
    where: str,
) -> ValidationResult:
    try:
        with unfinished(lambda: f"{validator_name(requirement, function)} in {where}"):
            return verdict(await call_user_function(function, output, loop=loop))
    except Exception as error:
        if _is_parse_error(error, output):
            return ValidationResult(False, reason=str(error))
        raise validator_failed(requirement, function, error, output.text, where) from error


def _is_parse_error(error: Exception, output: Output) -> bool:
    """Whether a function let the error of `output.parsed` pass: the answer cannot be parsed."""
    known = output.parse_error
    return known is not None and (type(error), str(error)) == (type(known), str(known))


async def _judge(
    requirement: Requirement,
    text: str,
    backend: Backend,
    options: Options,
    loop: asyncio.AbstractEventLoop | None,
    where: str,
    sources: Sources,
    tally: UsageTally,
) -> ValidationResult:
    read = requirement.output_to_bool
    prompt = render(JUDGE.given(text=text, requirement=requirement.description), sources)
    # A user's function may look for more than a yes or no.
    schema = _YES_OR_NO if read is None else None
    with unfinished(lambda: f"the judge of requirement {requirement.description!r} in {where}"):
        asked = await ask_model(
            backend, prompt, options, schema=schema, sources=sources, tally=tally
        )
    if read is None:
        return _yes_or_no(asked)
    refused = _refused(asked)
    if refused is not None:
        return refused
    answer = asked.text
    try:
        with unfinished(lambda: f"{validator_name(requirement, read)} in {where}"):
            passed = bool(await call_user_function(read, answer, loop=loop))
    except Exception as error:
        raise validator_failed(requirement, read, error, text, where) from error
    return ValidationResult(passed, reason=reason_of(answer))


async def ask_judge(
    prompt: str, judge: Judge, *, sources: Sources, tally: UsageTally
) -> ValidationResult:
    """Ask a model for yes or no. Runs on the engine.

    Args:
        prompt: The question.
        judge: The model.
        sources: The user's templates by name, which replace the library's own.
        tally: Counts the judge's tokens.

    Returns:
        The verdict, with the model's own words as its reason.

    Raises:
        BackendError: The model failed.
    """
    options = _BRIEF.over(options_beside(judge.options))
    asked = await ask_model(
        judge.backend, prompt, options, schema=_YES_OR_NO, sources=sources, tally=tally
    )
    return _yes_or_no(asked)


def _refused(asked: Chunk) -> ValidationResult | None:
    """The verdict where the model refused to give one; its text may contain a "yes"."""
    refused = refusal_reason(asked)
    return ValidationResult(False, reason=f"no verdict: {refused}") if refused else None


def _yes_or_no(asked: Chunk) -> ValidationResult:
    refused = _refused(asked)
    if refused is not None:
        return refused
    answer = asked.text
    # A single letter counts only as the first word: elsewhere it may mean anything.
    found = re.search(r"\b(yes|no)\b|^\W*(y|n)\b", answer, flags=re.IGNORECASE)
    if found is None:
        return ValidationResult(
            False, reason=f"the judge answered neither yes nor no: {answer[:200]!r}"
        )
    passed = (found[1] or found[2]).lower() in ("yes", "y")
    return ValidationResult(
        passed, reason=reason_of(answer) or (None if passed else "the judge says no")
    )
