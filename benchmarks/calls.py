"""One call at a time: how late its first text is, and how long a short one takes."""

from __future__ import annotations

from benchmarks.rows import Part, Row, Table
from benchmarks.turns import in_turns, median, ratio, server
from benchmarks.work import Work

__all__ = ["SHORT", "first_text", "short_calls"]

SHORT = Work("burst-10", repeats=1000)
_LONE = Work("stamped-2-3", repeats=500)
_CLIENTS = ["by hand", "astream"]


def first_text() -> Part:
    """From the first chunk's leaving the server to its text being in the reader's hand."""
    with server("--at-once") as url:
        runs = in_turns("first text", dict.fromkeys(_CLIENTS, _LONE), 3, url)
    figures = {each: (median(runs, each, "median"), median(runs, each, "p99")) for each in _CLIENTS}
    lines = [[each, f"{middle:.2f}", f"{p99:.2f}"] for each, (middle, p99) in figures.items()]
    more = figures["astream"][0] - figures["by hand"][0]
    late = figures["astream"][1]
    rows = [
        Row(
            "first text of one stream", "1 ms more than the loop", f"{more:.2f} ms more", more <= 1
        ),
        Row(
            "the same, p99",
            "3 ms",
            f"{late:.2f} ms (by hand {figures['by hand'][1]:.2f})",
            late <= 3,
        ),
    ]
    return Part(rows, [Table("First text of one stream, ms", ["client", "median", "p99"], lines)])


def short_calls(url: str) -> Part:
    """One after the other, start to end."""
    runs = in_turns("cost", dict.fromkeys(_CLIENTS, SHORT), 5, url)
    wall = ratio(runs, "astream", "by hand", "seconds")
    cpu = ratio(runs, "astream", "by hand", "cpu")
    lines = []
    for client in _CLIENTS:
        seconds, chunk = median(runs, client, "seconds"), median(runs, client, "cpu")
        calls = SHORT.repeats
        lines.append(
            [client, f"{seconds / calls * 1e6:.0f}", f"{chunk * SHORT.chunks / calls:.0f}"]
        )
    title = "One short call (10 chunks), 1,000 in a row"
    rows = [Row(f"{title}, wall clock (CPU: {cpu})", "1.3", f"{wall}", wall.middle <= 1.3)]
    return Part(rows, [Table(title, ["client", "us a call", "CPU us a call"], lines)])
