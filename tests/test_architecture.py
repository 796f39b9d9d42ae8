"""The architecture: allowed imports between packages, and one module for each heavy dependency."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tools.house import ARROWS, LONGEST_FUNCTION, circles, upward_arrows
from tools.source_tree import ROOT, Graph, SourceTree

TREE = SourceTree(ROOT)
NAMES = list(TREE.files)

# Where each heavy dependency lives; nothing else may import it.
HOMES: dict[str, set[str]] = {
    "httptools": {"wire/http1.py"},
    "aiohappyeyeballs": {"wire/connector.py"},
    "aiohttp": {"wire/aiohttp_session.py", "web/respond.py"},
    "yarl": {"wire/connector.py", "wire/http.py", "wire/http1.py", "wire/transport.py"},
    "multidict": {"wire/http1.py"},
    "jinja2": {"stdlib/prompts/renderer.py"},
    "jsonschema": {"stdlib/formats/json_schema.py"},
    "referencing": {"stdlib/formats/json_schema.py"},  # what jsonschema looks references up with
    "regex": {"stdlib/formats/bounded_checks.py"},
    "docstring_parser": {"core/types/function_schema.py"},
    "uvloop": {"core/runtime/engine.py"},
    "xllamacpp": {"backends/local_process.py"},
    "typer": {"cli"},
    "rich": {"cli"},
    "starlette": {"web/sockets.py"},
    "pydantic": set(),
    "pytest": {"testing/pytest_plugin.py"},
}

# Imports within a function: what is heavy or optional, in its home; and these, each with a reason.
LATE = {
    ("wire/http.py", "mellea_rx.wire.http1"),  # httptools does not install everywhere
    ("wire/http.py", "mellea_rx.wire.aiohttp_session"),  # aiohttp takes 0.1 s, and few want it
    ("cli/__init__.py", "mellea_rx.cli.app"),  # it needs Typer, which may be missing
    ("cli/chat.py", "readline"),  # not on every platform
}

LONGEST_FILE = 600


def package(name: str) -> str:
    """The package that a file is in, below `mellea_rx`."""
    return TREE.package_of(TREE.files[name].module)


@pytest.mark.parametrize("name", NAMES)
def test_imports_follow_the_arrows(name: str) -> None:
    # The public names, and the command line, may import everything.
    assert package(name) in ARROWS or package(name) in ("", "cli", "__main__")
    assert not upward_arrows(TREE, name), ARROWS


def test_nothing_but_the_command_line_imports_it() -> None:
    for name in NAMES:
        if package(name) not in ("cli", "__main__"):
            imported = {TREE.package_of(each.module) for each in TREE.imports(name)}
            assert "cli" not in imported


def test_there_is_no_import_circle() -> None:
    assert not circles(TREE.graph())


def test_there_is_no_circle_of_packages() -> None:
    packages: Graph = {package(name): set() for name in NAMES}
    for module, imported in TREE.graph().items():
        packages[TREE.package_of(module)] |= {TREE.package_of(each) for each in imported}
    # The root package has the public names, and modules beside the packages.
    assert not circles({name: targets - {"", name} for name, targets in packages.items() if name})


@pytest.mark.parametrize("dependency", HOMES)
def test_each_heavy_dependency_has_one_home(dependency: str) -> None:
    homes = HOMES[dependency]
    strays = {
        name
        for name in NAMES
        for each in TREE.imports(name)
        if each.module.split(".")[0] == dependency
        and not each.typing_only
        and not (name in homes or name.split("/")[0] in homes)
    }
    assert strays == set()


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("wire/")])
def test_the_wire_touches_no_private_part_of_anything(name: str) -> None:
    """Of asyncio, its parser, aiohttp or reactivex: only what they document."""
    private = []
    for node in ast.walk(TREE.files[name].tree):
        if isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if node.attr == "__class__" or (_is_private(node.attr) and not own):
                private.append(f"line {node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(TREE.package):
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
        for each in TREE.imports(name)
        if each.late and each.module.split(".")[0] not in HOMES and (name, each.module) not in LATE
    ]
    assert not wrong


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_short(name: str) -> None:
    long = [each for each in TREE.files[name].functions() if each.lines > LONGEST_FUNCTION]
    assert not long


@pytest.mark.parametrize("name", NAMES)
def test_files_are_short(name: str) -> None:
    assert len(TREE.files[name].text.splitlines()) <= LONGEST_FILE


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
