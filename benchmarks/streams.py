"""Many chunks at once and in their own time, against the loops written by hand."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.calls import BY_HAND
from benchmarks.rows import Part, Row, Table, costs
from benchmarks.turns import Runs, in_turns, median, to_cheapest
from benchmarks.work import Work

__all__ = ["BURSTS", "PACED", "begun", "bursts", "bursts_sse", "checked", "late", "paced"]

BURSTS = Work("burst-2000", streams=8, repeats=10)
PACED = Work("paced-50-100", streams=1000)
_TIMED = Work("timed-50-100", streams=1000)
_BEGUN = Work("paced-600-100", streams=1000)


def bursts(url: str) -> Part:
    """As fast as the server writes: Ollama's lines, in every way of reading a thunk."""
    clients = [*BY_HAND, "floor", "astream", "avalue", "three operators", "merge"]
    runs = in_turns("cost", dict.fromkeys(clients, BURSTS), 5, url)
    row = _cpu("bursts, 8 streams x 2,000 chunks, `astream`, NDJSON", runs, "astream", BY_HAND, 0.4)
    return Part([row], [costs("Bursts, NDJSON: 8 streams of 2,000 chunks", runs, "by hand")], runs)


def bursts_sse(url: str) -> Part:
    """The same as OpenAI's events."""
    by_hand = ["by hand, SSE", "by hand, SSE, uvloop"]
    clients = [*by_hand, "floor, SSE", "astream, SSE"]
    runs = in_turns("cost", dict.fromkeys(clients, BURSTS), 5, url)
    case = "the same, SSE, against a hand-written SSE loop"
    row = _cpu(case, runs, "astream, SSE", by_hand, 0.4)
    return Part(
        [row], [costs("Bursts, SSE: 8 streams of 2,000 chunks", runs, "by hand, SSE")], runs
    )


def paced(url: str) -> Part:
    """A thousand models that talk at their own pace; also composed with Rx."""
    composed = "three operators and merge"
    runs = in_turns("cost", dict.fromkeys([*BY_HAND, "floor", "astream", composed], PACED), 5, url)
    wall = median(runs, "astream", "seconds") / PACED.ideal
    rows = [
        _cpu(f"{_CASE}, CPU", runs, "astream", BY_HAND, 0.95),
        Row(f"{_CASE}, wall clock", "1.10 of the ideal", f"{wall:.2f}", wall <= 1.10),
        _cpu("the same through three Rx operators and `merge`", runs, composed, BY_HAND, 1.3),
    ]
    table = costs("1,000 paced streams of 50 chunks, 0.1 s apart", runs, "by hand", PACED.ideal)
    return Part(rows, [table], runs)


_CASE = "1,000 paced streams x 50 chunks (0.1 s apart)"


def late(url: str) -> Part:
    """The latency of each chunk of a thousand paced streams, up to its reader."""
    clients = [*BY_HAND, "floor", "astream"]
    runs = in_turns("latency", dict.fromkeys(clients, _TIMED), 3, url)
    figures = {each: (median(runs, each, "median"), median(runs, each, "p99")) for each in clients}
    lines = [[each, f"{middle:.2f}", f"{p99:.2f}"] for each, (middle, p99) in figures.items()]
    p99 = figures["astream"][1]
    row = Row(f"{_CASE}, latency of a chunk, p99", "8 ms", f"{p99:.1f} ms", p99 <= 8)
    table = Table(f"{_CASE}: latency of a chunk, ms", ["client", "median", "p99"], lines)
    return Part([row], [table])


def checked(url: str) -> Part:
    """A thousand paced streams whose words are validated while they are read."""
    runs = in_turns("cost", dict.fromkeys(["astream", "astream, checked"], PACED), 3, url)
    pairs = zip(runs["astream, checked"], runs["astream"], strict=True)
    added = statistics.median(mine["cpu"] - plain["cpu"] for mine, plain in pairs)
    case = "1,000 paced streams, a streaming validation of each word: added CPU"
    row = Row(case, "15 us a unit", f"{added:.1f} us", added <= 15)
    return Part([row], [costs("1,000 paced streams, each word validated", runs, "astream")])


def begun(url: str) -> Part:
    """From the call to the first text, of a thousand streams at once."""
    clients = [*BY_HAND, "floor", "astream"]
    runs = in_turns("start", dict.fromkeys(clients, _BEGUN), 3, url)
    lines = [[each, f"{median(runs, each, 'cpu'):.0f}"] for each in clients]
    table = Table("CPU to begin a stream, of 1,000 at once", ["client", "us a stream"], lines)
    return Part([], [table])


def _cpu(case: str, runs: Runs, client: str, by_hand: Sequence[str], goal: float) -> Row:
    cost = to_cheapest(runs, client, by_hand, "cpu")
    return Row(case, f"{goal:.2f}", str(cost), cost.middle <= goal)
