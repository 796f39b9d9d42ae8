"""The house keeps its arrows: who may import whom, one home for each heavy dependency."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "mellea_rx"
ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / PACKAGE).rglob("*.py"))
NAMES = [str(file.relative_to(ROOT / PACKAGE)) for file in FILES]

# What each folder may import besides itself (docs/design.md, "The house").
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "_version": set(),
    "core": {"errors"},
    "wire": {"errors", "_version"},
    "operators": {"errors", "core"},
    "formatters": {"errors", "core"},
    "helpers": {"errors", "core"},
    "backends": {"errors", "core", "wire", "operators"},
    "stdlib": {"errors", "core", "wire", "operators", "formatters", "helpers", "backends"},
    "testing": {"errors", "core", "backends", "operators", "stdlib"},
}

# Where each heavy dependency lives; nothing else may import it.
HOMES: dict[str, set[str]] = {
    "httptools": {"wire/http1.py"},
    "aiohappyeyeballs": {"wire/connecting.py"},
    "aiohttp": {"wire/aiohttp_session.py"},
    "yarl": {"wire/connecting.py", "wire/http.py", "wire/http1.py", "wire/transport.py"},
    "multidict": {"wire/http1.py"},
    "jinja2": {"formatters/template.py"},
    "jsonschema": {"stdlib/formats/schemas.py"},
    "referencing": {"stdlib/formats/schemas.py"},  # what jsonschema looks references up with
    "regex": {"stdlib/formats/limits.py"},
    "docstring_parser": {"core/signature.py"},
    "uvloop": {"core/engine.py"},
    "xllamacpp": {"backends/llama_model.py"},
    "typer": {"cli"},
    "rich": {"cli"},
    "pydantic": set(),
    "pytest": {"testing/pytest_plugin.py"},
}

# Imports within a function: what is heavy or optional, in its home; and these, each with a reason.
LATE = {
    ("wire/http.py", "mellea_rx.wire.http1"),  # httptools does not install everywhere
    ("wire/http.py", "mellea_rx.wire.aiohttp_session"),  # aiohttp takes 0.1 s, and few want it
    ("cli/__init__.py", "mellea_rx.cli.app"),  # it needs Typer, which may not be installed
    ("cli/chat.py", "readline"),  # not on every platform
}

LONGEST_FUNCTION = 50
LONGEST_FILE = 600


class Import(NamedTuple):
    """One import in one file."""

    module: str
    line: int
    late: bool
    typing_only: bool


@cache
def tree_of(name: str) -> ast.Module:
    """The syntax tree of a file of the package."""
    return ast.parse((ROOT / PACKAGE / name).read_text())


def dotted(name: str) -> str:
    """The module that a file is."""
    parts = Path(PACKAGE, name).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(name): name for name in NAMES}


@cache
def imports_of(name: str) -> list[Import]:
    """All imports of a file; `from package import module` is of the module."""
    return list(_imports(tree_of(name), late=False, typing_only=False))


def _imports(node: ast.AST, *, late: bool, typing_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, late, typing_only)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            base = child.module or ""
            for target in {_target(base, alias.name) for alias in child.names}:
                yield Import(target, child.lineno, late, typing_only)
        else:
            within = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            checking = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from _imports(child, late=late or within, typing_only=typing_only or checking)


def _target(base: str, name: str) -> str:
    inner = f"{base}.{name}"
    return inner if inner in MODULES else base


def folder_of(module: str) -> str:
    """The part of the house that a module of ours stands in; "" for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


@pytest.mark.parametrize("name", NAMES)
def test_imports_follow_the_arrows(name: str) -> None:
    here = folder_of(dotted(name))
    if here in ("", "cli", "__main__"):
        return  # the public names, and the command line, may import everything
    allowed = {here, *ARROWS[here]}
    wrong = [
        f"line {each.line}: {each.module}"
        for each in imports_of(name)
        if each.module.split(".")[0] == PACKAGE and folder_of(each.module) not in allowed
    ]
    assert not wrong, f"{here}/ may import {sorted(allowed)}"


def test_nothing_but_the_command_line_imports_it() -> None:
    for name in NAMES:
        if folder_of(dotted(name)) not in ("cli", "__main__"):
            assert not [each for each in imports_of(name) if folder_of(each.module) == "cli"], name


def test_there_is_no_import_circle() -> None:
    graph = {
        module: {
            each.module
            for each in imports_of(name)
            if each.module in MODULES and not each.typing_only and not each.late
        }
        for module, name in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("dependency", HOMES)
def test_each_heavy_dependency_has_one_home(dependency: str) -> None:
    homes = HOMES[dependency]
    strays = {
        name
        for name in NAMES
        for each in imports_of(name)
        if each.module.split(".")[0] == dependency
        and not each.typing_only
        and not (name in homes or name.split("/")[0] in homes)
    }
    assert strays == set()


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("wire/")])
def test_the_wire_touches_no_private_part_of_anything(name: str) -> None:
    """Of asyncio, its parser, aiohttp or reactivex: only what they document."""
    private = []
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if node.attr == "__class__" or (_is_private(node.attr) and not own):
                private.append(f"line {node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(PACKAGE):
            parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            private += [f"line {node.lineno}: {part}" for part in parts if _is_private(part)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr"):
            named = node.args[1]
            if isinstance(named, ast.Constant) and _is_private(str(named.value)):
                private.append(f"line {node.lineno}: {ast.unparse(node)}")
    assert not private


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("name", NAMES)
def test_imports_within_functions_are_of_what_is_heavy_or_optional(name: str) -> None:
    wrong = [
        f"line {each.line}: {each.module}"
        for each in imports_of(name)
        if each.late and each.module.split(".")[0] not in HOMES and (name, each.module) not in LATE
    ]
    assert not wrong


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_short(name: str) -> None:
    long = []
    for node in ast.walk(tree_of(name)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if length > LONGEST_FUNCTION:
                long.append(f"{node.name}: {length} lines")
    assert not long


@pytest.mark.parametrize("name", NAMES)
def test_files_are_short(name: str) -> None:
    assert len((ROOT / PACKAGE / name).read_text().splitlines()) <= LONGEST_FILE


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after a statement."""
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(ran.stdout.split())


@pytest.mark.parametrize(
    "statement",
    ["import mellea_rx", "import mellea_rx.backends", "from mellea_rx.backends import ModelOption"],
)
def test_importing_the_package_imports_nothing_heavy(statement: str) -> None:
    assert loaded_by(statement).isdisjoint(HOMES)


def test_starting_a_session_imports_only_what_its_backend_needs() -> None:
    loaded = loaded_by("import mellea_rx; mellea_rx.start_session('scripted')")
    # What every call needs comes with the session, so that its first call is as quick as any.
    assert loaded & set(HOMES) <= {"jinja2", "uvloop"}


def test_the_command_lines_module_can_be_imported_without_its_extra() -> None:
    code = "import sys; sys.modules['typer'] = sys.modules['rich'] = None; import mellea_rx.cli"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
