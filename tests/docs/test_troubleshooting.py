"""Each mistake on the page shows what one sees, and the code that is right shows nothing of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from tests.docs.pages import ROOT, Block, blocks_of, prose_of

PAGE = "docs/troubleshooting.md"
_TROUBLE = re.compile(r"Error: |Warning: |^a blocking wait|^call \d+")


def shown() -> list[tuple[Block, list[str] | None]]:
    """Each Python block, with the lines of the text block behind it."""
    blocks = blocks_of(PAGE)
    pairs: list[tuple[Block, list[str] | None]] = []
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.language == "python":
            is_shown = after is not None and after.language == "text"
            pairs.append((block, after.text.splitlines() if after and is_shown else None))
    return pairs


@pytest.fixture(scope="module")
def seen() -> list[list[str]]:
    """The output of each Python block, in a program of its own: some warnings come only once."""
    ours = ("MELLEA_RX_", "OLLAMA_", "OPENAI_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    environment["MELLEA_RX_BACKEND"] = "scripted"
    command = [sys.executable, "-m", "tests.docs.seen", PAGE]
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stderr
    told: list[list[str]] = json.loads(ran.stdout)
    return told


@pytest.mark.parametrize("number", range(len(shown())))
def test_a_block_shows_what_stands_behind_it(number: int, seen: list[list[str]]) -> None:
    block, expected = shown()[number]
    told = seen[number]
    if expected is None:  # it is right: nothing is wrong with it
        assert not [line for line in told if _TROUBLE.search(line)], f"line {block.line}: {told}"
        return
    pattern = "\n".join(re.escape(line).replace("…", ".*") for line in expected)
    found = "\n".join(told)
    assert re.fullmatch(pattern, found), f"line {block.line}: {found}"


def test_there_are_twenty_mistakes_each_with_what_to_write_instead() -> None:
    sections = prose_of(PAGE).split("\n## ")[1:]
    assert len(sections) >= 20
    assert all("Instead" in section for section in sections)
    titles = [section.split("\n", 1)[0] for section in sections]
    assert [title.split(".")[0] for title in titles] == [str(n + 1) for n in range(len(titles))]
