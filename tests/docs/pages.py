"""The pages of the documentation, and what stands in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```[ ]*$", re.M | re.S)


class Block(NamedTuple):
    """A fenced block: its language, its text, and the line that it begins on."""

    language: str
    text: str
    line: int


def blocks_of(name: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    page = (ROOT / name).read_text("utf-8")
    return [
        Block(found[2].strip(), found[3], page[: found.start(3)].count("\n") + 1)
        for found in _FENCE.finditer(page)
    ]


def prose_of(name: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", (ROOT / name).read_text("utf-8"))


def table_rows(name: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, its own heading first."""
    page = "\n" + (ROOT / name).read_text("utf-8")
    section = page.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if not set(line) <= set("|-: ")
    ]
