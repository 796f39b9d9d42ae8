"""Decides requirements by user functions and by the model as judge, for calls and attempts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from mellea_rx.core.interfaces.backend import Backend
from mellea_rx.core.interfaces.component import Template
from mellea_rx.core.runtime.user_functions import call_user_function
from mellea_rx.core.streams.chunk_source import CollectingSink
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.output import Output
from mellea_rx.core.types.request import Request, RequestMessage
from mellea_rx.core.types.requirement import Requirement, ValidationResult
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


def _of_the_judge(options: Options) -> Options:
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
    output: Output,
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
        output: The output.
        backend: Judges where a requirement has no function; it is resolved.
        options: The call's model options; the judge gets the time limit and the servers' own
            options of them.
        given: Model options for the judge itself.
        loop: The caller's event loop, for async functions.
        where: The name of the output in messages ("attempt 2").
        sources: The user's templates by name, which replace the library's own.

    Returns:
        A result for each requirement, in order.

    Raises:
        ValidatorError: A function raised, or did not return a verdict; the cause is its exception.
        BackendError: The judge failed.
    """

    of_the_judge = given.over(_of_the_judge(options))

    async def decide(requirement: Requirement) -> ValidationResult:
        function = requirement.answer_function
        if function is None:
            return await _judge(
                requirement, output.text, backend, of_the_judge, loop, where, sources
            )
        return await _call(requirement, function, output, loop, where)

    return await _all_of([decide(each) for each in requirements])


async def _all_of(deciding: list[Coroutine[Any, Any, ValidationResult]]) -> list[ValidationResult]:
    """The results of coroutines that run at once. The first that fails ends the others.

    Raises:
        Exception: That of the first one that failed.
    """
    tasks: list[asyncio.Task[ValidationResult]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(each) for each in deciding]
        return [task.result() for task in tasks]
    except BaseExceptionGroup as failed:
        error = failed.exceptions[0]
        # A frame that the error passes through must not refer to it: the two would keep each other,
        # and the output's context, alive until the garbage collector runs.
        failed.__traceback__ = None
        tasks.clear()
    try:
        raise error
    finally:
        del error


async def _call(
    requirement: Requirement,
    function: Callable[[Output], Any],
    output: Output,
    loop: asyncio.AbstractEventLoop | None,
    where: str,
) -> ValidationResult:
    try:
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
) -> ValidationResult:
    read = requirement.output_to_bool
    prompt = render(JUDGE.given(text=text, requirement=requirement.description), sources)
    gathered = CollectingSink()
    # A user's function may look for more than a yes or no.
    schema = _YES_OR_NO if read is None else None
    request = Request((RequestMessage("user", prompt),), options, schema=schema)
    await generate_with_retries(backend, request, gathered)
    refused = refusal_reason(gathered.answer)
    if refused:  # its text may contain a "yes"
        return ValidationResult(False, reason=f"no verdict: {refused}")
    answer = gathered.text
    if read is None:
        return _yes_or_no(answer)
    try:
        passed = bool(await call_user_function(read, answer, loop=loop))
    except Exception as error:
        raise validator_failed(requirement, read, error, text, where) from error
    return ValidationResult(passed, reason=_words(answer))


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
