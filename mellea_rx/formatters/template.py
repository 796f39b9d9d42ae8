"""Templates into text: the only home of Jinja.

The environment is an immutable sandbox, an undefined variable is an error, and only an author's
template is rendered, once: a value that looks like a template stays what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mellea_rx.core.component import Template, is_component
from mellea_rx.core.locks import no_fork
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.errors import TemplateError

if TYPE_CHECKING:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["check", "load", "render"]


@lru_cache(maxsize=1)
def _jinja() -> ModuleType:
    with no_fork:
        import jinja2  # costs 50 ms: only when there is something to render
        import jinja2.meta
        import jinja2.sandbox

        return jinja2


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    jinja = _jinja()
    environment: ImmutableSandboxedEnvironment = jinja.sandbox.ImmutableSandboxedEnvironment(
        undefined=jinja.StrictUndefined, autoescape=False, keep_trailing_newline=True
    )
    return environment


@lru_cache(maxsize=256)
def _compiled(source: str) -> jinja2.Template:
    with no_fork:
        return _environment().from_string(source)


@lru_cache(maxsize=256)
def _variables(source: str) -> frozenset[str]:
    """The variables that a template reads."""
    jinja = _jinja()
    try:
        with no_fork:
            tree = _environment().parse(source)
        return frozenset(jinja.meta.find_undeclared_variables(tree))
    except jinja.TemplateSyntaxError as error:
        raise TemplateError(
            f"the template does not parse (line {error.lineno}): {error.message}"
        ) from None


def load() -> None:
    """Import Jinja now: some 50 ms, once, that the first `render` then does not take."""
    _environment()


def check(template: Template) -> None:
    """Refuse what cannot be rendered, before its values are there.

    Raises:
        TemplateError: It does not parse, or a variable that it reads was not given.
    """
    missing = _variables(template.source).difference(template.variables)
    if missing:
        raise _missing(min(missing), template)
    for value in template.variables.values():
        if isinstance(value, Template):
            check(value)


def render(template: Template) -> str:
    """The template's text. Its thunks must be computed.

    Raises:
        TemplateError: It reads what is not there, or does what a template may not.
    """
    check(template)
    jinja = _jinja()
    values = {name: _value(value) for name, value in template.variables.items()}
    try:
        return _compiled(template.source).render(values)
    except jinja.exceptions.SecurityError as error:
        raise TemplateError(f"the template does what it may not: {error}") from None
    except jinja.TemplateError as error:
        raise TemplateError(f"the template cannot be rendered: {error.message}") from None
    except Exception as error:
        raise TemplateError(
            f"the template cannot be rendered: {type(error).__name__}: {error}"
        ) from error


def _value(value: Any) -> Any:
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, ModelOutputThunk):
        return value.text
    if isinstance(value, Template):
        return render(value)
    if isinstance(value, list):
        return [_value(item) for item in value]
    if type(value) is tuple:
        return tuple(_value(item) for item in value)
    if isinstance(value, Mapping):
        return {key: _value(item) for key, item in value.items()}
    if is_component(value):
        return render(value.template())
    return value


def _missing(name: str, template: Template) -> TemplateError:
    given = ", ".join(sorted(map(repr, template.variables))) or "none"
    return TemplateError(
        f"the template reads {name!r}, which was not given (user_variables has: {given})"
    )
