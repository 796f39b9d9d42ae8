"""Renders templates to text; formatters, requirements and pipelines use it. Only it imports Jinja.

The environment is an immutable sandbox, an undefined variable is an error, and only an author's
template is rendered, once: a value that looks like a template is not rendered.

A user's source may replace a template that has a name (`Sources`). Sessions pass the sources down
as an argument: this module has no settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from mellea_rx.core.interfaces.component import Template, is_component, parts_of, template_of
from mellea_rx.core.runtime.fork import no_fork
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.errors import MelleaRxError, TemplateError

if TYPE_CHECKING:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment


Sources: TypeAlias = Mapping[str, str]
"""Sources that replace those of templates, by the template's name."""

NO_SOURCES: Sources = MappingProxyType({})


@lru_cache(maxsize=1)
def _jinja() -> ModuleType:
    with no_fork:
        import jinja2  # takes 50 ms: imported only when there is something to render
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
        template = _environment().from_string(source)
    # A plain dict: Jinja copies the globals for every rendering, and theirs is slow to walk.
    template.globals = dict(template.globals)
    return template


@lru_cache(maxsize=256)
def variables_of(source: str) -> frozenset[str]:
    """The variables that a template reads.

    Raises:
        TemplateError: It does not parse, or includes or extends other templates.
    """
    jinja = _jinja()
    try:
        with no_fork:
            tree = _environment().parse(source)
        variables = frozenset(jinja.meta.find_undeclared_variables(tree))
    except jinja.TemplateSyntaxError as error:
        raise TemplateError(
            f"the template does not parse (line {error.lineno}): {error.message}"
        ) from None
    if [*jinja.meta.find_referenced_templates(tree)]:
        raise TemplateError("the template includes or extends another one, which it cannot here")
    return variables


class _Piece(NamedTuple):
    """A piece of a template: its own text, or the name of a variable whose value stands there."""

    text: str
    is_variable: bool


@lru_cache(maxsize=256)
def _substitution(source: str) -> tuple[_Piece, ...] | None:
    """The pieces of a template of text and variables only; None for one that does anything else.

    Their values only have to be put in their places. Jinja would make a context for each rendering,
    with copies of its globals and the variables: much for the prompt of each row of a table.
    """
    nodes = _jinja().nodes
    pieces: list[_Piece] = []
    outputs: list[Any] = []
    for statement in _environment().parse(source).body:
        match statement:
            case nodes.Output(nodes=parts):
                outputs += parts
            case _:
                return None
    for output in outputs:
        match output:
            case nodes.TemplateData(data=text):
                pieces.append(_Piece(str(text), False))
            case nodes.Name(name=name):
                pieces.append(_Piece(str(name), True))
            case _:
                return None
    return tuple(pieces)


def load() -> None:
    """Import Jinja now, which takes some 50 ms once, so that the first `render` is fast."""
    _environment()


def check(value: object, sources: Sources = NO_SOURCES) -> None:
    """Refuse a template that cannot be rendered, or has such parts, before its values are there.

    Raises:
        TemplateError: It does not parse, or reads a variable that it does not have.
    """
    if isinstance(value, Template):
        _source(value, sources)
    for part in parts_of(value):
        check(part, sources)


def _source(template: Template, sources: Sources) -> str:
    """The source of a template, replaced or its own, after a check of its variables."""
    source = sources.get(template.name, template.source)
    missing = variables_of(source).difference(template.variables)
    if missing:
        raise _missing(min(missing), template)
    return source


def render(template: Template, sources: Sources = NO_SOURCES) -> str:
    """The template's text. Its thunks must be computed.

    Args:
        template: The template.
        sources: Sources that replace its own and those of its parts, by their names.

    Raises:
        TemplateError: It reads something undefined, or is refused by the sandbox.
    """
    source = _source(template, sources)
    jinja = _jinja()
    pieces = _substitution(source)
    variables = template.variables
    try:
        if pieces is not None:
            text = ""
            for piece, is_variable in pieces:
                text += str(_value(variables[piece], sources)) if is_variable else piece
            return text
        values = {name: _value(value, sources) for name, value in variables.items()}
        return _compiled(source).render(values)
    except MelleaRxError:
        raise
    except jinja.exceptions.SecurityError as error:
        raise TemplateError(f"the template uses what its sandbox forbids: {error}") from None
    except jinja.TemplateError as error:
        raise TemplateError(f"the template cannot be rendered: {error.message}") from None
    except Exception as error:
        raise TemplateError(
            f"the template cannot be rendered: {type(error).__name__}: {error}"
        ) from error


def _value(value: Any, sources: Sources) -> Any:
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, ModelOutputThunk):
        return value.text
    if isinstance(value, Template):
        return render(value, sources)
    if isinstance(value, list):
        return [_value(item, sources) for item in value]
    if type(value) in (tuple, set, frozenset):
        return type(value)([_value(item, sources) for item in value]) if value else value
    if isinstance(value, Mapping):
        return {key: _value(item, sources) for key, item in value.items()}
    if is_component(value):
        return render(template_of(value), sources)
    return value


def _missing(name: str, template: Template) -> TemplateError:
    given = ", ".join(sorted(map(repr, template.variables))) or "none"
    return TemplateError(
        f"the template reads {name!r}, which was not given (user_variables has: {given})"
    )
