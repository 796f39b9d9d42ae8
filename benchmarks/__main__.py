"""All goals, measured: `python -m benchmarks`, less than ten minutes.

Prints the table of goals with figures and verdicts, and writes `benchmarks/RESULTS.md` and the
chart. `--only` takes some of the parts, and writes nothing.
"""

from __future__ import annotations

import argparse
import time

from benchmarks.calls import among_streams, at_once, first_text, mapped, short_calls
from benchmarks.embedded import embedded
from benchmarks.footprint import imports, size
from benchmarks.machine import Neighbours, load
from benchmarks.measures import raise_file_limit
from benchmarks.peers import peers_in_bursts, peers_paced
from benchmarks.report import figures, goals, write
from benchmarks.rows import Part
from benchmarks.scale import memory, slope
from benchmarks.streams import begun, bursts, bursts_sse, checked, late, paced
from benchmarks.turns import server

ON_A_SERVER = {
    "bursts": bursts,
    "bursts-sse": bursts_sse,
    "paced": paced,
    "checked": checked,
    "latency": late,
    "begun": begun,
    "short-calls": short_calls,
    "at-once": at_once,
    "mapped": mapped,
    "among-streams": among_streams,
    "memory": memory,
    "slope": slope,
    "peers": peers_in_bursts,
    "peers-paced": peers_paced,
}
APART = {"first-text": first_text, "embedded": embedded, "import": imports, "size": size}


def measured(names: list[str]) -> list[Part]:
    """Each part, one after the other."""
    parts = []
    raise_file_limit()  # the server inherits it
    for name in names:
        print(f"{name} …", flush=True)
        started = time.monotonic()
        if name in APART:
            parts.append(APART[name]())
        else:
            with server() as url:
                parts.append(ON_A_SERVER[name](url))
        took = time.monotonic() - started
        for row in parts[-1].rows:
            print(f"  {row.case}: {row.figure} ({row.goal}): {row.verdict}", flush=True)
        print(f"  {took:.0f} s", flush=True)
    return parts


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    known = [*ON_A_SERVER, *APART]
    parser.add_argument("--only", nargs="+", choices=known, metavar="PART", help=", ".join(known))
    only = parser.parse_args().only
    began, before, neighbours = time.monotonic(), load(), Neighbours()
    parts = measured(only or known)
    print(f"\n{goals(parts)}\n{figures(parts)}")
    if only is None:
        write(parts, time.monotonic() - began, before, neighbours.processors())


if __name__ == "__main__":
    main()
