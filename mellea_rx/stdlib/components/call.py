"""A function's task, and the arguments of one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mellea_rx.core.component import Template, TextComponent

__all__ = ["FUNCTION", "FunctionCall"]

FUNCTION = Template(
    "{% for name, value in arguments %}{{ name }}: {{ value }}{{ '\n\n' }}{% endfor %}"
    "{{ task }}"
    "{% if requirements %}"
    "{{ '\n\nRequirements:\n- ' }}{{ requirements | join('\n- ') }}"
    "{% endif %}",
    name="function",
)


@dataclass(frozen=True, slots=True)
class FunctionCall(TextComponent):
    """What a function is to do, and with what.

    Attributes:
        task: Its docstring.
        arguments: Its arguments, by name; never rendered themselves, and thunks are waited for.
        requirements: What its result has to be, in words.
    """

    task: str
    arguments: Mapping[str, Any]
    requirements: tuple[str, ...] = ()

    def template(self) -> Template:
        """The arguments, the task, the requirements: what is last weighs most."""
        return FUNCTION.given(
            task=self.task,
            arguments=list(self.arguments.items()),
            requirements=self.requirements,
        )
