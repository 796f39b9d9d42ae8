"""Deciding requirements: by the user's functions, and by the model as judge."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

import msgspec

from mellea_rx.core.backend import Backend
from mellea_rx.core.callbacks import call_user
from mellea_rx.core.component import Template
from mellea_rx.core.options import ModelOption, Options
from mellea_rx.core.request import Request, WireMessage
from mellea_rx.core.requirement import Requirement, ValidationFunction, ValidationResult
from mellea_rx.core.sink import Gathered
from mellea_rx.formatters.template import Sources, render
from mellea_rx.stdlib.refusals import refusal_told
from mellea_rx.stdlib.requirements.blame import validator_failed
from mellea_rx.stdlib.requirements.build import verdict
from mellea_rx.stdlib.tries import generate_with_retries

__all__ = ["JUDGE", "validate_all"]

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
"""Characters of the judge's words that a reason has at most."""
_LONGEST_REASON = 160
"""Characters, where the server holds the judge to a schema."""

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
"""The verdict comes first: a reason that is cut off costs nothing."""


def _of_the_model(options: Options) -> Options:
    """The options of a call that hold for its judge too: those that say how the model is run."""
    kept = {ModelOption.CONTEXT_WINDOW}  # another one would have Ollama load the model again
    if options.get(ModelOption.THINKING) is False:
        kept.add(ModelOption.THINKING)  # else it would think its few tokens away
    return options.without(*set(ModelOption).difference(kept))


async def validate_all(
    requirements: Sequence[Requirement],
    text: str,
    *,
    backend: Backend,
    options: Options,
    loop: asyncio.AbstractEventLoop | None,
    where: str = "the output",
    sources: Sources,
) -> list[ValidationResult]:
    """Decide all requirements at once. Runs on the engine.

    Args:
        requirements: What the text has to be.
        text: The output.
        backend: Judges where there is no function.
        options: The call's model options; the judge takes its time limit and own names from them.
        loop: The caller's event loop, for async functions.
        where: What messages call the text ("attempt 2").
        sources: What takes the place of templates, by their names.

    Returns:
        A result for each requirement, in order.

    Raises:
        ValidatorError: A function raised, or returned no verdict; its exception is the cause.
        BackendError: The judge failed.
    """

    async def decide(requirement: Requirement) -> ValidationResult:
        if requirement.validation_fn is None:
            return await _judge(requirement, text, backend, options, loop, where, sources)
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
        return verdict(await call_user(function, text, loop=loop))
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
    of_the_judge = Options(
        {
            ModelOption.TEMPERATURE: 0,
            ModelOption.MAX_NEW_TOKENS: _JUDGE_TOKENS,
            ModelOption.STREAM_TIMEOUT: options.stream_timeout,
        }
    )
    judge_options = of_the_judge.over(_of_the_model(options))
    prompt = render(JUDGE.given(text=text, requirement=requirement.description), sources)
    gathered = Gathered()
    # A reader of the user's own may look for more than a yes or no.
    schema = _YES_OR_NO if read is None else None
    request = Request((WireMessage("user", prompt),), judge_options, schema=schema)
    await generate_with_retries(backend, request, gathered)
    refused = refusal_told(gathered.answer)
    if refused:  # it may well have a "yes" in it
        return ValidationResult(False, reason=f"no verdict: {refused}")
    said = gathered.text
    if read is None:
        return _yes_or_no(said)
    try:
        passed = bool(await call_user(read, said, loop=loop))
    except Exception as error:
        raise validator_failed(requirement, read, error, text, where) from error
    return ValidationResult(passed, reason=_words(said))


def _yes_or_no(said: str) -> ValidationResult:
    # A lone letter counts only as the first word: elsewhere it may be anything.
    found = re.search(r"\b(yes|no)\b|^\W*(y|n)\b", said, flags=re.IGNORECASE)
    if found is None:
        return ValidationResult(
            False, reason=f"the judge answered neither yes nor no: {said[:200]!r}"
        )
    passed = (found[1] or found[2]).lower() in ("yes", "y")
    return ValidationResult(
        passed, reason=_words(said) or (None if passed else "the judge says no")
    )


_REASON = re.compile(r'"reason"\s*:\s*("(?:[^"\\]|\\.)*)')


def _words(said: str) -> str | None:
    """The reason in the judge's own words; of JSON its `reason`, which may be cut off."""
    words = said.strip()
    if words.startswith("{"):
        found = _REASON.search(words)
        try:
            words = "" if found is None else msgspec.json.decode(found[1] + '"', type=str)
        except msgspec.MsgspecError:  # cut off within an escape
            words = ""
    return words.strip()[:_SHOWN] or None
