"""Every program in examples/ runs on the embedded model, and prints what it is there to show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.examples.program import EXAMPLES, run_program

SHOWS = {
    "cancel": r"cancelled: True, \d+ characters came\n"
    r"the user left the page; it had said ['\"].+['\"]$",
    "chat": r"you   Please tell me my name\.\nmodel (.|\n)+\n3 turns; the last request was:\n"
    r" +user: Hello! My name is Ada\.\n(.|\n)+ +user: Please tell me my name\.$",
    "classifier": r"^(posi|nega)tive\n(posi|nega)tive: I am so happy with it\.\n(posi|nega)tive:",
    "csv_pipeline": r"^city,slogan,tokens,seconds\nOslo,.+\nRome,(.|\n)+\nTurku,.+,\d+,\d+\.\d\d$",
    "dependencies": r"draft computed: False\nbetter: (.|\n)+\nplan: (.|\n)+\nsights was there",
    "fill_form": r"^guest +['\"].+['\"]\nnights +\d+\n"
    r"room +'(single|double)'\nbreakfast +(True|False)",
    "hedge": r"\w(.|\n)+\n\(request [12] spoke first\)$",
    "merge_live": r"\w(.|\n)+\n3 poems, drawn ([2-9]|\d\d+) times$",
    "objects": r"^query: .+\n(.*\n)*called: discounted with \{'percent': (10|25|50)\}\n"
    r"transform: Offer\(product='green tea', price=(3\.6|3\.0|2\.0), cost=1\.5\)\n"
    r"as a model reads it: Offer\n- product: green tea\n- price: (3\.6|3\.0|2\.0)$",
    "own_backend": r"Is there anybody\? ?\necho-1 stop$",
    "own_component": r"^fruits \[['\"].+\]\nanimals \[['\"].+\]$",
    "plain_iterator": r".+\n\((length|stop), first text after \d+\.\d\d s\)$",
    "race_prompts": r"^(You are a \w+\. .+\n  .+\n(.|\n)*(complete|cancelled)|race: none of 2 .+)$",
    "react": r"step 0: calls weather\(.+\)\nstep 0: weather says: 14(.|\n)+(answer: .+|3 steps)",
    "read_aloud": r"^1\. .+ +\[(writing|all written)\]\n2\. ",
    "requirements": r"^running\n(.|\n)+\nmet: (True|False), attempts: [1-3]\n1\. Use at most 30",
    "scripted": r"passed: test_a_title\w+\npassed: test_what\w+$",
    "stream_validation": r"\w+(.|\n)*\nmet: (True|False), attempts: [1-6]$",
    "streaming_side_by_side": r"forests: from \d+\.\d\d s to \d+\.\d\d s, Usage\(p",
    "structured": r"^(.* is \d+ and lives in .*\n){2}as JSON: \{ ?\"name\": ",
    "subscribe_with_rx": r"length \d+\n(.|\n)*end    completed",
    "tools": r"the model calls weather\(.+'Delft'.*\)\nweather says: 14 degrees and rain in Delft",
}
"""A pattern that the output of each example contains: any answer matches."""


def test_every_example_is_run() -> None:
    own = {path.stem for path in EXAMPLES.glob("*.py") if not path.stem.startswith("page_")}
    assert own == set(SHOWS)


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize("name", sorted(SHOWS))
def test_it_shows_what_it_is_there_for(name: str, real_model: Path) -> None:
    out = run_program(EXAMPLES / f"{name}.py").rstrip()
    assert re.search(SHOWS[name], out), out


@pytest.mark.slow
@pytest.mark.model
def test_side_by_side_is_side_by_side(real_model: Path) -> None:
    out = run_program(EXAMPLES / "streaming_side_by_side.py")
    # Not by the order of the lines: a short poem may be one line, printed when it ends.
    spans = re.findall(r"^(\w+): from (\d+\.\d+) s to (\d+\.\d+) s", out, re.MULTILINE)
    assert {topic for topic, _, _ in spans} == {"mountains", "rivers", "forests"}
    assert set(re.findall(r"^\[(\w+)\] ", out, re.MULTILINE)) == {topic for topic, _, _ in spans}
    last_begun = max(float(begun) for _, begun, _ in spans)
    first_ended = min(float(ended) for _, _, ended in spans)
    assert last_begun < first_ended, "one after the other"
