"""The cost of the transports alone, compared with a loop written by hand, all on uvloop.

`python -m benchmarks.transports` takes less than two minutes. Client CPU, all clients in turn, each
in a fresh process; the ratios of each round are to the library's own connections (http1).
"""

from __future__ import annotations

import argparse

from benchmarks.measures import raise_file_limit
from benchmarks.turns import in_turns, median, ratio, server
from benchmarks.work import Work

OWN = "http1"
CLIENTS = [OWN, "aiohttp session", "by hand, uvloop"]
CASES = {
    "bursts, us a chunk": Work("burst-2000", 8, 10),
    "paced, us a chunk": Work("paced-50-100", 500),
    "short calls one after another, us a chunk of ten": Work("burst-10", 1, 1000),
}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="CPU of both transports and of a loop by hand.")
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    raise_file_limit()
    with server() as url:
        for name, work in CASES.items():
            runs = in_turns("cost", dict.fromkeys(CLIENTS, work), rounds, url)
            print(name)
            for client in CLIENTS:
                times = ratio(runs, client, OWN, "cpu")
                print(f"  {client:18}{median(runs, client, 'cpu'):8.2f}  {times}", flush=True)


if __name__ == "__main__":
    main()
