"""The page on reliability names every fault, and tests that exist."""

from __future__ import annotations

import ast
import re

from tests.docs.pages import ROOT, table_rows

PAGE = "docs/reliability.md"
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
FAULTS = 26
CONTROL_TOKENS = "## Text that looks like a control token"


def functions_of(file: str) -> set[str]:
    """The names of the test functions of a file."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {each.name for each in ast.walk(tree) if isinstance(each, kinds)}


def test_every_fault_has_its_row_in_order() -> None:
    rows = table_rows(PAGE, "## Faults")[1:]
    assert [int(row[0]) for row in rows] == list(range(1, FAULTS + 1))


def test_every_row_names_tests_that_exist() -> None:
    for heading in (
        "## Faults",
        "## Random programs",
        "## Answers that are no text",
        "## User functions",
        "## Invalid input",
        "## Keys and untrusted text",
        CONTROL_TOKENS,
        "## Connections",
        "## Former faults",
    ):
        for row in table_rows(PAGE, heading)[1:]:
            named = _TEST.findall(row[-1])
            assert named, row
            for file, name in named:
                assert name.startswith("test_"), name
                assert name in functions_of(file), f"{file}::{name}"
