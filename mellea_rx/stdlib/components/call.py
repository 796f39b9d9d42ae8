"""`FunctionCall`: the component of one call of a `@generative` function."""

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
    """The task of a function, and the arguments of one call of it.

    Attributes:
        task: The function's docstring.
        arguments: Its arguments, by name; never rendered themselves, and thunks are waited for.
        requirements: The requirements on its result, in words.
    """

    task: str
    arguments: Mapping[str, Any]
    requirements: tuple[str, ...] = ()

    def template(self) -> Template:
        """The arguments, then the task and the requirements, since models weigh the end most."""
        return FUNCTION.given(
            task=self.task,
            arguments=list(self.arguments.items()),
            requirements=self.requirements,
        )
