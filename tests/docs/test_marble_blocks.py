"""The marble diagrams of the pages show what the operators do."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any

import pytest

from mellea_rx import operators
from tests.docs.marble_blocks import Event, Line, drawn, lines_of, names_of, parsed, ran
from tests.docs.pages import NAMES, blocks_of


def cases(where: str, block: str) -> list[Any]:
    """A case for each result that a block shows."""
    lines = lines_of(block)
    sources = names_of(lines)
    results = [line for line in lines if not line.label.isidentifier()]
    return [pytest.param(line, sources, id=f"{where}:{line.label}") for line in results]


def diagrams_of(name: str) -> list[str]:
    """The diagrams in an operator's docstring."""
    doc = inspect.getdoc(getattr(operators, name)) or ""
    found = re.findall(r"(?:^    \w+: +[-(]\S*\n)*(?:^    [a-z_]+\(.*: +\S+\n?)+", doc, re.M)
    return [textwrap.dedent(each) for each in found]


PAGES = [
    case
    for name in NAMES
    for block in blocks_of(name)
    if block.language == "marbles"
    for case in cases(f"{name}:{block.line}", block.text)
]
DOCSTRINGS = [
    case for name in operators.__all__ for block in diagrams_of(name) for case in cases(name, block)
]


@pytest.mark.parametrize(("line", "sources"), PAGES + DOCSTRINGS)
def test_a_diagram_shows_what_happens(line: Line, sources: dict[str, str]) -> None:
    assert drawn(ran(line.label, sources)) == drawn(parsed(line.marble))


def test_every_operator_has_a_diagram_on_a_page_and_in_its_docstring() -> None:
    # `to_iterator` blocks its thread, and shares its diagram with `to_async_iterator`; `splitter`
    # is not an operator.
    functions = {name for name in operators.__all__ if name[0].islower()}
    functions -= {"splitter", "to_iterator"}
    for diagrams in (PAGES, DOCSTRINGS):
        labels = [case.values[0].label for case in diagrams]
        assert {
            name for name in functions if not any(f"{name}(" in each for each in labels)
        } == set()


def test_marbles_are_read_and_drawn() -> None:
    marble = "-a-(b,c|)"
    events = [Event(1, "a"), Event(3, "b"), Event(3, "c"), Event(3, "|")]
    assert parsed(marble) == events
    assert drawn(events) == "-a-(b,c,|)"
    assert drawn(parsed("--two--#")) == "--two--#"
    assert drawn([Event(1, "two"), Event(2, "x"), Event(4.5, "|")]) == "-two at 2: x at 4.5: |"


@pytest.mark.parametrize("wrong", ["-a)-|", "(a", "a b"])
def test_what_is_no_marble_is_refused(wrong: str) -> None:
    with pytest.raises(AssertionError, match="cannot be read"):
        parsed(wrong)


def test_a_diagram_that_lies_is_seen() -> None:
    assert drawn(ran("by_word()", {"source": "-a·b-|"})) != drawn(parsed("-a·b-|"))
