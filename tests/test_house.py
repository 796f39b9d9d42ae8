"""`python -m tools.house`: its figures on small packages, and its output on this one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.house import (
    circles,
    code_lines,
    longest_chain,
    measure,
    mutual_packages,
    public_names,
    upward_arrows,
)
from tools.source_tree import ROOT, SourceTree


def package(folder: Path, **files: str) -> SourceTree:
    """A package with these files; "__" in a keyword is a folder, as in `core__chunk`."""
    for name, text in {"init": "", **files}.items():
        path = folder / "mellea_rx" / f"{name.replace('__', '/').replace('init', '__init__')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return SourceTree(folder)


CODE = '''"""A docstring
of two lines."""

# A comment.
LIMIT = 3  # seconds
"""What it is."""

TEXT = """one

three"""


def double(value):
    """Twice the value."""

    # Why.
    return (
        value * 2
    )
'''


def test_code_lines_are_without_blank_lines_comments_and_docstrings(tmp_path: Path) -> None:
    tree = package(tmp_path, code=CODE)
    assert code_lines(tree.files["code.py"]) == 1 + 3 + 4
    assert measure(tree).total_lines == len(CODE.splitlines())


def test_a_functions_length_is_that_of_its_body(tmp_path: Path) -> None:
    tree = package(tmp_path, code=CODE, other="def f():\n" + "    x = 1\n" * 51 + "def g(): ...\n")
    found = measure(tree)
    assert [each.lines for each in tree.files["code.py"].functions()] == [3]
    assert (found.functions, found.median_function, found.percentile_90_function) == (3, 3, 51)
    assert found.long_functions == ["other.py:1 f (51)"]


def test_the_longest_chain_follows_what_is_loaded_only(tmp_path: Path) -> None:
    tree = package(
        tmp_path,
        a="from mellea_rx import b",
        b="from mellea_rx.c import name\nimport json",
        c="def late():\n    import mellea_rx.d",
        d="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import mellea_rx.a",
    )
    assert longest_chain(tree.loading_graph()) == ["mellea_rx.a", "mellea_rx.b", "mellea_rx.c"]
    assert circles(tree.graph()) == []


def test_an_import_for_type_checkers_closes_a_circle(tmp_path: Path) -> None:
    tree = package(
        tmp_path,
        a="import mellea_rx.b",
        b="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import mellea_rx.a",
    )
    assert circles(tree.graph()) == [["mellea_rx.a", "mellea_rx.b"]]


def test_circles_are_found_and_one_step_of_a_chain(tmp_path: Path) -> None:
    tree = package(
        tmp_path,
        a="import mellea_rx.b",
        b="import mellea_rx.c",
        c="import mellea_rx.b\nimport mellea_rx.d",
        d="",
    )
    assert circles(tree.graph()) == [["mellea_rx.b", "mellea_rx.c"]]
    assert longest_chain(tree.loading_graph()) == ["mellea_rx.a", "mellea_rx.b", "mellea_rx.d"]


def test_sub_packages_that_import_each_other_are_a_pair(tmp_path: Path) -> None:
    tree = package(
        tmp_path,
        errors="",
        core__types__chunk="import mellea_rx.errors\nimport mellea_rx.core.types.usage",
        core__types__usage="",
        core__types__options="import mellea_rx.core.streams.buffers",
        core__streams__thunk="import mellea_rx.core.types.chunk",
        core__streams__buffers="",
    )
    pair = ("core.streams", "core.types")
    assert mutual_packages(tree, tree.graph()) == [pair]
    assert circles(tree.graph()) == []


def test_an_upward_arrow_is_found_even_if_it_is_late(tmp_path: Path) -> None:
    tree = package(
        tmp_path,
        core__types__chunk="def f():\n    import mellea_rx.wire.sse\n    import mellea_rx.errors",
        wire__sse="import mellea_rx.errors",
        errors="",
        cli__app="import mellea_rx.wire.sse",
    )
    assert upward_arrows(tree, "core/types/chunk.py") == [
        "core/types/chunk.py:2 mellea_rx.wire.sse"
    ]
    assert measure(tree).upward_arrows == upward_arrows(tree, "core/types/chunk.py")


def test_public_names_are_those_of_packages_and_modules_at_the_top(tmp_path: Path) -> None:
    tree = package(
        tmp_path,
        init="from mellea_rx import errors as _e\n__all__ = ['a', *_e.__all__]\n__all__ += ['b']",
        errors="__all__ = ['Error', 'Other']",
        stdlib__init="__all__ = ('c',)",
        stdlib__inner="__all__ = ['not_counted']",
        _private__init="__all__ = ['not_counted']",
    )
    assert public_names(tree, "mellea_rx") == ["a", "Error", "Other", "b"]
    assert measure(tree).public_names == 4 + 2 + 1


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_the_program_prints_text_or_json(how: list[str]) -> None:
    program = [sys.executable, "-m", "tools.house", *how]
    shown = subprocess.run(program, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    if how:
        assert json.loads(shown)["circles"] == []
    else:
        assert "import circles                0\n" in shown


def test_another_checkout_can_be_measured(tmp_path: Path) -> None:
    package(tmp_path, code=CODE)
    program = [sys.executable, "-m", "tools.house", str(tmp_path), "--json"]
    shown = subprocess.run(program, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert json.loads(shown)["files"] == 2
