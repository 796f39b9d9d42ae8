"""Imports messages of another conversation as turns; `ChatContext.from_messages` uses it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import msgspec

from mellea_rx.core.interfaces.component import (
    Component,
    Said,
    Template,
    TextComponent,
    is_component,
)
from mellea_rx.core.interfaces.context import Turn
from mellea_rx.core.streams.generation_view import GenerationView
from mellea_rx.core.types.chunk import Chunk, ToolCall
from mellea_rx.core.types.image import Image
from mellea_rx.core.types.request import RequestMessage, Role
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.prompts.prompt import rendered


@dataclass(frozen=True, slots=True)
class Asked(TextComponent):
    """The action of an imported or pickled turn: its messages, word for word."""

    messages: tuple[RequestMessage, ...]

    def template(self) -> Template:
        text = "\n\n".join(message.content for message in self.messages)
        return Template("{{ text }}", {"text": text})

    def said(self) -> tuple[Said, ...]:
        return tuple(
            Said(
                Template("{{ text }}", {"text": message.content}),
                message.role,
                message.images,
                tool_name=message.tool_name,
                tool_call_id=message.tool_call_id,
            )
            for message in self.messages
        )


def turns_of(
    messages: Iterable[RequestMessage | Mapping[str, Any] | Component[Any]],
) -> tuple[Turn, ...]:
    """A turn for each of the assistant's messages, with the messages before it.

    Raises:
        InvalidInputError: Something is not a message (the error names its place), or the last
            message has no answer.
    """
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
        raise InvalidInputError(f"messages must be a list of them, not {type(messages).__name__}")
    turns: list[Turn] = []
    pending: list[RequestMessage] = []
    for place, given in enumerate(messages):
        for message in _messages(given, place):
            if message.role != "assistant":
                pending.append(message)
                continue
            question = tuple(pending)
            answer = Chunk(message.content, tool_calls=message.tool_calls)
            turns.append(Turn(Asked(question), question, GenerationView.of(answer)))
            pending = []
    if pending:
        raise InvalidInputError(
            f"the last message is the {pending[-1].role}'s and has no answer: "
            "leave it out here, and say it with chat"
        )
    return tuple(turns)


def _messages(given: object, place: int) -> tuple[RequestMessage, ...]:
    if isinstance(given, RequestMessage):
        return (given,)
    if isinstance(given, Mapping):
        return (_from_mapping(given, place),)
    if is_component(given):
        component: Any = given
        return rendered(component)
    raise InvalidInputError(
        f"messages[{place}] must be a dict of role and content, a RequestMessage or a component, "
        f"not {type(given).__name__}"
    )


def _from_mapping(given: Mapping[Any, Any], place: int) -> RequestMessage:
    role: Any = given.get("role")
    if role == "developer":  # the name of newer models of OpenAI for the same
        role = "system"
    if role not in get_args(Role):
        raise InvalidInputError(
            f"messages[{place}] must have a role ({', '.join(get_args(Role))}), not {role!r:.80}"
        )
    calls = given.get("tool_calls") or ()
    if not isinstance(calls, (list, tuple)):
        raise InvalidInputError(
            f"messages[{place}] must have a list as its tool_calls, not {type(calls).__name__}"
        )
    content = given.get("content")
    images: tuple[Image, ...] = ()
    if isinstance(content, (list, tuple)):
        content, images = _parts(content, place)
    if not isinstance(content, str) and not (content is None and calls):
        raise InvalidInputError(
            f"messages[{place}] must have a str, or a list of parts, as its content, not "
            f"{type(content).__name__}"
        )
    for name in ("name", "tool_name", "tool_call_id"):
        if not isinstance(given.get(name) or "", str):
            kind = type(given[name]).__name__
            raise InvalidInputError(f"messages[{place}] must have a str as its {name}, not {kind}")
    return RequestMessage(
        role,
        content or "",
        images,
        tool_calls=tuple(_tool_call(call, place) for call in calls),
        tool_name=given.get("tool_name") or given.get("name") or "" if role == "tool" else "",
        tool_call_id=given.get("tool_call_id") or "",
    )


def _parts(parts: Sequence[Any], place: int) -> tuple[str, tuple[Image, ...]]:
    """The text and the pictures of a content in parts."""
    texts: list[str] = []
    images: list[Image] = []
    for index, part in enumerate(parts):
        where = f"messages[{place}].content[{index}]"
        match part:
            case {"type": "text", "text": str() as text}:
                texts.append(text)
            case {"type": "image_url", "image_url": {"url": str() as url} | (str() as url)}:
                images.append(_image(url, where))
            case {"type": str() as kind} if kind not in ("text", "image_url"):
                raise InvalidInputError(
                    f"{where} is of type {kind!r:.40}; text and image_url can be read"
                )
            case _:
                raise InvalidInputError(f"{where} must be a part with a text or an image_url")
    return "".join(texts), tuple(images)


def _image(url: str, where: str) -> Image:
    try:
        return Image.from_base64(url) if url.startswith("data:") else Image.from_url(url)
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error}") from None


def _tool_call(given: object, place: int) -> ToolCall:
    if isinstance(given, ToolCall):
        return given
    try:
        call: Any = given
        function = call["function"]
        arguments = function["arguments"]
        if isinstance(arguments, str):
            # Not msgspec, which refuses half a surrogate pair, as a model may generate it.
            arguments = json.loads(arguments)
        return msgspec.convert(
            {"name": function["name"], "arguments": arguments, "id": call.get("id") or ""}, ToolCall
        )
    except (TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"messages[{place}] has a tool call that cannot be read "
            f"({type(error).__name__}: {error}): it needs a function with name and arguments"
        ) from None
