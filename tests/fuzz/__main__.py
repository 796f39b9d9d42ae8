"""Search for bytes that break a promise: `python -m tests.fuzz --seconds 60`.

The first byte of an input chooses the target, so that one search covers all of them. A finding is
written into the folder that the search prints, and raises.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["mellea_rx.wire", "mellea_rx.backends", "mellea_rx.operators"]
):
    from tests.fuzz.targets import SEEDS, TARGETS


def main() -> None:
    """Search until the time is over, or a promise is broken."""
    parser = argparse.ArgumentParser(description="Search for bytes that break a promise.")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=-1, help="inputs to try; -1: no limit")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    given = parser.parse_args()
    targets = list(TARGETS.values())

    def one_input(data: bytes) -> None:
        if data:
            targets[data[0] % len(targets)](data[1:])

    folder = Path(tempfile.mkdtemp(prefix="mellea-rx-fuzz-"))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number in range(len(targets)):
        for index, seed in enumerate(SEEDS):
            (corpus / f"{number}-{index}").write_bytes(bytes([number]) + seed)
    options = [
        f"-max_total_time={given.seconds}",
        f"-runs={given.runs}",
        f"-seed={given.seed}",
        f"-artifact_prefix={folder}/",
        "-max_len=4096",
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
