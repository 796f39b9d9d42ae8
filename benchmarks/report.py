"""From what was measured to `benchmarks/RESULTS.md` and the chart."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.chart import Bar, Panel, svg
from benchmarks.clients import CLIENTS
from benchmarks.machine import described
from benchmarks.rows import Part, markdown
from benchmarks.turns import Runs, median

__all__ = ["figures", "goals", "write"]

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
CHART = ROOT / "docs" / "images" / "bench.svg"

_INTRODUCTION = """\
# What streaming costs

Written by `make bench`. Clients take the same answers from one scripted server on this machine, in
turn, each time in a fresh process; CPU is the client's, all its threads. Figures are medians;
a ratio is to the cheaper of the two loops written by hand (aiohttp, lines, `json.loads`; one on
asyncio, one on uvloop) in the same round, with the least and the most of the rounds. "Floor" is an
expert's client on httptools, msgspec and uvloop that keeps no promise but the text. Lower is better
but for tokens a second.
"""


def goals(parts: Sequence[Part]) -> str:
    """The table of goals."""
    rows = [row for part in parts for row in part.rows]
    lines = [[row.case, row.goal, row.figure, row.verdict] for row in rows]
    return markdown(["case", "goal", "figure", "verdict"], lines)


def figures(parts: Sequence[Part]) -> str:
    """All tables of figures."""
    tables = [table for part in parts for table in part.tables]
    return "\n".join(f"## {each.title}\n\n{markdown(each.head, each.lines)}" for each in tables)


def write(parts: Sequence[Part], seconds: float, load: str, others: float | None) -> None:
    """The results with the machine's, and the chart of the peers."""
    taken = "not known" if others is None else f"{others:.2f}"
    ran = (
        f"Machine: {described()}.\n\n{time.strftime('%Y-%m-%d')}, {seconds / 60:.0f} minutes; "
        f"load when it began {load}, processors that others took meanwhile: {taken}.\n"
    )
    pages = [_INTRODUCTION, ran, f"## Goals\n\n{goals(parts)}", figures(parts)]
    RESULTS.write_text("\n".join(pages), encoding="utf-8")
    titles = ["8 streams of 2,000 chunks in bursts", "500 streams of 10 chunks, 0.1 s apart"]
    charted = [part.runs for part in parts if part.runs and "httpx" in part.runs]
    if charted:
        panels = [_panel(title, runs) for title, runs in zip(titles, charted, strict=True)]
        CHART.write_text(svg(panels), encoding="utf-8")


def _label(client: str) -> str:
    wire = "" if CLIENTS[client].wire == "ndjson" else ", SSE"
    return f"mellea_rx{wire}" if CLIENTS[client].kind == "ours" else client


def _panel(title: str, runs: Runs) -> Panel:
    bars = [Bar(_label(each), median(runs, each, "cpu"), CLIENTS[each].kind) for each in runs]
    return Panel(title, "microseconds of client CPU a chunk; less is better", bars)
