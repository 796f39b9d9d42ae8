"""The published page's five snippets run, with the package's name as their only change."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.examples.program import EXAMPLES, ROOT, run_program

PAGE = Path(__file__).with_name("page.md")
RECORDED = ROOT / "tests" / "examples" / "recorded.py"
SNIPPETS = [
    re.sub(r"\bmellea\b", "mellea_rx", code)
    for code in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
]
ASYNC, PARALLEL, WAIT_FOR_ALL, STREAMING, CHAT = range(5)

Printed = list[tuple[float, str]]
"""A time in seconds, and the event then."""


@pytest.fixture
def printed(request: pytest.FixtureRequest, tmp_path: Path, real_model: Path) -> Printed:
    """The output of the snippet on the real model."""
    program, record = tmp_path / "snippet.py", tmp_path / "printed.jsonl"
    program.write_text(SNIPPETS[request.param], encoding="utf-8")
    out = run_program(RECORDED, record, program)
    lines = [json.loads(line) for line in record.read_text("utf-8").splitlines()]
    assert all(text in out for _, text in lines)
    return [(when, text) for when, text in lines]


def snippet(number: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("printed", [number], indirect=True, ids=[""])


def test_the_page_has_five_snippets() -> None:
    assert len(SNIPPETS) == 5
    assert all("mellea_rx.start_session" in code for code in SNIPPETS)


def test_each_is_an_example_word_for_word() -> None:
    programs = [path.read_text("utf-8") for path in sorted(EXAMPLES.glob("page_*.py"))]
    assert programs == SNIPPETS


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(320)
@snippet(ASYNC)
def test_an_awaited_call_has_a_text(printed: Printed) -> None:
    [(_, text)] = printed
    assert text.strip()


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(320)
@snippet(PARALLEL)
def test_three_calls_are_fired_before_any_is_computed(printed: Printed) -> None:
    (fired, is_computed), *poems = printed
    assert is_computed == "False"
    assert len(poems) == 3
    assert all(text.strip() not in ("", "None") for _, text in poems)
    assert fired < poems[0][0]


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(320)
@snippet(WAIT_FOR_ALL)
def test_a_list_of_thunks_is_waited_for(printed: Printed) -> None:
    assert len(printed) == 3
    assert all(text.strip() not in ("", "None") for _, text in printed)


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(320)
@snippet(STREAMING)
def test_the_text_comes_in_pieces_over_time(printed: Printed) -> None:
    *pieces, (_, newline) = printed
    assert newline == ""
    assert len(pieces) >= 3
    assert all(text for _, text in pieces[:-1])  # the last one may be the end alone
    assert pieces[-1][0] - pieces[0][0] > 0.05


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(320)
@snippet(CHAT)
def test_a_chat_has_a_second_answer(printed: Printed) -> None:
    [(_, answer)] = printed
    assert answer.strip()
