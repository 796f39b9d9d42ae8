"""A task in words, with what its result has to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mellea_rx.core.component import Template
from mellea_rx.errors import InvalidInputError

__all__ = ["Instruction", "require_text"]

_LAYOUT = (
    "{{ description }}"
    "{% if requirements %}"
    "{{ '\n\nRequirements:\n- ' }}{{ requirements | join('\n- ') }}"
    "{% endif %}"
)


def require_text(value: object, name: str) -> str:
    """Refuse what is no text, or has none.

    Raises:
        InvalidInputError: It is not a str, or it is blank.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be a str, not {type(value).__name__}")
    if not value.strip():
        raise InvalidInputError(f"{name} is empty: there is nothing to ask the model")
    return value


@dataclass(frozen=True, slots=True)
class Instruction:
    """A task.

    Example:
        >>> task = Instruction("Greet {{name}}.", user_variables={"name": "Ada"})

    Attributes:
        description: The task. With `user_variables` it is a Jinja template, else plain text.
        requirements: What the result has to be, in words.
        user_variables: Values for the description, by name; thunks are waited for.

    Raises:
        InvalidInputError: The description is empty.
    """

    description: str
    requirements: tuple[str, ...] = ()
    user_variables: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        require_text(self.description, "the instruction")
        if self.user_variables is not None and not isinstance(self.user_variables, Mapping):
            kind = type(self.user_variables).__name__
            raise InvalidInputError(f"user_variables must be a dict of names, not {kind}")

    def template(self) -> Template:
        """The description, then the requirements as a list."""
        description: str | Template = self.description
        if self.user_variables is not None:
            description = Template(self.description, self.user_variables)
        return Template(
            _LAYOUT, {"description": description, "requirements": list(self.requirements)}
        )

    def parse(self, text: str) -> str:
        """The text as it is."""
        return text
