"""Prompted tools: tools for backends without them. `generate` uses it.

The system message describes the tools, and a schema leaves the model a choice: a call,
`{"tool": name, "arguments": {...}}`, or `{"answer": text}`. The choice is pushed as a tool call or
as text, so that callers see no difference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from mellea_rx.core.interfaces.component import Template
from mellea_rx.core.streams.chunk_source import Push
from mellea_rx.core.types.chunk import Chunk, ToolCall
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.request import Request, RequestMessage
from mellea_rx.core.types.tool import tool_name
from mellea_rx.errors import OptionError, ProtocolError
from mellea_rx.stdlib.prompts.renderer import NO_SOURCES, Sources, render

TOOLS = Template(
    """\
{% if may_answer -%}
You can call a tool, or answer. Use JSON.
To call a tool: {"tool": its name, "arguments": {...}}
To answer: {"answer": your words}
{%- else -%}
Call a tool. Use JSON: {"tool": its name, "arguments": {...}}
{%- endif %}

The tools:
{% for each in tools -%}
- {{ each.name }}{% if each.description %}: {{ each.description }}{% endif %}
  arguments: {{ each.parameters }}
{% endfor %}""",
    name="tools",
)

TOOL_RESULTS = Template(
    """\
This is known now:
{% for each in results -%}
- {{ each }}
{% endfor %}
Is that enough? Then answer in words.""",
    name="tool_results",
)
# (A small model that reads a tool's name in the last message calls that tool again.)


@dataclass(frozen=True, slots=True)
class _Choice:
    """The choices of the model.

    Attributes:
        tools: The JSON descriptions of the tools that it may call.
        may_answer: Whether it may answer instead.
    """

    tools: tuple[Mapping[str, Any], ...]
    may_answer: bool


def has_tools(request: Request) -> bool:
    """Whether a request offers tools, or has messages with tool calls or their results."""
    standard = request.options.standard
    if ModelOption.TOOLS in standard or ModelOption.TOOL_CHOICE in standard:
        return True
    return any(message.tool_calls or message.role == "tool" for message in request.messages)


def check_in_words(options: Options) -> None:
    """Refuse tools that cannot be described in words.

    Raises:
        OptionError: A description has no function's name, or TOOL_CHOICE names no offered tool.
    """
    _choice_of(options)


def without_tools(request: Request, sources: Sources = NO_SOURCES) -> tuple[Request, bool]:
    """A request that describes the tools in words instead.

    Args:
        request: The request.
        sources: The user's templates by name, which replace the library's own.

    Returns:
        The request, and whether its answer is a choice, to be read by a `PromptedToolDecoder`.
    """
    choice = _choice_of(request.options)
    options = request.options.without(ModelOption.TOOLS, ModelOption.TOOL_CHOICE)
    messages = tuple(_without_calls(request.messages, sources))
    # An answer with a prefill cannot be a call.
    if not choice.tools or request.prefill:
        return replace(request, messages=messages, options=options), False
    messages = _with_system(messages, _described(choice, sources))
    schema = _schema(choice, request.schema)
    return replace(request, messages=messages, options=options, schema=schema), True


def _choice_of(options: Options) -> _Choice:
    tools = {_name_of(each): each for each in options.get(ModelOption.TOOLS) or ()}
    choice = options.get(ModelOption.TOOL_CHOICE, "auto")
    if isinstance(choice, Mapping):
        choice = tool_name(choice) or choice
    if choice == "none" or not tools:
        return _Choice((), may_answer=True)
    if choice in ("auto", "required"):
        return _Choice(tuple(tools.values()), may_answer=choice == "auto")
    if not isinstance(choice, str) or choice not in tools:
        names = ", ".join(map(repr, tools))
        raise OptionError(
            f"{ModelOption.TOOL_CHOICE} must be 'auto', 'none', 'required' or a tool's name "
            f"({names}), not {choice!r}"
        )
    return _Choice((tools[choice],), may_answer=False)


def _name_of(description: Mapping[str, Any]) -> str:
    name = tool_name(description)
    if not name:
        raise OptionError(
            f"{ModelOption.TOOLS} has a description without a function's name, which only a "
            f"server of its own could understand: {dict(description)!r}"
        )
    return name


# Messages with calls and results.


def _without_calls(
    messages: Sequence[RequestMessage], sources: Sources
) -> Iterator[RequestMessage]:
    """The messages with calls and results as text; adjacent results become one message."""
    for is_result, group in groupby(messages, lambda message: message.role == "tool"):
        if is_result:
            results = [message.content for message in group]
            yield RequestMessage("user", render(TOOL_RESULTS.given(results=results), sources))
        else:
            yield from map(_with_calls, group)


def _with_calls(message: RequestMessage) -> RequestMessage:
    if not message.tool_calls:
        return message
    calls = [
        _to_json({"tool": each.name, "arguments": each.arguments}) for each in message.tool_calls
    ]
    text = [message.content] if message.content else []
    return replace(message, content="\n".join([*text, *calls]), tool_calls=())


def _with_system(messages: tuple[RequestMessage, ...], words: str) -> tuple[RequestMessage, ...]:
    first = messages[0]
    if first.role != "system":
        return (RequestMessage("system", words), *messages)
    return (replace(first, content=f"{first.content}\n\n{words}"), *messages[1:])


def _described(choice: _Choice, sources: Sources) -> str:
    tools = [
        {
            "name": function["name"],
            "description": function.get("description", ""),
            "parameters": _to_json(function.get("parameters", {})),
        }
        for function in (each["function"] for each in choice.tools)
    ]
    given = TOOLS.given(tools=tools, may_answer=choice.may_answer)
    return render(given, sources).rstrip("\n")


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


# The schema of the choice.


def _schema(choice: _Choice, answer: Mapping[str, Any] | None) -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    branches = []
    for each in choice.tools:
        function = each["function"]
        arguments = _hoisted(function["name"], function.get("parameters"), definitions)
        branches.append(_object(tool={"const": function["name"]}, arguments=arguments))
    if choice.may_answer:
        text = {"type": "string"} if answer is None else _hoisted("answer", answer, definitions)
        branches.append(_object(answer=text))
    schema: dict[str, Any] = {"anyOf": branches} if len(branches) > 1 else branches[0]
    return {**schema, "$defs": definitions} if definitions else schema


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _hoisted(
    owner: str, schema: Mapping[str, Any] | None, definitions: dict[str, Any]
) -> dict[str, Any]:
    """A schema as a part of another one: its definitions move to the top, under new names."""
    own = dict(schema or {"type": "object"})
    defined = own.pop("$defs", {})

    def renamed(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                key: f"#/$defs/{owner}.{inner.removeprefix('#/$defs/')}"
                if key == "$ref" and isinstance(inner, str) and inner.startswith("#/$defs/")
                else renamed(inner)
                for key, inner in value.items()
            }
        return [renamed(each) for each in value] if isinstance(value, (list, tuple)) else value

    definitions.update({f"{owner}.{name}": renamed(each) for name, each in defined.items()})
    hoisted: dict[str, Any] = renamed(own)
    return hoisted


# The choice in the answer.

_BEGINS = re.compile(r'\s*\{\s*"answer"\s*:\s*"')
# The longest part of a JSON string that can be decoded: without half an escape or surrogate pair.
_WHOLE = re.compile(
    r'(?:[^"\\]|\\(?:["\\/bfnrt]|u(?:[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4}'
    r"|(?![dD][89abAB])[0-9a-fA-F]{4})))*"
)


class PromptedToolDecoder:
    """Turns the chunks of a choice in JSON into chunks of text, or a tool call.

    The text of an answer is pushed live; a call is pushed when it is complete.

    Args:
        push: Takes the chunks.
        who: The name of the backend in messages.
    """

    def __init__(self, push: Push, who: str) -> None:
        self._push = push
        self._who = who
        self._raw = ""  # JSON that was not pushed yet
        self._answers = False
        self._last = Chunk()

    def take(self, chunk: Chunk) -> None:
        """Take a chunk of the choice."""
        self._raw += chunk.text
        text = self._next_text() if chunk.text else ""
        if chunk.finish_reason is not None:  # kept, to be pushed with the call
            self._last, chunk = chunk, Chunk()
        if text or chunk.thinking or chunk.usage is not None:
            self._push(Chunk(text, chunk.thinking, usage=chunk.usage, model=chunk.model))

    def finish(self) -> None:
        """Take the end of the choice.

        Raises:
            ProtocolError: It is a call that was cut off by its length.
        """
        text, calls = ("", ()) if self._answers else self._choice()
        last = self._last
        self._push(Chunk(text, last.thinking, calls, last.usage, last.finish_reason, last.model))

    def _next_text(self) -> str:
        if not self._answers:
            begins = _BEGINS.match(self._raw)
            if begins is None:
                return ""
            self._answers = True
            self._raw = self._raw[begins.end() :]
        found = _WHOLE.match(self._raw)
        assert found is not None  # it matches "" too
        self._raw = self._raw[found.end() :]
        text: str = json.loads(f'"{found[0]}"', strict=False)
        return text

    def _choice(self) -> tuple[str, tuple[ToolCall, ...]]:
        source = self._raw
        try:
            chosen = json.loads(source, strict=False)
        except (ValueError, RecursionError):
            if self._last.finish_reason == "length" and source.lstrip().startswith("{"):
                raise ProtocolError(
                    f"{self._who} sent a tool call that was cut off by its length "
                    f"({ModelOption.MAX_NEW_TOKENS}): {source[:200]!r}"
                ) from None
            return source, ()  # the model was not held to the schema, and answered in words
        match chosen:
            case {"tool": str() as name, "arguments": dict() as arguments}:
                return "", (ToolCall(name, arguments),)
            case {"answer": str() as text}:
                return text, ()
            case {"answer": value}:
                return _to_json(value), ()
        return source, ()
