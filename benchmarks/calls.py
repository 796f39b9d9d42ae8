"""Short calls: first text, one after another, fifty at once, mapped over rows, among streams."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.rows import Part, Row, Table
from benchmarks.turns import Ratio, Runs, in_turns, median, ratio, server, to_cheapest
from benchmarks.work import Work

__all__ = ["BY_HAND", "SHORT", "among_streams", "at_once", "first_text", "mapped", "short_calls"]

BY_HAND = ["by hand", "by hand, uvloop"]
"""The loop that one writes by hand, on each event loop: ratios are to the cheaper one."""
SHORT = Work("burst-10", repeats=1000)
_AT_ONCE = Work("burst-10", streams=50, repeats=60)
_ROWS = Work("burst-10", streams=3000)
_AMONG = Work("burst-10", repeats=500)
_LONE = Work("stamped-2-3", repeats=500)


def first_text() -> Part:
    """From the first chunk's leaving the server to its text being in the reader's hand."""
    clients = ["by hand", "astream"]
    with server("--at-once") as url:
        runs = in_turns("first text", dict.fromkeys(clients, _LONE), 3, url)
    figures = {each: (median(runs, each, "median"), median(runs, each, "p99")) for each in clients}
    lines = [[each, f"{middle:.2f}", f"{p99:.2f}"] for each, (middle, p99) in figures.items()]
    more = figures["astream"][0] - figures["by hand"][0]
    late = figures["astream"][1]
    by_hand = f"by hand {figures['by hand'][1]:.2f}"
    rows = [
        Row(
            "first text of one stream", "1 ms more than the loop", f"{more:.2f} ms more", more <= 1
        ),
        Row("the same, p99", "3 ms", f"{late:.2f} ms ({by_hand})", late <= 3),
    ]
    return Part(rows, [Table("First text of one stream, ms", ["client", "median", "p99"], lines)])


def short_calls(url: str) -> Part:
    """One after another, start to end."""
    ours = ["default call", "astream", "sync verb"]
    clients = [*BY_HAND, "floor", *ours, "default call, uvloop", "default call, own loop"]
    runs = in_turns("cost", dict.fromkeys(clients, SHORT), 5, url)
    title = "One short call (10 chunks) after another, 1,000 times"
    rows = []
    for client in ours:
        wall = to_cheapest(runs, client, BY_HAND, "seconds")
        cpu = to_cheapest(runs, client, BY_HAND, "cpu")
        case = f"{title}, {client}: wall (CPU: {cpu})"
        rows.append(Row(case, "1.4", str(wall), wall.middle <= 1.4))
    return Part(rows, [_a_call(title, runs, SHORT)])


def at_once(url: str) -> Part:
    """Fifty calls at once by `gather`, then the next fifty."""
    clients = [*BY_HAND, "floor", "default call", "default call, uvloop"]
    clients += ["default call, own loop"]
    runs = in_turns("cost", dict.fromkeys(clients, _AT_ONCE), 5, url)
    title = "3,000 short calls, 50 at once (`gather`)"
    rows = _cpu_and_wall(title, runs, "default call", BY_HAND, 0.85, 0.9)
    return Part(rows, [_a_call(title, runs, _AT_ONCE)])


def mapped(url: str) -> Part:
    """Three thousand rows, fifty at a time."""
    by_hand = ["by hand, 50 at a time", "by hand, 50 at a time, uvloop"]
    clients = [*by_hand, "floor, 50 at a time", "map_generate"]
    runs = in_turns("cost", dict.fromkeys(clients, _ROWS), 5, url)
    title = "3,000 rows by `map_generate`, 50 at a time"
    rows = _cpu_and_wall(title, runs, "map_generate", by_hand, 0.95, 1.0)
    return Part(rows, [_a_call(title, runs, _ROWS)])


def among_streams(url: str) -> Part:
    """One after another, while five hundred streams are read."""
    ours = "default call and astream"
    clients = [*BY_HAND, "floor", ours]
    runs = in_turns("among", dict.fromkeys(clients, _AMONG), 3, url)
    lines = [
        [each, f"{median(runs, each, 'median'):.2f}", f"{median(runs, each, 'p99'):.2f}"]
        for each in clients
    ]
    late = median(runs, ours, "p99")
    title = "A short call among 500 paced streams"
    row = Row(f"{title}, p99", "5 ms", f"{late:.1f} ms", late <= 5)
    return Part([row], [Table(f"{title}, ms", ["client", "median", "p99"], lines)])


def _cpu_and_wall(
    title: str, runs: Runs, client: str, by_hand: Sequence[str], cpu: float, wall: float
) -> list[Row]:
    figures = {"CPU": (cpu, "cpu"), "wall": (wall, "seconds")}
    rows = []
    for name, (goal, field) in figures.items():
        figure: Ratio = to_cheapest(runs, client, by_hand, field)
        rows.append(Row(f"{title}, {name}", f"{goal}", str(figure), figure.middle <= goal))
    return rows


def _a_call(title: str, runs: Runs, work: Work) -> Table:
    calls = work.streams * work.repeats
    lines = []
    for client in runs:
        wall = median(runs, client, "seconds") / calls * 1e6
        cpu = median(runs, client, "cpu") * work.chunks / calls
        to_first = ratio(runs, client, next(iter(runs)), "seconds")
        lines.append([client, f"{wall:.0f}", f"{cpu:.0f}", str(to_first)])
    return Table(title, ["client", "us a call", "CPU us a call", "wall, to the first row's"], lines)
