"""One default call after another, in this tree and in others, in turns; ratios to the first.

    python -m benchmarks.default_call main=../main new=. --rounds 7

Each run is a fresh process against one scripted server. A neighbour's load makes single runs
longer, never shorter: so the shortest run of each tree is shown beside the median of the rounds'
ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

WARM_UP = 50
CHUNKS = 10
WAYS = ("avalue", "astream")


async def measured(url: str, way: str, calls: int) -> dict[str, float]:
    """Wall time (median) and CPU time of a call, in us."""
    from mellea_rx import MelleaSession, ModelOption, OllamaBackend

    options = {ModelOption.STREAM: way == "astream"}
    with MelleaSession(OllamaBackend("m", base_url=url), model_options=options) as m:

        async def one() -> None:
            thunk = await m.ainstruct("Go.")
            if way == "avalue":
                await thunk.avalue()
            else:
                async for _ in thunk.astream():
                    pass

        for _ in range(WARM_UP):
            await one()
        times, cpu = [], time.process_time()
        for _ in range(calls):
            begin = time.perf_counter()
            await one()
            times.append(time.perf_counter() - begin)
        cpu = time.process_time() - cpu
    return {"wall": statistics.median(times) * 1e6, "CPU": cpu / calls * 1e6}


def run(tree: Path, url: str, way: str, calls: int) -> dict[str, float]:
    """Measure a tree, in a process of its own."""
    arguments = [sys.executable, __file__, "--measure", url, "--way", way, "--calls", str(calls)]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(
        arguments, env=environment, cwd=tree, check=True, capture_output=True, text=True
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def compare(trees: dict[str, Path], rounds: int, calls: int) -> None:
    """Measure all trees in turns, and print them."""
    from tests.support.server_process import ServerProcess  # not where a tree is measured

    first = next(iter(trees))
    with ServerProcess() as server:
        server.script("m", chunks=["x "] * CHUNKS)
        for way in WAYS:
            told: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
            for _ in range(rounds):
                for name, tree in trees.items():
                    told[name].append(run(tree.resolve(), server.url, way, calls))
            for name, runs in told.items():
                print(way, name, *(_figures(each, runs, told[first]) for each in ("wall", "CPU")))


def _figures(what: str, runs: list[dict[str, float]], first: list[dict[str, float]]) -> str:
    ratio = statistics.median(a[what] / b[what] for a, b in zip(runs, first, strict=True))
    best = min(each[what] for each in runs)
    return f"{what}: {best:.0f} us at best, {ratio:.2f} of the first;"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trees", nargs="*", help="NAME=PATH of a checkout")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--measure", metavar="URL")
    parser.add_argument("--way", choices=WAYS)
    given = parser.parse_args()
    if given.measure is not None:
        print(json.dumps(asyncio.run(measured(given.measure, given.way, given.calls))))
        return
    trees = dict(each.split("=", 1) for each in given.trees or ["here=."])
    compare({name: Path(path) for name, path in trees.items()}, given.rounds, given.calls)


if __name__ == "__main__":
    main()
