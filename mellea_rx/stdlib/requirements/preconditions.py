"""`Preconditions`: requirements on the arguments of a generative function.

`@generative` makes them, and the call pipeline decides them before it generates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mellea_rx.core.interfaces.component import Template, TextComponent
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.requirement import Requirement

ARGUMENTS = Template(
    "{% for name, value in arguments %}"
    "{{ name }}: {{ value }}{{ '' if loop.last else '\n\n' }}"
    "{% endfor %}",
    name="arguments",
)


@dataclass(frozen=True, slots=True)
class Preconditions(TextComponent):
    """The preconditions of one call of a function.

    As a component it is the text of the arguments, which validators and the judge get.

    Attributes:
        function: The function's name.
        requirements: The requirements on its arguments.
        arguments: The arguments by name, as given.
        shown: The arguments by name, as a prompt shows them.
    """

    function: str
    requirements: tuple[Requirement, ...]
    arguments: Mapping[str, Any]
    shown: Mapping[str, Any]

    def template(self) -> Template:
        """The text: "name: value" for each argument, with blank lines between."""
        return ARGUMENTS.given(arguments=list(self.shown.items()))

    def values(self) -> dict[str, Any]:
        """The arguments by name, with the text of each computed thunk instead of the thunk."""
        return {
            name: value.text if isinstance(value, ModelOutputThunk) else value
            for name, value in self.arguments.items()
        }
