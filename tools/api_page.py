"""Writes docs/api.md: every public name with one line, by the module that it is imported from.

    python -m tools.api_page

The names are those in `__all__` of the public modules, and the lines are the first sentences of
their docstrings, so the page has no text of its own. `tests/test_public_names.py` holds that the
page is up to date.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from types import ModuleType

import mellea_rx.errors
from tools.source_tree import ROOT

__all__ = ["PUBLIC_MODULES", "api_page"]

PUBLIC_MODULES = [
    "mellea_rx",
    "mellea_rx.backends",
    "mellea_rx.operators",
    "mellea_rx.events",
    "mellea_rx.logs",
    "mellea_rx.errors",
    "mellea_rx.stdlib.components",
    "mellea_rx.stdlib.context",
    "mellea_rx.stdlib.formats",
    "mellea_rx.stdlib.mify",
    "mellea_rx.stdlib.requirements",
    "mellea_rx.stdlib.sampling",
    "mellea_rx.stdlib.session",
    "mellea_rx.stdlib.tools",
    "mellea_rx.testing",
    "mellea_rx.testing.conformance",
    "mellea_rx.helpers.async_helpers",
]
"""The modules that users import from, in the order of the page."""

PAGE = ROOT / "docs" / "api.md"

_HEAD = """# API

Every public name, by the module that it is imported from. `help(name)` shows its arguments, errors
and an example. `python -m tools.api_page` writes this page from the docstrings.
"""


def api_page() -> str:
    """The text of the page."""
    return "\n".join([_HEAD, *(_section(import_module(name)) for name in PUBLIC_MODULES)])


def _section(module: ModuleType) -> str:
    errors: list[str] = [] if module is mellea_rx.errors else mellea_rx.errors.__all__
    names = [name for name in module.__all__ if name not in errors and name != "__version__"]
    rows = [f"| `{name}` | {_summary(module, name)} |" for name in names]
    if len(names) < len(module.__all__) - 1:
        rows.append("| all errors | See `mellea_rx.errors` below. |")
    lines = [f"## {module.__name__}", "", _first_sentence(module), "", "| name | |", "|---|---|"]
    return "\n".join([*lines, *rows, ""])


def _summary(module: ModuleType, name: str) -> str:
    value = getattr(module, name)
    if inspect.isclass(value) or callable(value):
        return _first_sentence(value).replace("|", "\\|")
    return f"`{value!r}`" if len(repr(value)) < 60 else f"A {type(value).__name__}."


def _first_sentence(value: object) -> str:
    paragraph = (inspect.getdoc(value) or "").split("\n\n")[0]
    return " ".join(paragraph.split())


def main() -> None:
    """Write the page."""
    PAGE.write_text(api_page())


if __name__ == "__main__":
    main()
