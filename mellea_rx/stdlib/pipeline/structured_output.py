"""Calls with a format: the request's schema, the answer's checks, and refusals.

Used by the call pipeline and by attempts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import msgspec

from mellea_rx.core.interfaces.component import Template
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.output import Output
from mellea_rx.core.types.output_format import OutputFormat
from mellea_rx.core.types.request import Request, RequestMessage
from mellea_rx.core.types.requirement import Requirement, ValidationResult
from mellea_rx.errors import BackendError, FormatError, ModelRefusedError
from mellea_rx.stdlib.formats.python_types import checked
from mellea_rx.stdlib.prompts.renderer import Sources, render
from mellea_rx.wire.error_text import printable

_SHOWN = 200
"""The number of characters of a refusal that a message shows."""

_REASONS: Mapping[str, str] = {
    "refusal": "the model refused to answer",
    "content_filter": "the server's content filter stopped the answer",
}


def refusal_reason(answer: Chunk) -> str:
    """The reason of a refusal, with the beginning of its text; "" for an answer."""
    why = _REASONS.get(answer.finish_reason or "", "")
    return f"{why}: {printable(answer.text, _SHOWN)!r}" if why and answer.text else why


def require_answer(answer: Chunk) -> None:
    """Raise an error for a refusal, where an answer of a format is required.

    Raises:
        ModelRefusedError: It is a refusal.
    """
    why = refusal_reason(answer)
    if why and not answer.tool_calls:
        raise ModelRefusedError(
            f"{why} (finish_reason {answer.finish_reason!r}); it is not asked again: change the "
            "prompt, or leave format= and require=True out to get this text as the value",
            text=answer.text,
            finish_reason=answer.finish_reason or "",
        )


FORMAT = Template(
    """\
{{ prompt }}

Answer with JSON that fits this schema:
{{ schema }}""",
    name="format",
)

_ABOUT_SCHEMAS = re.compile("schema|grammar|response_format|structured", re.IGNORECASE)
"""Matches a server's error about a schema, or about all schemas."""

_KEPT = 8
"""The number of decoded objects that a call caches: several attempts may run at once."""


def for_one_call(format: OutputFormat[Any]) -> OutputFormat[Any]:
    """The format with a cache for one call, since decoding may run a user's code."""
    decode = lru_cache(maxsize=_KEPT)(checked(format.name, format.decode))
    return replace(format, decode=decode)


def format_requirement(format: OutputFormat[Any]) -> Requirement:
    """The requirement that an answer fits a format."""

    def is_of_format(output: Output) -> ValidationResult:
        try:
            format.decode(output.text)  # a cache of the format may keep it: so not the output
        except FormatError as error:
            return ValidationResult(False, reason=str(error))
        return ValidationResult(True)

    return Requirement(f"format {format.name}", is_of_format, check_only=True)


def with_format_instructions(
    request: Request, format: OutputFormat[Any], sources: Sources
) -> Request:
    """The request for an answer in a format: with the schema, and with instructions in the prompt.

    (A constraint alone excludes other answers, but the model does not know what to write.)
    """
    messages = list(request.messages)
    user = [index for index, message in enumerate(messages) if message.role == "user"]
    if not user:
        messages.append(RequestMessage("user", ""))
    index = user[-1] if user else -1
    schema = msgspec.json.encode(format.schema).decode()
    content = render(FORMAT.given(prompt=messages[index].content, schema=schema), sources)
    messages[index] = replace(messages[index], content=content.lstrip("\n"))
    return replace(request, messages=tuple(messages), schema=format.schema)


def explain_schema_error(format: OutputFormat[Any], error: BackendError) -> BackendError:
    """The error, with a hint to the call's format where the server's message is about a schema."""
    if not _ABOUT_SCHEMAS.search(str(error)):
        return error
    return error.with_hint(f"this is about the JSON schema of format={format.name}")
