"""Checks of the parts of components, where a user passes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypeGuard

from mellea_rx.core.interfaces.component import Component, Template, is_component
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.errors import InvalidInputError

Text: TypeAlias = str | ModelOutputThunk[Any]
"""A text, or the thunk of a call whose answer it is."""

Part: TypeAlias = Text | Component[Any] | Template
"""A text, a thunk (waited for), or a component or template (rendered)."""


def require_text(value: object, name: str) -> str:
    """Refuse a value that is not a text, or is blank.

    Raises:
        InvalidInputError: It is not a str, or it is blank.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be a str, not {type(value).__name__}")
    if not value.strip():
        raise InvalidInputError(f"{name} is empty: there is nothing to ask the model")
    return value


def as_parts(given: Iterable[Part] | Part | None, name: str) -> tuple[Part, ...]:
    """One part, or a list of them, as a tuple.

    Raises:
        InvalidInputError: Something is not a part.
    """
    if given is None or given == ():
        return ()
    if _is_part(given):
        return (given,)
    if not isinstance(given, Iterable) or isinstance(given, Mapping):
        raise InvalidInputError(f"{name} must be a list, not {type(given).__name__}")
    return tuple(_require_part(part, f"{name}[{index}]") for index, part in enumerate(given))


def as_named_parts(
    given: Mapping[str, Part] | Iterable[Part] | None, name: str
) -> tuple[tuple[str, Part], ...]:
    """Parts with their names; those of a list have none ("").

    Raises:
        InvalidInputError: Something is not a part, or a name is not a text.
    """
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        return tuple(("", part) for part in as_parts(given, name))
    return tuple(
        (require_text(key, f"a name in {name}"), _require_part(part, f"{name}[{key!r}]"))
        for key, part in given.items()
    )


def _is_part(value: object) -> TypeGuard[Part]:
    return isinstance(value, (str, ModelOutputThunk, Template)) or is_component(value)


def _require_part(value: object, name: str) -> Part:
    if not _is_part(value):
        raise InvalidInputError(
            f"{name} must be a str, a Document, another component or a thunk, "
            f"not {type(value).__name__}"
        )
    return value
