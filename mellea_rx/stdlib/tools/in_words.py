"""Tools for a model whose template knows none: told of in words, called by a choice in JSON.

The system message describes the tools, and a schema leaves the model a choice: a call,
`{"tool": name, "arguments": {...}}`, or `{"answer": text}`. What it chooses comes out as a tool
call or as text, so that nobody above can tell the difference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from mellea_rx.core.chunk import Chunk, ToolCall
from mellea_rx.core.component import Template
from mellea_rx.core.options import ModelOption, Options
from mellea_rx.core.request import Request, WireMessage
from mellea_rx.core.source import Push
from mellea_rx.core.tool import described_name
from mellea_rx.errors import OptionError, ProtocolError
from mellea_rx.formatters.template import NO_SOURCES, Sources, render

__all__ = [
    "TOOLS",
    "TOOL_RESULTS",
    "ChoiceReader",
    "check_in_words",
    "has_tools",
    "without_tools",
]

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
# (A small model that reads a tool's name in its last message calls that tool again.)


@dataclass(frozen=True, slots=True)
class _Choice:
    """What the model may choose from.

    Attributes:
        tools: Descriptions of what it may call.
        may_answer: Whether it may answer instead.
    """

    tools: tuple[Mapping[str, Any], ...]
    may_answer: bool


def has_tools(request: Request) -> bool:
    """Whether a request speaks of tools: offers some, or tells of calls that were made."""
    standard = request.options.standard
    if ModelOption.TOOLS in standard or ModelOption.TOOL_CHOICE in standard:
        return True
    return any(message.tool_calls or message.role == "tool" for message in request.messages)


def check_in_words(options: Options) -> None:
    """Refuse tools that cannot be told of in words.

    Raises:
        OptionError: A description without a function's name, or a choice of a tool there is not.
    """
    _choice_of(options)


def without_tools(request: Request, sources: Sources = NO_SOURCES) -> tuple[Request, bool]:
    """A request without tools that says the same in words.

    Args:
        request: What is asked.
        sources: What takes the place of templates, by their names.

    Returns:
        The request, and whether its answer is a choice, for a `ChoiceReader`.
    """
    choice = _choice_of(request.options)
    options = request.options.without(ModelOption.TOOLS, ModelOption.TOOL_CHOICE)
    messages = tuple(_spoken(request.messages, sources))
    # An answer whose beginning is given can be no call.
    if not choice.tools or request.beginning:
        return replace(request, messages=messages, options=options), False
    messages = _with_system(messages, _described(choice, sources))
    schema = _schema(choice, request.schema)
    return replace(request, messages=messages, options=options, schema=schema), True


def _choice_of(options: Options) -> _Choice:
    tools = {_name_of(each): each for each in options.get(ModelOption.TOOLS) or ()}
    choice = options.get(ModelOption.TOOL_CHOICE, "auto")
    if isinstance(choice, Mapping):
        choice = described_name(choice) or choice
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
    name = described_name(description)
    if not name:
        raise OptionError(
            f"{ModelOption.TOOLS} has a description without a function's name, which only a "
            f"server of its own could understand: {dict(description)!r}"
        )
    return name


# What was said before.


def _spoken(messages: Sequence[WireMessage], sources: Sources) -> Iterator[WireMessage]:
    """The messages with calls and results as text; results that follow each other are one."""
    for is_result, group in groupby(messages, lambda message: message.role == "tool"):
        if is_result:
            results = [message.content for message in group]
            yield WireMessage("user", render(TOOL_RESULTS.given(results=results), sources))
        else:
            yield from map(_with_calls, group)


def _with_calls(message: WireMessage) -> WireMessage:
    if not message.tool_calls:
        return message
    calls = [
        _to_json({"tool": each.name, "arguments": each.arguments}) for each in message.tool_calls
    ]
    said = [message.content] if message.content else []
    return replace(message, content="\n".join([*said, *calls]), tool_calls=())


def _with_system(messages: tuple[WireMessage, ...], words: str) -> tuple[WireMessage, ...]:
    first = messages[0]
    if first.role != "system":
        return (WireMessage("system", words), *messages)
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


# What may be answered.


def _schema(choice: _Choice, answer: Mapping[str, Any] | None) -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    branches = []
    for each in choice.tools:
        function = each["function"]
        arguments = _hoisted(function["name"], function.get("parameters"), definitions)
        branches.append(_object(tool={"const": function["name"]}, arguments=arguments))
    if choice.may_answer:
        said = {"type": "string"} if answer is None else _hoisted("answer", answer, definitions)
        branches.append(_object(answer=said))
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
    """A schema to put into another one: its definitions go to the top, under names of its own."""
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


# What was answered.

_BEGINS = re.compile(r'\s*\{\s*"answer"\s*:\s*"')
# As much of a JSON string as can be decoded: no half escape, no half pair of surrogates.
_WHOLE = re.compile(
    r'(?:[^"\\]|\\(?:["\\/bfnrt]|u(?:[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4}'
    r"|(?![dD][89abAB])[0-9a-fA-F]{4})))*"
)


class ChoiceReader:
    """What a model chose: chunks of JSON in, chunks of text or a tool call out.

    The text of an answer goes on as it comes; a call is pushed when it is complete.

    Args:
        push: Takes the chunks.
        who: What messages call the model.
    """

    def __init__(self, push: Push, who: str) -> None:
        self._push = push
        self._who = who
        self._raw = ""  # what has not gone on yet
        self._answers = False
        self._last = Chunk()

    def take(self, chunk: Chunk) -> None:
        """One more chunk of the choice."""
        self._raw += chunk.text
        text = self._next_text() if chunk.text else ""
        if chunk.finish_reason is not None:  # kept, so that it comes with the call
            self._last, chunk = chunk, Chunk()
        if text or chunk.thinking or chunk.usage is not None:
            self._push(Chunk(text, chunk.thinking, usage=chunk.usage, model=chunk.model))

    def finish(self) -> None:
        """The choice is complete.

        Raises:
            ProtocolError: It is a call that was cut off.
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
            return source, ()  # an answer in words, of a model that nothing held to the schema
        match chosen:
            case {"tool": str() as name, "arguments": dict() as arguments}:
                return "", (ToolCall(name, arguments),)
            case {"answer": str() as text}:
                return text, ()
            case {"answer": value}:
                return _to_json(value), ()
        return source, ()
