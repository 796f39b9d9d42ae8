"""Many chunks at once and in their own time, against the loops written by hand."""

from __future__ import annotations

from benchmarks.rows import Part, Row, costs
from benchmarks.turns import in_turns, median, ratio
from benchmarks.work import Work

__all__ = ["BURSTS", "PACED", "bursts", "bursts_sse", "paced"]

BURSTS = Work("burst-2000", streams=8, repeats=10)
PACED = Work("paced-50-100", streams=1000)


def bursts(url: str) -> Part:
    """As fast as the server writes: Ollama's lines, in every way of reading a thunk."""
    clients = ["by hand", "astream", "avalue", "three operators", "merge"]
    runs = in_turns("cost", dict.fromkeys(clients, BURSTS), 5, url)
    cost = ratio(runs, "astream", "by hand", "cpu")
    row = Row(
        "bursts, 8 streams x 2,000 chunks, `astream`, NDJSON",
        "0.95",
        f"{cost}",
        cost.middle <= 0.95,
    )
    return Part([row], [costs("Bursts, NDJSON: 8 streams of 2,000 chunks", runs, "by hand")], runs)


def bursts_sse(url: str) -> Part:
    """The same as OpenAI's events."""
    clients = ["by hand, SSE", "astream, SSE"]
    runs = in_turns("cost", dict.fromkeys(clients, BURSTS), 5, url)
    cost = ratio(runs, "astream, SSE", "by hand, SSE", "cpu")
    row = Row(
        "the same, SSE, against a hand-written SSE loop", "0.95", f"{cost}", cost.middle <= 0.95
    )
    return Part(
        [row], [costs("Bursts, SSE: 8 streams of 2,000 chunks", runs, "by hand, SSE")], runs
    )


def paced(url: str) -> Part:
    """A thousand models that talk at their own pace; also composed with Rx."""
    clients = ["by hand", "astream", "three operators and merge"]
    runs = in_turns("cost", dict.fromkeys(clients, PACED), 5, url)
    cost = ratio(runs, "astream", "by hand", "cpu")
    wall = median(runs, "astream", "seconds") / PACED.ideal
    composed = ratio(runs, "three operators and merge", "by hand", "cpu")
    case = "1,000 paced streams x 50 chunks (0.1 s apart)"
    rows = [
        Row(f"{case}, CPU", "0.80", f"{cost}", cost.middle <= 0.80),
        Row(f"{case}, wall clock", "1.10 of the ideal", f"{wall:.2f}", wall <= 1.10),
        Row(
            "the same through three Rx operators and `merge`",
            "1.10",
            f"{composed}",
            composed.middle <= 1.10,
        ),
    ]
    table = costs("1,000 paced streams of 50 chunks, 0.1 s apart", runs, "by hand", PACED.ideal)
    return Part(rows, [table], runs)
