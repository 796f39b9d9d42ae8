"""Each of the peers, on the same wire and in the same run as ours."""

from __future__ import annotations

import subprocess

from benchmarks.clients import CLIENTS, Client
from benchmarks.environments import version
from benchmarks.rows import Part, Row, Table, costs
from benchmarks.turns import Runs, measure, median
from benchmarks.work import Work

__all__ = ["OURS", "peers_in_bursts", "peers_paced"]

OURS = {"ndjson": "astream", "sse": "astream, SSE"}
_HAND = {"ndjson": "by hand", "sse": "by hand, SSE"}
_REPEATS = {"httpx": 8, "ollama": 8, "langchain-ollama": 2, "Mellea, Ollama": 3}
"""Quick clients repeat the work, so that there is enough CPU to measure; the others stream once."""
_PACED = Work("paced-10-100", streams=500)


def _peers() -> dict[str, Client]:
    """Those that are installed."""
    return {name: each for name, each in CLIENTS.items() if each.package and version(each)}


def _try(runs: Runs, client: str, work: Work, url: str) -> None:
    try:
        numbers = measure("cost", client, work, url)
    except subprocess.CalledProcessError:
        print(f"{client} failed, and is left out", flush=True)
        return
    runs.setdefault(client, []).append(numbers)


def _compare(title: str, works: dict[str, Work], rounds: int, url: str) -> Part:
    runs: Runs = {}
    for _ in range(rounds):
        for client, work in works.items():
            _try(runs, client, work, url)
    rows, tables = [], []
    for wire, ours in OURS.items():
        own = median(runs, ours, "cpu")
        here = {name: each for name, each in runs.items() if CLIENTS[name].wire == wire}
        for name in here:
            if CLIENTS[name].package:
                times = median(runs, name, "cpu") / own
                rows.append(Row(f"{name}, {title}", "ahead", f"{times:.1f}x our CPU", times > 1))
        ideal = works[ours].ideal
        tables.append(costs(f"Peers, {title}, {wire.upper()}", here, _HAND[wire], ideal))
    return Part(rows, tables, runs)


def _absent() -> list[Row]:
    return [
        Row(name, "ahead", "not installed: `make bench-peers`", None)
        for name, each in CLIENTS.items()
        if each.package and not version(each)
    ]


def peers_in_bursts(url: str) -> Part:
    """8 streams of 2,000 chunks, as fast as the server writes."""
    alike = dict.fromkeys([*_HAND.values(), *OURS.values()], 8)
    repeats = {**alike, **{name: _REPEATS.get(name, 1) for name in _peers()}}
    works = {name: Work("burst-2000", 8, times) for name, times in repeats.items()}
    part = _compare("bursts", works, 3, url)
    versions = [[name, str(version(each))] for name, each in _peers().items()]
    table = Table("Versions of the peers", ["client", "version"], versions)
    return Part([*part.rows, *_absent()], [*part.tables, table], part.runs)


def peers_paced(url: str) -> Part:
    """500 streams of 10 chunks, 0.1 s apart; once, for some keep all but 100 waiting."""
    names = [*_HAND.values(), *OURS.values(), *_peers()]
    return _compare("500 paced", dict.fromkeys(names, _PACED), 1, url)
