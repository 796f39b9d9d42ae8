"""Turns into exchanges: what was said, with tool calls and their results held together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from mellea_rx.core.chunk import Chunk
from mellea_rx.core.component import Component
from mellea_rx.core.context import Exchange, Turn
from mellea_rx.core.request import WireMessage, begins

__all__ = ["Past", "joined_system", "past_of"]

Render = Callable[[Component[Any]], tuple[WireMessage, ...]]


@dataclass(frozen=True, slots=True)
class Past:
    """What was said before a prompt.

    Attributes:
        system: The system messages that the conversation began with.
        closed: The exchanges after them that are over, oldest first.
        open: The messages of the exchange that the prompt goes on with, by a tool's result.
    """

    system: tuple[WireMessage, ...] = ()
    closed: tuple[Exchange, ...] = ()
    open: tuple[WireMessage, ...] = ()


_NOTHING = Past()


def past_of(turns: Iterable[Turn], render: Render, *, goes_on: bool = False) -> Past:
    """What was said in these turns; those that failed or were cancelled were never said.

    Args:
        turns: Ended ones, oldest first.
        render: What a component says, for turns that could not be rendered when they were made.
        goes_on: Whether what is asked now is a tool's result, and so goes on with the last
            exchange.
    """
    exchanges: list[Exchange] = []
    for turn in turns:
        if not turn.output.is_complete:
            continue
        asked = render(turn.action) if turn.messages is None else turn.messages
        said = _said(asked, turn.output.answer)
        if exchanges and _is_result(asked):
            exchanges[-1] = _joined(exchanges[-1], said)
        else:
            exchanges.append(said)
    if not exchanges:
        return _NOTHING
    opened = exchanges.pop().messages if goes_on else ()
    system = _leading_system(exchanges[0].messages if exchanges else opened)
    if system and exchanges:
        exchanges[0] = replace(exchanges[0], messages=exchanges[0].messages[len(system) :])
    elif system:
        opened = opened[len(system) :]
    closed = (replace(each, messages=tuple(_answered(each.messages))) for each in exchanges)
    return Past(system, tuple(each for each in closed if each.messages), opened)


def joined_system(messages: Sequence[WireMessage]) -> tuple[WireMessage, ...]:
    """These messages, with the system's at their front as one: chat templates take only one."""
    system = _leading_system(messages) if len(messages) > 1 else ()
    if len(system) < 2:
        return tuple(messages)
    text = "\n\n".join(message.content for message in system)
    return (WireMessage("system", text), *messages[len(system) :])


def _said(asked: tuple[WireMessage, ...], answer: Chunk) -> Exchange:
    # How the answer was to begin is part of the answer.
    question = asked[:-1] if begins(asked) else asked
    messages = (
        *question,
        WireMessage("assistant", answer.text, tool_calls=answer.tool_calls),
    )
    # The tokens that a server told include the reasoning, which is not said again.
    told = None if answer.usage is None or answer.thinking else answer.usage.completion_tokens
    return Exchange(messages, told)


def _is_result(asked: tuple[WireMessage, ...]) -> bool:
    return bool(asked) and asked[0].role == "tool"


def _joined(before: Exchange, more: Exchange) -> Exchange:
    told = before.completion_tokens, more.completion_tokens
    total = None if told[0] is None or told[1] is None else told[0] + told[1]
    return Exchange(before.messages + more.messages, total)


def _leading_system(messages: Sequence[WireMessage]) -> tuple[WireMessage, ...]:
    return tuple(takewhile(lambda message: message.role == "system", messages))


def _answered(messages: tuple[WireMessage, ...]) -> Iterator[WireMessage]:
    """The messages, without tool calls that were never answered: servers refuse those."""
    for index, message in enumerate(messages):
        if not message.tool_calls:
            yield message
            continue
        results = list(takewhile(lambda each: each.role == "tool", messages[index + 1 :]))
        by_id = {result.tool_call_id for result in results}
        by_name = {result.tool_name for result in results}
        kept = [
            call
            for call in message.tool_calls
            if (call.id in by_id if call.id else call.name in by_name)
        ]
        yield replace(message, tool_calls=tuple(kept))
