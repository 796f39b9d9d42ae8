"""Makes exchanges of turns, with tool calls and results in one. `Prompt` and contexts use it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from mellea_rx.core.interfaces.component import Component
from mellea_rx.core.interfaces.context import Exchange, Turn
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.request import RequestMessage, has_prefill

Render = Callable[[Component[Any]], tuple[RequestMessage, ...]]


@dataclass(frozen=True, slots=True)
class Past:
    """The history before a prompt.

    Attributes:
        system: The system messages at the beginning of the conversation.
        closed: The complete exchanges after them, oldest first.
        open: The messages of the exchange that the prompt continues with a tool's result.
    """

    system: tuple[RequestMessage, ...] = ()
    closed: tuple[Exchange, ...] = ()
    open: tuple[RequestMessage, ...] = ()


_NOTHING = Past()


def past_of(turns: Iterable[Turn], render: Render, *, goes_on: bool = False) -> Past:
    """The history of some turns, without those that failed or were cancelled.

    Args:
        turns: Ended turns, oldest first.
        render: Renders a component, for turns that could not be rendered when they were made.
        goes_on: Whether the prompt is a tool's result, and so continues the last exchange.
    """
    exchanges: list[Exchange] = []
    for turn in turns:
        if not turn.output.is_complete:
            continue
        messages = render(turn.action) if turn.messages is None else turn.messages
        exchange = _exchange(messages, turn.output.answer)
        if exchanges and _is_result(messages):
            exchanges[-1] = _joined(exchanges[-1], exchange)
        else:
            exchanges.append(exchange)
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


def joined_system(messages: Sequence[RequestMessage]) -> tuple[RequestMessage, ...]:
    """The messages, with the leading system messages joined: chat templates take only one."""
    system = _leading_system(messages) if len(messages) > 1 else ()
    if len(system) < 2:
        return tuple(messages)
    text = "\n\n".join(message.content for message in system)
    return (RequestMessage("system", text), *messages[len(system) :])


def _exchange(action: tuple[RequestMessage, ...], answer: Chunk) -> Exchange:
    # A prefill is a part of the answer.
    question = action[:-1] if has_prefill(action) else action
    messages = (
        *question,
        RequestMessage("assistant", answer.text, tool_calls=answer.tool_calls),
    )
    # The tokens that a server reports include the reasoning, which later prompts do not contain.
    reported = None if answer.usage is None or answer.thinking else answer.usage.completion_tokens
    return Exchange(messages, reported)


def _is_result(messages: tuple[RequestMessage, ...]) -> bool:
    return bool(messages) and messages[0].role == "tool"


def _joined(before: Exchange, more: Exchange) -> Exchange:
    one, other = before.completion_tokens, more.completion_tokens
    total = None if one is None or other is None else one + other
    return Exchange(before.messages + more.messages, total)


def _leading_system(messages: Sequence[RequestMessage]) -> tuple[RequestMessage, ...]:
    return tuple(takewhile(lambda message: message.role == "system", messages))


def _answered(messages: tuple[RequestMessage, ...]) -> Iterator[RequestMessage]:
    """The messages without tool calls that have no result, which servers refuse."""
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
