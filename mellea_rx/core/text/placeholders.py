"""Checks of placeholders in prompts: unused variables, and `{{name}}` in texts never rendered.

`Instruction` and requirements use them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import count
from typing import Any

from mellea_rx.core.runtime.logs import PlaceholderLeft, log
from mellea_rx.errors import TemplateError

NOT_RENDERED = "only the description is rendered; put the value itself here, with an f-string"

_WORD = re.compile(r"[^\W\d]\w*")
_PLACEHOLDER = re.compile(r"\{\{-?[ \t]*[^\W\d][\w.]{0,80}[ \t]*-?\}\}")
_BLOCKS = (("{{", "}}"), ("{%", "%}"))


class OptionalVariables(dict[str, Any]):
    """Values of which a template need not use all: the columns of a row."""


def names_in(text: str) -> frozenset[str]:
    """The words between Jinja's braces: in a plain text, the names that its author may have meant.

    Example:
        >>> sorted(names_in("{% if short %}In {{ town | upper }}.{% endif %} {plain}"))
        ['endif', 'if', 'short', 'town', 'upper']
    """
    return frozenset(word for block in _blocks(text) for word in _WORD.findall(block))


def _blocks(text: str) -> Iterator[str]:
    # str.find takes time linear in the text, which a pattern may not.
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

    A variable whose name stands in another text of the call counts as used: `warn_of_placeholders`
    reports that text.

    Args:
        description: The template.
        used: The variables that it reads.
        variables: Its values. `OptionalVariables` are refused only where the description uses none
            of them and has one of their names in single braces.
        unrendered: The other texts of the call; values of other types are ignored.

    Raises:
        TemplateError: A variable is not used; the message says how to use it.
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


def warn_of_placeholders(place: str, text: object, hint: str) -> None:
    """Log a warning, once for each place, of a placeholder in a text that is never rendered.

    Args:
        place: The argument that the text belongs to.
        text: The text; a value of another type is ignored.
        hint: The hint in the warning.
    """
    found = placeholder_in(text) if isinstance(text, str) else None
    # `next` on a counter is atomic, so that of several threads only one logs the warning.
    if found is not None and next(_warnings_of(place)) == 0:
        log(PlaceholderLeft(place, hint))


@lru_cache(maxsize=64)
def _warnings_of(place: str) -> Iterator[int]:
    return count()
