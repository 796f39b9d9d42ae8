"""The source files of a package, parsed: their modules, imports and functions.

Used by `tools.house`, which measures the package, and by `tests/test_architecture.py`, which checks
its rules. Files are parsed and never imported, so another checkout can be read as well.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeAlias

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "mellea_rx"

Graph: TypeAlias = dict[str, set[str]]
"""Modules, each with the modules that it imports."""


class Import(NamedTuple):
    """One import statement's module.

    Attributes:
        module: The imported module, with dots; for `from package import module` that module.
        line: The line of the statement, from 1.
        late: Whether the statement is inside a function.
        typing_only: Whether it is inside `if TYPE_CHECKING:`.
    """

    module: str
    line: int
    late: bool
    typing_only: bool


class Function(NamedTuple):
    """A function or method.

    Attributes:
        name: Its name.
        line: The line of its `def`, from 1.
        lines: The lines of its body, blank ones and comments included, its docstring not.
    """

    name: str
    line: int
    lines: int


class SourceFile:
    """One file of a package.

    Args:
        folder: The folder of the package.
        name: The file's path in it, with forward slashes.

    Attributes:
        name: As given.
        module: The module that the file defines, with dots.
        text: The source.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.module = _module_of(folder.name, name)
        self.text = (folder / name).read_text("utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text, self.name)

    @property
    def package(self) -> str:
        """The package that the module is in; for an `__init__.py` the package itself."""
        if self.name.endswith("__init__.py"):
            return self.module
        return self.module.rpartition(".")[0]

    def functions(self) -> Iterator[Function]:
        """All functions and methods, nested ones included."""
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                has_docstring = ast.get_docstring(node, clean=False) is not None
                body = node.body[1:] if has_docstring else node.body
                lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                yield Function(node.name, node.lineno, lines)


class SourceTree:
    """All files of a package.

    Args:
        root: The folder that the package's folder is in.
        package: The name of the package.

    Attributes:
        files: The files by their path in the package, sorted.
        by_module: The same files by their module.
    """

    def __init__(self, root: Path = ROOT, package: str = PACKAGE) -> None:
        self.package = package
        folder = root / package
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
        self.files = {name: SourceFile(folder, name) for name in names}
        self.by_module = {file.module: file for file in self.files.values()}
        self._imports_of: dict[str, list[Import]] = {}

    def imports(self, name: str) -> list[Import]:
        """All imports of a file, of other packages too.

        Args:
            name: The file's path in the package.

        Raises:
            AssertionError: One of them is relative.
        """
        if name not in self._imports_of:
            found = self._imports(self.files[name].tree, late=False, typing_only=False)
            self._imports_of[name] = list(found)
        return self._imports_of[name]

    def _imports(self, node: ast.AST, *, late: bool, typing_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, child.lineno, late, typing_only)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, "imports are absolute"
                base = child.module or ""
                for target in {self._target(base, alias.name) for alias in child.names}:
                    yield Import(target, child.lineno, late, typing_only)
            else:
                within = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                checking = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                yield from self._imports(
                    child, late=late or within, typing_only=typing_only or checking
                )

    def _target(self, base: str, name: str) -> str:
        inner = f"{base}.{name}"
        return inner if inner in self.by_module else base

    def package_of(self, module: str) -> str:
        """The name of a module's package below the root package; "" for the root itself.

        A sub-package has a name of its own ("core.types"), and so has a module beside the packages
        ("errors").
        """
        file = self.by_module.get(module)
        package = module.rpartition(".")[0] if file is None else file.package
        inner = module if package == self.package else package
        return inner.removeprefix(self.package).removeprefix(".")

    def loading_graph(self) -> Graph:
        """The imports between the package's modules that run when a module is loaded.

        Imports inside functions and those for type checkers only are left out.
        """
        return self._graph(lambda each: not each.late and not each.typing_only)

    def graph(self) -> Graph:
        """The imports between the package's modules, those for type checkers only as well.

        Imports inside functions are left out.
        """
        return self._graph(lambda each: not each.late)

    def _graph(self, counts: Callable[[Import], bool]) -> Graph:
        return {
            file.module: {
                each.module
                for each in self.imports(file.name)
                if each.module in self.by_module and counts(each)
            }
            for file in self.files.values()
        }


def _module_of(package: str, name: str) -> str:
    parts = [package, *name.removesuffix(".py").split("/")]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
