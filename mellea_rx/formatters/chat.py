"""A context and an action into a `Request`: waits for the thunks among them, then renders."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mellea_rx.core.component import Component, said_by, thunks_in
from mellea_rx.core.context import Turn
from mellea_rx.core.options import ModelOption, Options
from mellea_rx.core.request import Request, WireMessage
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.errors import DependencyError
from mellea_rx.formatters import template

__all__ = ["Prompt", "prompt_for"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """Everything that a request is made of, before its thunks are computed.

    Attributes:
        action: What is asked.
        history: What was said before.
        options: The call's model options.
        messages: What the action says, where it could be rendered at once; else None.
        dependencies: The thunks that the action is made of.
    """

    action: Component[Any]
    history: tuple[Turn, ...]
    options: Options
    messages: tuple[WireMessage, ...] | None
    dependencies: tuple[ModelOutputThunk[Any], ...] = ()

    @property
    def needs(self) -> tuple[asyncio.AbstractEventLoop, ...]:
        """The event loops that these thunks, and those of the history, need."""
        if not self.dependencies and not self.history:
            return ()
        before = (turn.thunk for turn in self.history if turn.thunk is not None)
        return tuple({loop for thunk in (*self.dependencies, *before) for loop in thunk.needs})

    async def request(self) -> Request:
        """Wait for what it is made of, then render. Runs on the engine.

        Raises:
            DependencyError: A thunk in the action failed; its error is the cause.
            TemplateError: It cannot be rendered.
        """
        for turn in self.history:
            await turn.output.settled()
        await _computed(self.dependencies)
        if self.messages is not None and all(turn.messages is not None for turn in self.history):
            messages = tuple(self._conversation())
        else:
            # In a worker thread: the values' own code (attributes, __str__) is the user's.
            messages = await asyncio.to_thread(lambda: tuple(self._conversation()))
        return Request(messages, self.options)

    def _conversation(self) -> Iterable[WireMessage]:
        system = self.options.get(ModelOption.SYSTEM_PROMPT)
        if system:
            yield WireMessage("system", system)
        for turn in self.history:
            # A turn that failed or was cancelled was never said.
            if turn.output.is_complete:
                asked = _rendered(turn.action) if turn.messages is None else turn.messages
                # How the answer was to begin is part of the answer.
                yield from (message for message in asked if message.role != "assistant")
                output = turn.output
                yield WireMessage("assistant", output.text, tool_calls=output.tool_calls)
        yield from _rendered(self.action) if self.messages is None else self.messages


def _rendered(action: Component[Any]) -> tuple[WireMessage, ...]:
    return tuple(
        WireMessage(
            said.role,
            template.render(said.template),
            said.images,
            tool_name=said.tool_name,
            tool_call_id=said.tool_call_id,
        )
        for said in said_by(action)
    )


def prompt_for(action: Component[Any], history: tuple[Turn, ...], options: Options) -> Prompt:
    """Check an action, and render it where all its parts are there.

    Raises:
        TemplateError: It cannot be rendered.
    """
    templates = [said.template for said in said_by(action)]
    dependencies = tuple(thunks_in(templates))
    if not dependencies:
        return Prompt(action, history, options, _rendered(action))
    for each in templates:
        template.check(each)
    return Prompt(action, history, options, None, dependencies)


async def _computed(thunks: tuple[ModelOutputThunk[Any], ...]) -> None:
    for thunk in thunks:
        await thunk.view().settled()
        if thunk.error is not None:
            raise DependencyError(
                f"this prompt needs the output of a call that failed: {thunk.error}"
            ) from thunk.error
