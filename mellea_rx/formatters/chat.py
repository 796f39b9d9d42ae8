"""A context and an action into a `Request`: waits for the thunks among them, then renders."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec

from mellea_rx.core.component import Component, Said, messages_of, thunks_in
from mellea_rx.core.context import Exchange, Turn
from mellea_rx.core.image import Image
from mellea_rx.core.json_value import lone_surrogate, surrogate_told
from mellea_rx.core.options import ModelOption, Options
from mellea_rx.core.output import OutputView
from mellea_rx.core.request import Request, WireMessage, images_of
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.core.worker_threads import in_worker_thread
from mellea_rx.errors import DependencyError, InvalidInputError
from mellea_rx.formatters import template
from mellea_rx.formatters.history import Past, joined_system, past_of
from mellea_rx.formatters.template import NO_SOURCES, Sources

__all__ = ["Prompt", "Recall", "prompt_for", "rendered"]

Recall: TypeAlias = Callable[[tuple[Exchange, ...]], Awaitable[tuple[Exchange, ...]]]
"""What of a history to say again. Awaited on the engine, when all of it is there."""

_messages = attrgetter("messages")


class Prompt(msgspec.Struct, frozen=True):
    """Everything that a request is made of, before its thunks are computed.

    Attributes:
        action: What is asked.
        history: What was said before.
        options: The call's model options.
        sources: What takes the place of templates, by their names.
        messages: What the action says, where it could be rendered at once; else None.
        dependencies: The thunks that the action is made of.
        images: The pictures of the action.
        recall: What of the history to say again; None for all of it.
    """

    action: Component[Any]
    history: tuple[Turn, ...]
    options: Options
    sources: Sources
    messages: tuple[WireMessage, ...] | None
    dependencies: tuple[ModelOutputThunk[Any], ...] = ()
    images: tuple[Image, ...] = ()
    recall: Recall | None = None

    @property
    def awaited(self) -> list[OutputView]:
        """What it is made of and is not there yet: of the action, and of the history."""
        if not self.history and not self.dependencies:
            return []
        before = [turn.output for turn in self.history if turn.thunk is not None]
        own = [thunk.view() for thunk in self.dependencies]
        return [each for each in (*own, *before) if each.is_running]

    async def request(self) -> Request:
        """Wait for what it is made of, then render. Runs on the engine.

        Raises:
            DependencyError: A thunk in the action failed; its error is the cause.
            TemplateError: It cannot be rendered.
        """
        for turn in self.history:
            await turn.output.settled()
        for thunk in self.dependencies:
            await thunk.view().settled()
            _require_output(thunk)
        if None in (self.messages, *map(_messages, self.history)):
            # In a worker thread: the values' own code (attributes, __str__) is the user's.
            past, asked = await in_worker_thread(self._said)
        else:
            past, asked = self._said()
        recalled = past.closed
        if recalled and self.recall is not None:
            recalled = await self.recall(recalled)
        before = [message for exchange in recalled for message in exchange.messages]
        told = [*self._system(), *past.system, *before, *past.open, *asked]
        return Request(joined_system(told), self.options)

    def _system(self) -> tuple[WireMessage, ...]:
        system = self.options.get(ModelOption.SYSTEM_PROMPT)
        return (WireMessage("system", system),) if system else ()

    def _said(self) -> tuple[Past, tuple[WireMessage, ...]]:
        """What was said, and what is asked now."""
        render = partial(rendered, sources=self.sources)
        asked = self.messages
        if asked is None:
            asked = render(self.action)
            # A model's half of a character is mended where it is sent; the user's is refused.
            if all(lone_surrogate(thunk.text) is None for thunk in self.dependencies):
                _require_characters(asked)
        goes_on = bool(asked) and asked[0].role == "tool"
        return past_of(self.history, render, goes_on=goes_on), asked


def rendered(action: Component[Any], sources: Sources = NO_SOURCES) -> tuple[WireMessage, ...]:
    """What a component says. Its thunks must be computed."""
    return _rendered(messages_of(action), sources)


def _rendered(messages: tuple[Said, ...], sources: Sources) -> tuple[WireMessage, ...]:
    rendered = [
        WireMessage(
            said.role,
            template.render(said.template, sources),
            said.images,
            tool_name=said.tool_name,
            tool_call_id=said.tool_call_id,
        )
        for said in messages
    ]
    return tuple(rendered)


def prompt_for(
    action: Component[Any],
    history: tuple[Turn, ...],
    options: Options,
    sources: Sources = NO_SOURCES,
    recall: Recall | None = None,
) -> Prompt:
    """Check an action, and render it where all its parts are there.

    Args:
        action: What is asked.
        history: What was said before.
        options: The call's model options.
        sources: What takes the place of templates, by their names.
        recall: What of the history to say again; None for all of it.

    Raises:
        TemplateError: It cannot be rendered.
        InvalidInputError: It contains itself.
        CallbackError: A component of the user's raised.
    """
    try:
        said = messages_of(action)
        templates = [each.template for each in said]
        dependencies = tuple(thunks_in(templates))
        messages = None
        if dependencies:
            template.check(templates, sources)
        else:
            messages = _rendered(said, sources)
            _require_characters(messages)
    except RecursionError:
        raise InvalidInputError(
            f"this {type(action).__name__} contains itself, or its parts are nested too deeply"
        ) from None
    images = images_of(said)
    return Prompt(action, history, options, sources, messages, dependencies, images, recall)


def _require_characters(messages: tuple[WireMessage, ...]) -> None:
    """Refuse text that no server could be sent.

    Raises:
        InvalidInputError: A message holds half a character; the message says which, and where.
    """
    for index, message in enumerate(messages):
        at = lone_surrogate(message.content)
        if at is not None:
            which = f"message {index + 1} of the prompt" if len(messages) > 1 else "the prompt"
            raise InvalidInputError(
                f"{which} ({message.role}) holds {surrogate_told(message.content, at)}; read or "
                "decode the text it comes from as UTF-8"
            )


def _require_output(thunk: ModelOutputThunk[Any]) -> None:
    if thunk.error is not None:
        raise DependencyError(
            f"this prompt needs the output of a call that failed: {thunk.error}"
        ) from thunk.error
