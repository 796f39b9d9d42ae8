"""The memory of a live stream, and the cost of each of many streams compared with each of few."""

from __future__ import annotations

from benchmarks.calls import BY_HAND
from benchmarks.rows import Part, Row, Table
from benchmarks.turns import Runs, in_turns, measure, median, of_pairs
from benchmarks.work import Work

__all__ = ["memory", "slope"]

_LONG = Work("paced-500-30", streams=1000)
_SIZES = {
    100: Work("paced-9000-5", streams=100, repeats=5),
    1_000: Work("paced-900-50", streams=1_000, repeats=5),
    10_000: Work("paced-90-500", streams=10_000, repeats=5),
}
"""So many streams, 20,000 chunks a second in all, looked at for five seconds."""
_ROUNDS = 3
_WEIGHED = [*BY_HAND, "astream"]
_COMPARED = ["by hand", "astream"]


def memory(url: str) -> Part:
    """Of a thousand streams of 500 chunks, each with all its text."""
    runs = in_turns("memory", dict.fromkeys(_WEIGHED, _LONG), 1, url)
    lines = [[each, f"{median(runs, each, 'kilobytes'):.1f}"] for each in _WEIGHED]
    size = median(runs, "astream", "kilobytes")
    row = Row("memory a live stream of 500 chunks", "14 KB", f"{size:.1f} KB", size <= 14)
    title = "Memory a live stream of 500 chunks, 1,000 streams"
    return Part([row], [Table(title, ["client", "KB"], lines)])


def slope(url: str) -> Part:
    """The same rate of chunks from a hundred, a thousand, ten thousand streams."""
    runs: dict[int, Runs] = {size: {client: [] for client in _COMPARED} for size in _SIZES}
    for index in range(_ROUNDS):
        for size, work in _SIZES.items():
            for client in _COMPARED if index == 0 else ["astream"]:  # the loop has no goal
                runs[size][client].append(measure("streaming", client, work, url))
    ours = [[run["cpu"] for run in runs[size]["astream"]] for size in _SIZES]
    rounds = list(zip(*ours, strict=True))
    apart = of_pairs([max(each) for each in rounds], [min(each) for each in rounds])
    lines = []
    for size in _SIZES:
        for client in _COMPARED:
            cpu, taken = (median(runs[size], client, each) for each in ("cpu", "taken"))
            lines.append([f"{size:,}", client, f"{cpu:.2f}", f"{taken:.0%}"])
    case = "100, 1,000, 10,000 streams: CPU a chunk while they stream"
    row = Row(case, "within 1.3x", f"{apart}", apart.middle <= 1.3)
    head = ["streams", "client", "CPU us a chunk", "chunks taken meanwhile"]
    title = "Few and many streams while they stream, 20,000 chunks a second in all"
    return Part([row], [Table(title, head, lines)])
