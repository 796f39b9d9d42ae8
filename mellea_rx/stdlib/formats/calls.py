"""A call with a format: what it asks, and what it takes for an answer."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import Any

import msgspec

from mellea_rx.core.component import Template
from mellea_rx.core.format import OutputFormat
from mellea_rx.core.request import Request, WireMessage
from mellea_rx.core.requirement import Requirement, ValidationResult
from mellea_rx.errors import BackendError, FormatError
from mellea_rx.formatters.template import Sources, render
from mellea_rx.stdlib.formats.misfit import checked

__all__ = ["FORMAT", "fits", "for_one_call", "in_format", "refused"]

FORMAT = Template(
    """\
{{ prompt }}

Answer with JSON that fits this schema:
{{ schema }}""",
    name="format",
)

_ABOUT_SCHEMAS = re.compile("schema|grammar|response_format|structured", re.IGNORECASE)
"""In a server's words: it does not take the schema, or none at all."""

_KEPT = 8
"""How many objects a call keeps beside their texts: some attempts run at once."""


def for_one_call(format: OutputFormat[Any]) -> OutputFormat[Any]:
    """The format for one call, in which no text is decoded twice: decoding may run user code."""
    decode = lru_cache(maxsize=_KEPT)(checked(format.name, format.decode))
    return replace(format, decode=decode)


def fits(format: OutputFormat[Any]) -> Requirement:
    """The requirement that an answer is of a format."""

    def is_of_format(text: str) -> ValidationResult:
        try:
            format.decode(text)
        except FormatError as error:
            return ValidationResult(False, reason=str(error))
        return ValidationResult(True)

    return Requirement(f"format {format.name}", is_of_format, check_only=True)


def in_format(request: Request, format: OutputFormat[Any], sources: Sources) -> Request:
    """The request for an answer in a format: constrained where the backend can, and told anyway.

    (A constraint alone lets a model say nothing else; it does not know what it is to say.)
    """
    messages = list(request.messages)
    asked = [index for index, message in enumerate(messages) if message.role == "user"]
    if not asked:
        messages.append(WireMessage("user", ""))
    index = asked[-1] if asked else -1
    schema = msgspec.json.encode(format.schema).decode()
    told = render(FORMAT.given(prompt=messages[index].content, schema=schema), sources)
    messages[index] = replace(messages[index], content=told.lstrip("\n"))
    return replace(request, messages=tuple(messages), schema=format.schema)


def refused(format: OutputFormat[Any], error: BackendError) -> BackendError:
    """The error, and whose schema it is about, where the server's words are about a schema."""
    if not _ABOUT_SCHEMAS.search(str(error)):
        return error
    return error.with_hint(f"this is about the JSON schema of format={format.name}")
