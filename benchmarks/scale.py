"""What a live stream weighs, and whether many of them cost more each than few."""

from __future__ import annotations

from benchmarks.rows import Part, Row, Table
from benchmarks.turns import in_turns, median
from benchmarks.work import Work

__all__ = ["memory", "slope"]

_LONG = Work("paced-500-30", streams=1000)
_SIZES = {
    100: (Work("paced-30-5", streams=100, repeats=10), 3),
    1_000: (Work("paced-30-50", streams=1_000), 3),
    10_000: (Work("paced-30-500", streams=10_000), 1),
}
"""So many streams, at 20,000 chunks a second in all; and how many rounds."""
_CLIENTS = ["by hand", "astream"]


def memory(url: str) -> Part:
    """Of a thousand streams of 500 chunks, each with all its text."""
    runs = in_turns("memory", dict.fromkeys(_CLIENTS, _LONG), 1, url)
    lines = [[each, f"{median(runs, each, 'kilobytes'):.1f}"] for each in _CLIENTS]
    size = median(runs, "astream", "kilobytes")
    row = Row("memory a live stream of 500 chunks", "25 KB", f"{size:.1f} KB", size <= 25)
    title = "Memory a live stream of 500 chunks, 1,000 streams"
    return Part([row], [Table(title, ["client", "KB"], lines)])


def slope(url: str) -> Part:
    """The same rate of chunks from a hundred, a thousand, ten thousand streams."""
    figures: dict[str, list[float]] = {client: [] for client in _CLIENTS}
    lines = []
    for streams, (work, rounds) in _SIZES.items():
        runs = in_turns("cost, connected", dict.fromkeys(_CLIENTS, work), rounds, url)
        for client in _CLIENTS:
            cpu, seconds = (median(runs, client, each) for each in ("cpu", "seconds"))
            figures[client].append(cpu)
            lines.append([f"{streams:,}", client, f"{cpu:.2f}", f"{seconds / work.ideal:.2f}"])
    apart = max(figures["astream"]) / min(figures["astream"])
    row = Row(
        "100, 1,000, 10,000 streams: CPU a chunk", "within 1.3x", f"{apart:.2f}x", apart <= 1.3
    )
    head = ["streams", "client", "CPU us a chunk", "wall clock by the ideal"]
    return Part([row], [Table("Few and many streams, 20,000 chunks a second in all", head, lines)])
