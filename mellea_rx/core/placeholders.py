"""Placeholders in prompts: the names that a text uses, and texts that are never rendered."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import count
from typing import Any

from mellea_rx.core.logs import PlaceholderLeft, log
from mellea_rx.errors import TemplateError

__all__ = [
    "NOT_RENDERED",
    "OptionalVariables",
    "names_in",
    "placeholder_in",
    "require_used",
    "warn_of_placeholders",
]

NOT_RENDERED = "only the description is rendered; put the value itself here, with an f-string"

_WORD = re.compile(r"[^\W\d]\w*")
_PLACEHOLDER = re.compile(r"\{\{-?[ \t]*[^\W\d][\w.]{0,80}[ \t]*-?\}\}")
_BLOCKS = (("{{", "}}"), ("{%", "%}"))


class OptionalVariables(dict[str, Any]):
    """Values that a template may use, and need not use all of: the columns of a row."""


def names_in(text: str) -> frozenset[str]:
    """The words between Jinja's braces: of a text that is no template, all that it may mean.

    Example:
        >>> sorted(names_in("{% if short %}In {{ town | upper }}.{% endif %} {plain}"))
        ['endif', 'if', 'short', 'town', 'upper']
    """
    return frozenset(word for block in _blocks(text) for word in _WORD.findall(block))


def _blocks(text: str) -> Iterator[str]:
    # With str.find, not a pattern: linear in the text, whatever stands in it.
    for opening, closing in _BLOCKS:
        start = text.find(opening)
        while start >= 0:
            end = text.find(closing, start)
            end = len(text) if end < 0 else end
            yield text[start + len(opening) : end]
            start = text.find(opening, end)


def require_used(
    description: str,
    used: Collection[str],
    variables: Mapping[str, Any],
    unrendered: Iterable[object] = (),
) -> None:
    """Refuse a variable that a description does not use.

    One that only stands in another text of the call counts as used: that text is warned of.

    Args:
        description: The template.
        used: The variables that it reads.
        variables: Its values. Of `OptionalVariables`, one has to be used, and only where the
            description has a name of theirs in single braces.
        unrendered: The other texts of the call; values of other kinds are passed over.

    Raises:
        TemplateError: Names the variable, and says how it is used.
    """
    unused = [name for name in variables if name not in used]
    if isinstance(variables, OptionalVariables):
        single = [name for name in unused if f"{{{name}}}" in description]
        unused = single if len(unused) == len(variables) else []
    elif unused:
        elsewhere = frozenset[str]().union(*(names_in(t) for t in unrendered if isinstance(t, str)))
        unused = [name for name in unused if name not in elsewhere]
    if unused:
        name = unused[0]
        single_braces = f" ({{{name}}} is plain text)" if f"{{{name}}}" in description else ""
        raise TemplateError(
            f"user_variables has {name!r}, which the description does not use{single_braces}: "
            f"write {{{{{name}}}}} where its value goes"
        )


def placeholder_in(text: str) -> str | None:
    """The first placeholder of a text, as `{{name}}`; None where it has none."""
    found = _PLACEHOLDER.search(text) if "{{" in text else None
    return None if found is None else found.group()


def warn_of_placeholders(place: str, text: object, advice: str) -> None:
    """Log a warning, once for each place, of a placeholder in a text that is never rendered.

    Args:
        place: The argument that the text was given as.
        text: The text; anything else is no concern of this function.
        advice: What to do.
    """
    found = placeholder_in(text) if isinstance(text, str) else None
    if found is not None and next(_warnings_of(place)) == 0:
        log(PlaceholderLeft(place, advice))


@lru_cache(maxsize=64)
def _warnings_of(place: str) -> Iterator[int]:
    return count()
