"""Decides requirements by user functions and by the model as judge, for calls and attempts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from mellea_rx.core.interfaces.backend import Backend
from mellea_rx.core.interfaces.component import Template
from mellea_rx.core.runtime.user_functions import call_user_function
from mellea_rx.core.streams.chunk_source import CollectingSink
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.request import Request, RequestMessage
from mellea_rx.core.types.requirement import Requirement, ValidationFunction, ValidationResult
from mellea_rx.stdlib.pipeline.retries import generate_with_retries
from mellea_rx.stdlib.pipeline.structured_output import refusal_reason
from mellea_rx.stdlib.prompts.renderer import Sources, render
from mellea_rx.stdlib.requirements.factories import validator_failed, verdict

JUDGE = Template(
    """\
Decide whether a text meets a requirement.

Text:
{{ text }}

Requirement: {{ requirement }}

Does the text meet the requirement? Answer yes or no, and give the reason in one short sentence.""",
    name="judge",
)

_SHOWN = 200
"""The maximum length of a reason in the judge's words, in characters."""
_LONGEST_REASON = 160
"""The maximum length of the reason in the judge's schema, in characters."""

_YES_OR_NO = {
    "type": "object",
    "properties": {
        "verdict": {"type": "string", "enum": ["yes", "no"]},
        "reason": {"type": "string", "maxLength": _LONGEST_REASON},
    },
    "required": ["verdict", "reason"],
    "additionalProperties": False,
}

_JUDGE_TOKENS = 80
"""The verdict comes first, so that a reason that is cut off does no harm."""


_NO_OPTIONS = Options()


def of_the_judge(options: Options) -> Options:
    """The options of a call's judge: its own, and those of the call that hold for it too.

    The latter decide how the model runs and how a request is sent, not the form of an answer.
    """
    kept = {  # another context window would have Ollama load the model again
        ModelOption.CONTEXT_WINDOW,
        ModelOption.FIRST_TOKEN_TIMEOUT,
        ModelOption.RETRIES,
    }
    if options.get(ModelOption.THINKING) is False:
        kept.add(ModelOption.THINKING)  # else it would use its few tokens for thinking
    own = {
        ModelOption.TEMPERATURE: 0,
        ModelOption.MAX_NEW_TOKENS: _JUDGE_TOKENS,
        ModelOption.STREAM_TIMEOUT: options.stream_timeout,
    }
    return Options(own).over(options.without(*set(ModelOption).difference(kept)))


async def validate_all(
    requirements: Sequence[Requirement],
    text: str,
    *,
    backend: Backend,
    options: Options,
    given: Options = _NO_OPTIONS,
    loop: asyncio.AbstractEventLoop | None,
    where: str = "the output",
    sources: Sources,
) -> list[ValidationResult]:
    """Decide all requirements at once. Runs on the engine.

    Args:
        requirements: The requirements.
        text: The output.
        backend: Judges where a requirement has no function; it is resolved.
        options: The call's model options; the judge gets the time limit and the servers' own
            options of them.
        given: Model options for the judge itself.
        loop: The caller's event loop, for async functions.
        where: The name of the text in messages ("attempt 2").
        sources: The user's templates by name, which replace the library's own.

    Returns:
        A result for each requirement, in order.

    Raises:
        ValidatorError: A function raised, or did not return a verdict; the cause is its exception.
        BackendError: The judge failed.
    """

    judging = given.over(of_the_judge(options))

    async def decide(requirement: Requirement) -> ValidationResult:
        if requirement.validation_fn is None:
            return await _judge(requirement, text, backend, judging, loop, where, sources)
        return await _call(requirement, requirement.validation_fn, text, loop, where)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(decide(each)) for each in requirements]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from failed.exceptions[0].__cause__
    return [task.result() for task in tasks]


async def _call(
    requirement: Requirement,
    function: ValidationFunction,
    text: str,
    loop: asyncio.AbstractEventLoop | None,
    where: str,
) -> ValidationResult:
    try:
        return verdict(await call_user_function(function, text, loop=loop))
    except Exception as error:
        raise validator_failed(requirement, function, error, text, where) from error


async def _judge(
    requirement: Requirement,
    text: str,
    backend: Backend,
    options: Options,
    loop: asyncio.AbstractEventLoop | None,
    where: str,
    sources: Sources,
) -> ValidationResult:
    read = requirement.output_to_bool
    prompt = render(JUDGE.given(text=text, requirement=requirement.description), sources)
    if read is None:
        return await ask_judge(prompt, backend, options)
    # A user's function may look for more than a yes or no.
    answer = await _answer_of_judge(prompt, backend, options, schema=None)
    if isinstance(answer, ValidationResult):
        return answer
    try:
        passed = bool(await call_user_function(read, answer, loop=loop))
    except Exception as error:
        raise validator_failed(requirement, read, error, text, where) from error
    return ValidationResult(passed, reason=_words(answer))


async def ask_judge(prompt: str, backend: Backend, options: Options) -> ValidationResult:
    """Ask a model for yes or no. Runs on the engine.

    Args:
        prompt: The question.
        backend: The model; resolved.
        options: Its options; see `of_the_judge`.

    Returns:
        The verdict, with the model's own words as its reason.

    Raises:
        BackendError: The model failed.
    """
    answer = await _answer_of_judge(prompt, backend, options, schema=_YES_OR_NO)
    return answer if isinstance(answer, ValidationResult) else _yes_or_no(answer)


async def _answer_of_judge(
    prompt: str, backend: Backend, options: Options, *, schema: dict[str, Any] | None
) -> str | ValidationResult:
    """The text of the model's answer; a verdict where it refused to give one."""
    gathered = CollectingSink()
    request = Request((RequestMessage("user", prompt),), options, schema=schema)
    await generate_with_retries(backend, request, gathered)
    refused = refusal_reason(gathered.answer)
    if refused:  # its text may contain a "yes"
        return ValidationResult(False, reason=f"no verdict: {refused}")
    return gathered.text


def _yes_or_no(answer: str) -> ValidationResult:
    # A single letter counts only as the first word: elsewhere it may mean anything.
    found = re.search(r"\b(yes|no)\b|^\W*(y|n)\b", answer, flags=re.IGNORECASE)
    if found is None:
        return ValidationResult(
            False, reason=f"the judge answered neither yes nor no: {answer[:200]!r}"
        )
    passed = (found[1] or found[2]).lower() in ("yes", "y")
    return ValidationResult(
        passed, reason=_words(answer) or (None if passed else "the judge says no")
    )


_REASON = re.compile(r'"reason"\s*:\s*("(?:[^"\\]|\\.)*)')


def _words(answer: str) -> str | None:
    """The reason in the judge's own words; in JSON its `reason`, which may be cut off."""
    words = answer.strip()
    if words.startswith("{"):
        found = _REASON.search(words)
        try:
            words = "" if found is None else msgspec.json.decode(found[1] + '"', type=str)
        except msgspec.MsgspecError:  # cut off within an escape
            words = ""
    return words.strip()[:_SHOWN] or None
