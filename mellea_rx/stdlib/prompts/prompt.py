"""`Prompt`: makes a `Request` of a history and an action. Sessions make it, calls await it.

It waits for the thunks in both, then renders.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec

from mellea_rx.core.interfaces.component import Component, Said, messages_of, thunks_in
from mellea_rx.core.interfaces.context import Exchange, Turn
from mellea_rx.core.runtime.time_limit import unfinished
from mellea_rx.core.runtime.user_functions import in_worker_thread
from mellea_rx.core.streams.generation_view import GenerationView
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.image import Image
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.request import Request, RequestMessage, images_of
from mellea_rx.core.types.validation import lone_surrogate, surrogate_told
from mellea_rx.errors import DependencyError, InvalidInputError
from mellea_rx.stdlib.prompts import renderer as template
from mellea_rx.stdlib.prompts.history import Past, joined_system, past_of
from mellea_rx.stdlib.prompts.renderer import NO_SOURCES, Sources

Recall: TypeAlias = Callable[[tuple[Exchange, ...]], Awaitable[tuple[Exchange, ...]]]
"""Chooses the exchanges of a complete history that a prompt contains; awaited on the engine."""

_messages = attrgetter("messages")


class Prompt(msgspec.Struct, frozen=True):
    """Everything that a request is made of, before its thunks are computed.

    Attributes:
        action: The component that the model is asked.
        history: The turns before it.
        options: The call's model options.
        sources: The user's templates by name, which replace the library's own.
        messages: The action's messages, where they could be rendered at once; else None.
        dependencies: The thunks in the action.
        images: The pictures of the action.
        recall: Chooses the exchanges of the history that the prompt contains; None for all.
    """

    action: Component[Any]
    history: tuple[Turn, ...]
    options: Options
    sources: Sources
    messages: tuple[RequestMessage, ...] | None
    dependencies: tuple[ModelOutputThunk[Any], ...] = ()
    images: tuple[Image, ...] = ()
    recall: Recall | None = None

    @property
    def awaited(self) -> list[GenerationView]:
        """The running thunks in the action and the history."""
        if not self.history and not self.dependencies:
            return []
        before = [turn.output for turn in self.history if turn.thunk is not None]
        own = [thunk._view() for thunk in self.dependencies]
        return [each for each in (*own, *before) if each.is_running]

    async def request(self) -> Request:
        """Wait for the thunks in it, then render. Runs on the engine.

        Raises:
            DependencyError: A thunk in the action failed; its error is the cause.
            TemplateError: It cannot be rendered.
        """
        for turn in self.history:
            await turn.output.settled()
        for thunk in self.dependencies:
            await thunk._view().settled()
            _require_output(thunk)
        if None in (self.messages, *map(_messages, self.history)):
            # In a worker thread: values may run the user's code (attributes, __str__).
            with unfinished(lambda: "the rendering of the prompt"):
                past, current = await in_worker_thread(self._rendered)
        else:
            past, current = self._rendered()
        recalled = past.closed
        if recalled and self.recall is not None:
            with unfinished(lambda: "the compaction of the history"):
                recalled = await self.recall(recalled)
        before = [message for exchange in recalled for message in exchange.messages]
        messages = [*self._system(), *past.system, *before, *past.open, *current]
        return Request(joined_system(messages), self.options)

    def _system(self) -> tuple[RequestMessage, ...]:
        system = self.options.get(ModelOption.SYSTEM_PROMPT)
        return (RequestMessage("system", system),) if system else ()

    def _rendered(self) -> tuple[Past, tuple[RequestMessage, ...]]:
        """The history, and the action's messages."""
        render = partial(rendered, sources=self.sources)
        messages = self.messages
        if messages is None:
            messages = render(self.action)
            # A lone surrogate of a model is replaced on sending; in other text it is refused.
            if all(lone_surrogate(thunk.text) is None for thunk in self.dependencies):
                _require_characters(messages)
        goes_on = bool(messages) and messages[0].role == "tool"
        return past_of(self.history, render, goes_on=goes_on), messages


def rendered(action: Component[Any], sources: Sources = NO_SOURCES) -> tuple[RequestMessage, ...]:
    """The messages of a component, rendered. Its thunks must be computed."""
    return _render(messages_of(action), sources)


def _render(messages: tuple[Said, ...], sources: Sources) -> tuple[RequestMessage, ...]:
    rendered = [
        RequestMessage(
            message.role,
            template.render(message.template, sources),
            message.images,
            tool_name=message.tool_name,
            tool_call_id=message.tool_call_id,
        )
        for message in messages
    ]
    return tuple(rendered)


def prompt_for(
    action: Component[Any],
    history: tuple[Turn, ...],
    options: Options,
    sources: Sources = NO_SOURCES,
    recall: Recall | None = None,
) -> Prompt:
    """Check an action, and render it where it contains no thunks.

    Args:
        action: The component that the model is asked.
        history: The turns before it.
        options: The call's model options.
        sources: The user's templates by name, which replace the library's own.
        recall: Chooses the exchanges of the history that the prompt contains; None for all.

    Raises:
        TemplateError: It cannot be rendered.
        InvalidInputError: It contains itself.
        CallbackError: A user's component raised.
    """
    try:
        unrendered = messages_of(action)
        templates = [each.template for each in unrendered]
        dependencies = tuple(thunks_in(templates))
        messages = None
        if dependencies:
            template.check(templates, sources)
        else:
            messages = _render(unrendered, sources)
            _require_characters(messages)
    except RecursionError:
        raise InvalidInputError(
            f"this {type(action).__name__} contains itself, or its parts are nested too deeply"
        ) from None
    images = images_of(unrendered)
    return Prompt(action, history, options, sources, messages, dependencies, images, recall)


def _require_characters(messages: tuple[RequestMessage, ...]) -> None:
    """Refuse text that cannot be sent to a server.

    Raises:
        InvalidInputError: A message has a lone surrogate; the error says where.
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
