"""Instructions: tasks in words with their inputs, and the tasks of typed functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mellea_rx.core.interfaces.component import Said, Template, TextComponent
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.text.placeholders import (
    NOT_RENDERED,
    OptionalVariables,
    require_used,
    warn_of_placeholders,
)
from mellea_rx.core.types.image import Images, as_images
from mellea_rx.core.types.validation import kind_of
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.components.parts import (
    Part,
    Text,
    as_named_parts,
    as_parts,
    require_text,
)
from mellea_rx.stdlib.prompts.renderer import variables_of

_DESCRIPTION = "{{ description }}"

INSTRUCTION = Template(
    f"{_DESCRIPTION}"
    "{% if requirements %}"
    "{{ '\n\nRequirements:\n- ' }}{{ requirements | join('\n- ') }}"
    "{% endif %}"
    "{% for example in icl_examples %}"
    "{{ '\n\nExample ' }}{{ loop.index }}:{{ '\n' }}{{ example }}"
    "{% endfor %}"
    "{% if grounding_context %}{{ '\n\nContext:' }}{% endif %}"
    "{% for name, text in grounding_context %}"
    "{{ '\n\n' }}{% if name %}[{{ name }}]{{ '\n' }}{% endif %}{{ text }}"
    "{% endfor %}",
    name="instruction",
)

_PREFIX = Template("{{ prefix }}")

_NO_VARIABLES = "it is a template only with user_variables="


@dataclass(frozen=True, slots=True)
class Instruction(TextComponent):
    """A task in words.

    Example:
        >>> task = Instruction("Greet {{name}}.", user_variables={"name": "Ada"})
        >>> task = Instruction("Say when it opens.", grounding_context={"sign": "Open from 9."})

    Attributes:
        description: The task. With `user_variables` it is a Jinja template, else plain text.
        requirements: The requirements on the result, in words.
        icl_examples: Examples of good results: texts, components or thunks.
        grounding_context: The sources of the result: texts, documents, components or thunks by
            their names, or a list of them.
        user_variables: Values for the description, by name; thunks are waited for.
        prefix: The prefill: text that the result begins with.
        images: Pictures that the task is about; see `Image`.

    Raises:
        InvalidInputError: The description is empty, or an attribute cannot be used; the message
            names it.
    """

    description: str
    requirements: Iterable[str] | str = ()
    icl_examples: Iterable[Part] | Part = ()
    grounding_context: Mapping[str, Part] | Iterable[Part] | None = None
    user_variables: Mapping[str, Any] | None = None
    prefix: Text | None = None
    images: Images = ()

    def __post_init__(self) -> None:
        require_text(self.description, "the instruction")
        if self.user_variables is not None and not isinstance(self.user_variables, Mapping):
            raise InvalidInputError(
                f"user_variables must be a dict of names, not {kind_of(self.user_variables)}"
            )
        if self.prefix is not None and not isinstance(self.prefix, ModelOutputThunk):
            require_text(self.prefix, "the prefix")
        # Copied, so that later changes of the caller's lists and dicts do not reach the call.
        keep = object.__setattr__
        words = [self.requirements] if isinstance(self.requirements, str) else self.requirements
        keep(self, "requirements", tuple([require_text(each, "a requirement") for each in words]))
        if self.user_variables is not None:
            kind = OptionalVariables if isinstance(self.user_variables, OptionalVariables) else dict
            keep(self, "user_variables", kind(self.user_variables))
        if self.grounding_context is not None:
            named = as_named_parts(self.grounding_context, "grounding_context")
            is_dict = isinstance(self.grounding_context, Mapping)
            keep(self, "grounding_context", dict(named) if is_dict else [part for _, part in named])
        keep(self, "icl_examples", as_parts(self.icl_examples, "icl_examples"))
        keep(self, "images", as_images(self.images))
        self._check_placeholders()

    def _check_placeholders(self) -> None:
        """Refuse variables that are not used, and warn of placeholders that are never rendered."""
        examples = as_parts(self.icl_examples, "icl_examples")
        context = [part for _, part in as_named_parts(self.grounding_context, "context")]
        if self.user_variables is None:
            warn_of_placeholders("the description", self.description, _NO_VARIABLES)
        else:
            unrendered = (*self.requirements, *examples, *context, self.prefix)
            used = variables_of(self.description)
            if used.issubset(self.user_variables):  # else rendering reports the missing one
                require_used(self.description, used, self.user_variables, unrendered)
        for part in examples:
            warn_of_placeholders("an example", part, NOT_RENDERED)
        for part in context:
            warn_of_placeholders("the grounding context", part, NOT_RENDERED)
        warn_of_placeholders("the prefix", self.prefix, NOT_RENDERED)

    def template(self) -> Template:
        """The description, then its requirements, examples and context."""
        description: str | Template = self.description
        if self.user_variables is not None:
            description = Template(self.description, self.user_variables)
        parts = {
            "requirements": self.requirements,
            "icl_examples": self.icl_examples,
            "grounding_context": as_named_parts(self.grounding_context, "grounding_context"),
        }
        source = INSTRUCTION.source if any(parts.values()) else _DESCRIPTION
        return Template(source, {"description": description, **parts}, INSTRUCTION.name)

    def said(self) -> tuple[Said, ...]:
        """The task, and the prefill where it has one."""
        task = Said(self.template(), images=as_images(self.images))
        if self.prefix is None:
            return (task,)
        return (task, Said(_PREFIX.given(prefix=self.prefix), "assistant"))


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
