"""Measures the structure of `mellea_rx`: sizes, functions, import chains, circles, public names.

    python -m tools.house [--json] [FOLDER]

FOLDER is the root of a checkout, this one by default, so that two versions can be compared.
`tests/test_architecture.py` holds the limits; this program shows the figures.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import math
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import TypeGuard

from tools.source_tree import ROOT, Graph, SourceFile, SourceTree

CORE = {"core.types", "core.interfaces", "core.runtime", "core.streams", "core.text"}

ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "_version": set(),
    "events": {"core.types"},
    "logs": {"core.runtime"},
    "core": set(),
    "core.runtime": {"errors"},
    "core.types": {"errors", "core.runtime"},
    "core.text": {"errors", "core.runtime", "core.types"},
    "core.streams": {"errors", "core.runtime", "core.types"},
    "core.interfaces": {"errors", "core.types", "core.streams"},
    "wire": {"errors", "_version"},
    "operators": {"errors", *CORE},
    "helpers": {"errors", *CORE},
    "backends": {"errors", *CORE, "wire"},
    "stdlib.prompts": {"errors", *CORE},
    "stdlib.formats": {"errors", *CORE},
    "stdlib.requirements": {"errors", *CORE},
    "stdlib.sampling": {"errors", *CORE, "stdlib.requirements"},
    "stdlib.objects": {"errors", *CORE, "stdlib.prompts"},
    "stdlib.components": {"errors", *CORE, "stdlib.objects", "stdlib.prompts"},
    "stdlib.tools": {"errors", *CORE, "helpers", "stdlib.components", "stdlib.objects"}
    | {"stdlib.prompts"},
    "stdlib.pipeline": {"errors", *CORE, "wire", "stdlib.formats", "stdlib.prompts"}
    | {"stdlib.requirements"},
    "stdlib.context": {"errors", *CORE, "stdlib.pipeline", "stdlib.prompts"},
    "stdlib.session": {"errors", *CORE, "wire", "helpers", "backends", "stdlib.components"}
    | {"stdlib.context", "stdlib.formats", "stdlib.objects", "stdlib.pipeline", "stdlib.prompts"}
    | {"stdlib.requirements", "stdlib.sampling", "stdlib.tools"},
    "stdlib": {"errors", *CORE, "helpers", "stdlib.components", "stdlib.formats"}
    | {"stdlib.objects", "stdlib.requirements", "stdlib.sampling", "stdlib.session"}
    | {"stdlib.tools"},
    "web": {"errors", *CORE, "operators"},
    "testing": {"errors", *CORE, "backends", "operators", "stdlib.session"},
}
"""The packages that each package may import besides itself (docs/design.md, "Packages and arrows").

A module beside the packages counts as one. A package that is not listed (the command line) may
import everything.
"""

LONGEST_FUNCTION = 50
"""The most lines that a function's body may have, without its docstring."""

_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


@dataclass(frozen=True, slots=True)
class Measures:
    """The figures of one version of the package.

    Attributes:
        files: The number of its Python files.
        code_lines: Lines without blank lines, comments and docstrings.
        total_lines: All lines.
        functions: The number of functions and methods.
        median_function: The median of the lines of their bodies.
        percentile_90_function: The 90th percentile of the same.
        long_functions: Those over `LONGEST_FUNCTION` lines, as "file:line name (lines)".
        longest_chain: The modules of the longest import chain; each imports the next one.
        circles: Groups of modules that import each other, directly or through others.
        mutual_packages: Pairs of packages, of which each imports the other.
        upward_arrows: Imports that `ARROWS` does not allow, as "file:line module".
        public_names: The number of names in the `__all__` of each public package and module at the
            top; a name that several of them export counts for each.
    """

    files: int
    code_lines: int
    total_lines: int
    functions: int
    median_function: int
    percentile_90_function: int
    long_functions: list[str]
    longest_chain: list[str]
    circles: list[list[str]]
    mutual_packages: list[tuple[str, str]]
    upward_arrows: list[str]
    public_names: int


def measure(tree: SourceTree) -> Measures:
    """Measure a package."""
    files = list(tree.files.values())
    functions = [(file, each) for file in files for each in file.functions()]
    lengths = sorted(each.lines for _, each in functions)
    graph = tree.graph()
    return Measures(
        files=len(files),
        code_lines=sum(code_lines(file) for file in files),
        total_lines=sum(len(file.text.splitlines()) for file in files),
        functions=len(functions),
        median_function=_percentile(lengths, 50),
        percentile_90_function=_percentile(lengths, 90),
        long_functions=[
            f"{file.name}:{each.line} {each.name} ({each.lines})"
            for file, each in functions
            if each.lines > LONGEST_FUNCTION
        ],
        longest_chain=longest_chain(tree.loading_graph()),
        circles=circles(graph),
        mutual_packages=mutual_packages(tree, graph),
        upward_arrows=[arrow for file in files for arrow in upward_arrows(tree, file.name)],
        public_names=sum(len(public_names(tree, module)) for module in public_modules(tree)),
    )


def code_lines(file: SourceFile) -> int:
    """The number of lines that are not blank, a comment or a docstring.

    A string that stands by itself, below a constant, counts as a docstring.
    """
    used: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(file.text).readline):
        if token.type not in _NO_CODE:
            used.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(file.tree):
        if _is_docstring(node):
            used.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(used)


def _is_docstring(node: ast.AST) -> TypeGuard[ast.Expr]:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def circles(graph: Graph) -> list[list[str]]:
    """Groups of two or more modules that import each other, directly or through others."""
    return [sorted(group) for group in _components(graph) if len(group) > 1]


def _components(graph: Graph) -> list[set[str]]:
    """The strongly connected components of a graph, by Tarjan's algorithm: imported ones first."""
    found: list[set[str]] = []
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for target in sorted(graph[module]):
            if target not in number:
                visit(target)
                lowest[module] = min(lowest[module], lowest[target])
            elif target in stack:
                lowest[module] = min(lowest[module], number[target])
        if lowest[module] == number[module]:
            start = stack.index(module)
            found.append(set(stack[start:]))
            del stack[start:]

    for module in sorted(graph):
        if module not in number:
            visit(module)
    return found


def longest_chain(graph: Graph) -> list[str]:
    """The longest chain of modules in which each imports the next one.

    The modules of a circle count as one step, which has the name of the first of them.
    """
    group_of = {module: min(group) for group in _components(graph) for module in group}

    @cache
    def from_group(group: str) -> list[str]:
        targets = {
            group_of[target]
            for module, its_group in group_of.items()
            if its_group == group
            for target in graph[module]
        }
        chains = (from_group(target) for target in sorted(targets - {group}))
        return [group, *max(chains, key=len, default=[])]

    return max((from_group(group) for group in sorted(set(group_of.values()))), key=len, default=[])


def mutual_packages(tree: SourceTree, graph: Graph) -> list[tuple[str, str]]:
    """Pairs of packages of which each imports the other, by imports that run on loading.

    A sub-package is a package of its own, and so is a module at the top (`mellea_rx.errors`).
    """
    package_of = {module: tree.package_of(module) for module in graph}
    arrows = {
        (package_of[module], package_of[target]) for module in graph for target in graph[module]
    }
    packages = sorted(set(package_of.values()))
    return [
        (one, other)
        for one, other in combinations(packages, 2)
        if {(one, other), (other, one)} <= arrows
    ]


def upward_arrows(tree: SourceTree, name: str) -> list[str]:
    """The imports of a file that `ARROWS` does not allow, as "file:line module".

    Args:
        tree: The package.
        name: The file's path in it.
    """
    here = tree.package_of(tree.files[name].module)
    if here not in ARROWS:
        return []
    allowed = {here, *ARROWS[here]}
    return [
        f"{name}:{each.line} {each.module}"
        for each in tree.imports(name)
        if each.module.split(".")[0] == tree.package and tree.package_of(each.module) not in allowed
    ]


def public_modules(tree: SourceTree) -> list[str]:
    """The package, the modules at its top, and its sub-packages; without private ones."""
    return [
        module
        for module, file in tree.by_module.items()
        if (file.name.endswith("__init__.py") or file.package == tree.package)
        and not any(part.startswith("_") for part in module.split("."))
    ]


def public_names(tree: SourceTree, module: str) -> list[str]:
    """The names in a module's `__all__`, with those that it adds from another module's."""
    names: list[str] = []
    for node in tree.by_module[module].tree.body:
        if isinstance(node, ast.Assign) and _is_all(node.targets[0]):
            names = list(_names_in(tree, module, node.value))
        elif isinstance(node, ast.AugAssign) and _is_all(node.target):
            names += _names_in(tree, module, node.value)
    return names


def _is_all(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id == "__all__"


def _names_in(tree: SourceTree, module: str, value: ast.expr) -> Iterator[str]:
    if isinstance(value, (ast.List, ast.Tuple)):
        for each in value.elts:
            yield from _names_in(tree, module, each)
    elif isinstance(value, ast.Starred):
        yield from _names_in(tree, module, value.value)
    elif isinstance(value, ast.Constant):
        yield str(value.value)
    elif isinstance(value, ast.Attribute) and value.attr == "__all__":
        yield from public_names(tree, _imported_as(tree, module)[ast.unparse(value.value)])


def _imported_as(tree: SourceTree, module: str) -> Mapping[str, str]:
    """The package's modules that a module imports with `from`, by the names that it gives them."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in tree.by_module[module].tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if f"{node.module}.{alias.name}" in tree.by_module
    }


def _percentile(ordered: Sequence[int], percent: int) -> int:
    """The smallest value that so many percent of the values do not exceed; 0 for no values."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else 0


def report(found: Measures) -> str:
    """The figures as lines of text."""
    lines = [
        f"files                         {found.files}",
        f"code lines                    {found.code_lines:,}",
        f"total lines                   {found.total_lines:,}",
        f"functions                     {found.functions:,}",
        f"function body, median         {found.median_function} lines",
        f"function body, 90 %           {found.percentile_90_function} lines",
        f"functions over {LONGEST_FUNCTION} lines       {len(found.long_functions)}",
        *_indented(found.long_functions),
        f"longest import chain          {len(found.longest_chain)} modules",
        *_indented(found.longest_chain),
        f"import circles                {len(found.circles)}",
        *_indented(", ".join(circle) for circle in found.circles),
        f"mutually importing packages   {len(found.mutual_packages)}",
        *_indented(f"{one}, {other}" for one, other in found.mutual_packages),
        f"upward arrows                 {len(found.upward_arrows)}",
        *_indented(found.upward_arrows),
        f"public names                  {found.public_names}",
    ]
    return "\n".join(lines)


def _indented(lines: Iterator[str] | Sequence[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def main() -> None:
    """Print the figures of a checkout."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.house", description="Measure the structure of mellea_rx."
    )
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=ROOT,
        metavar="FOLDER",
        help="the root of a checkout; this one by default",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    found = measure(SourceTree(given.folder))
    print(json.dumps(asdict(found), indent=2) if given.json else report(found))


if __name__ == "__main__":
    main()
