"""The library's own templates, and the user's files that replace them. Sessions read them."""

from __future__ import annotations

import os
from difflib import get_close_matches
from io import TextIOWrapper
from pathlib import Path
from types import MappingProxyType

from mellea_rx.core.types.validation import open_regular
from mellea_rx.errors import TemplateError
from mellea_rx.stdlib.components.instruction import FUNCTION, INSTRUCTION
from mellea_rx.stdlib.components.messages import DOCUMENT, MESSAGE, TOOL_MESSAGE
from mellea_rx.stdlib.components.query import QUERY, TRANSFORM
from mellea_rx.stdlib.context.summaries import SUMMARY
from mellea_rx.stdlib.objects.description import OBJECT
from mellea_rx.stdlib.pipeline.prefill import CONTINUE
from mellea_rx.stdlib.pipeline.prompted_tools import TOOL_RESULTS, TOOLS
from mellea_rx.stdlib.pipeline.structured_output import FORMAT
from mellea_rx.stdlib.pipeline.unit_deciders import STREAM_JUDGE
from mellea_rx.stdlib.pipeline.validation import JUDGE
from mellea_rx.stdlib.prompts.renderer import NO_SOURCES, Sources, variables_of
from mellea_rx.stdlib.requirements.preconditions import ARGUMENTS
from mellea_rx.stdlib.sampling.repair import REPAIR, REPAIR_TURN
from mellea_rx.stdlib.sampling.score_judge import SCORE_JUDGE

_ALL = (
    ARGUMENTS,
    CONTINUE,
    DOCUMENT,
    FORMAT,
    FUNCTION,
    INSTRUCTION,
    JUDGE,
    STREAM_JUDGE,
    MESSAGE,
    OBJECT,
    QUERY,
    REPAIR,
    REPAIR_TURN,
    SCORE_JUDGE,
    SUMMARY,
    TOOLS,
    TOOL_MESSAGE,
    TOOL_RESULTS,
    TRANSFORM,
)

TEMPLATES = MappingProxyType({each.name: each for each in _ALL})
"""Every template that a file can replace, by its name."""

_SUFFIX = ".jinja"


def read_templates(folder: str | os.PathLike[str] | None) -> Sources:
    """Read the templates in a folder: the file `<name>.jinja` replaces the template of that name.

    The folder must contain no other files, except those whose names begin with a dot.

    Args:
        folder: The folder; None for no templates.

    Returns:
        The files' texts (UTF-8; without the newline at their end), by template name.

    Raises:
        TemplateError: The folder or a file cannot be read; a file does not have the name of a
            template; it does not parse; or it reads a variable that the template does not have.
    """
    if folder is None:
        return NO_SOURCES
    try:
        files = sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
        sources = {path.stem: _source(path) for path in files}
    except (OSError, UnicodeDecodeError, TypeError) as error:
        named = f" ({name})" if (name := getattr(error, "filename", None)) else ""
        why = getattr(error, "strerror", None) or error
        raise TemplateError(f"the templates in {folder!r} cannot be read{named}: {why}") from error
    return MappingProxyType(sources)


def _source(path: Path) -> str:
    names = {f"{name}{_SUFFIX}": template for name, template in TEMPLATES.items()}
    template = names.get(path.name)
    if template is None:
        near = get_close_matches(path.name, names, n=1)
        hint = f", did you mean {near[0]}?" if near else "."
        known = ", ".join(names)
        raise TemplateError(f"{path} does not have the name of a template{hint} There are: {known}")
    with TextIOWrapper(open_regular(path), "utf-8") as file:
        source = file.read().removesuffix("\n")
    try:
        unknown = variables_of(source) - variables_of(template.source)
    except TemplateError as error:
        raise TemplateError(f"{path}: {error}") from None
    if unknown:
        raise TemplateError(
            f"{path}: it reads {min(unknown)!r}, which template {path.stem!r} does not have "
            f"(it has: {', '.join(sorted(variables_of(template.source)))})"
        )
    return source
