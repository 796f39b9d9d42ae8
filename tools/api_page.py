"""Writes docs/api.md: every public name with one line, by the module that it is imported from.

    python -m tools.api_page

The names are those in `__all__` of the public modules, and the lines are the first paragraphs of
their docstrings, so the page has no text of its own. A name that is assigned has its docstring
below the assignment. `tests/test_public_names.py` holds that the page is up to date.
"""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from itertools import pairwise
from types import ModuleType

import mellea_rx.errors
from tools.source_tree import ROOT, SourceTree

__all__ = ["PUBLIC_MODULES", "api_page", "require_line"]

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
    "mellea_rx.web",
    "mellea_rx.testing",
    "mellea_rx.testing.conformance",
    "mellea_rx.helpers.async_helpers",
]
"""The modules that users import from, in the order of the page."""

PAGE = ROOT / "docs" / "api.md"

TREE = SourceTree(ROOT)

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
    """The line of a name: from the docstring below its assignment, else from its value's own."""
    text = assigned_docstring(module.__name__, name)
    if text is None:
        value = getattr(module, name)
        is_ours = str(getattr(value, "__module__", "")).startswith(TREE.package)
        text = inspect.getdoc(value) if is_ours else None
    line = _first_line(text or "")
    require_line(f"{module.__name__}.{name}", line)
    return line.replace("|", "\\|")


def require_line(name: str, line: str) -> None:
    """Refuse a line that does not describe its name.

    Raises:
        ValueError: It is empty, or ends where a list or diagram follows; the message has the name.
    """
    if not line or line.endswith(":"):
        raise ValueError(f"{name} needs a docstring whose first paragraph is a sentence: {line!r}")


def assigned_docstring(module: str, name: str) -> str | None:
    """The docstring below the assignment of a name, in the module that others import it from.

    Args:
        module: A module of the package that has the name, of its own or by an import.
        name: The name.

    Returns:
        The docstring; None where the name is not assigned, or without one.
    """
    body = TREE.by_module[module].tree.body if module in TREE.by_module else []
    for statement, following in pairwise([*body, ast.Pass()]):
        if name in _targets(statement):
            match following:
                case ast.Expr(ast.Constant(str() as text)):
                    return inspect.cleandoc(text)
    for node in ast.walk(ast.Module(body, [])):
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return assigned_docstring(node.module or "", name)
    return None


def _targets(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.Assign(targets):
            return [each.id for each in targets if isinstance(each, ast.Name)]
        case ast.AnnAssign(ast.Name(name)):
            return [name]
    return []


def _first_sentence(value: object) -> str:
    return _first_line(inspect.getdoc(value) or "")


def _first_line(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split())


def main() -> None:
    """Write the page."""
    PAGE.write_text(api_page())


if __name__ == "__main__":
    main()
