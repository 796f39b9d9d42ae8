"""The cost of operators on long texts: time linear in the text, however small its chunks.

`python -m benchmarks.operators` runs each over five and over ten million characters, in chunks of
four, in turn; prints a table; and exits with 1 when twice the text costs more than 2.2 times. CPU
time of this process, the least of `--rounds` rounds (what else the machine does only adds).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from reactivex import Observable
from reactivex.subject import Subject

from mellea_rx.operators import (
    by_line,
    by_paragraph,
    by_sentence,
    by_word,
    partial_object,
    split_thinking,
)

GOAL = 2.2
"""Twice the text costs at most so many times."""
CHUNK = 4
PROSE = "Mr. Poe paid 3.50 for it, e.g. in May. “No!” he said, and left (at 5 p.m.) Then what?\n\n"
RECORD = json.dumps({"name": "Ada", "born": 1815, "said": 'He said "no" {twice}.', "of": [1, 2]})

Operator = Callable[[Observable[Any]], Observable[Any]]


def prose(size: int) -> str:
    """So many characters with everything that a splitter has to look at."""
    return (PROSE * (size // len(PROSE) + 1))[:size]


def elements(size: int) -> str:
    """A JSON array of so many characters, of many small objects."""
    return f"[{','.join([RECORD] * (size // (len(RECORD) + 1)))}]"


def one_string(size: int) -> str:
    """A JSON object of so many characters, in one field."""
    return json.dumps({"text": prose(size)}, ensure_ascii=False)


def tags(size: int) -> str:
    """Much reasoning."""
    return ("<think>Hm, so it is.</think>So it is. " * (size // 38 + 1))[:size]


CASES: dict[str, tuple[Callable[[int], str], Callable[[], Operator]]] = {
    "by_word": (prose, by_word),
    "by_sentence": (prose, by_sentence),
    "by_sentence, without any": (lambda size: "a" * size, by_sentence),
    "by_line": (prose, by_line),
    "by_paragraph": (prose, by_paragraph),
    "partial_object, many elements": (elements, partial_object),
    "partial_object, one field": (one_string, partial_object),
    "split_thinking": (tags, split_thinking),
}


def cost(text: str, operator: Operator) -> float:
    """CPU seconds for a text in small chunks."""
    source: Subject[str] = Subject()
    failures: list[Exception] = []
    source.pipe(operator).subscribe(lambda _: None, failures.append)
    push = source.on_next
    began = time.process_time()
    for at in range(0, len(text), CHUNK):
        push(text[at : at + CHUNK])
    source.on_completed()
    took = time.process_time() - began
    if failures:
        raise failures[0]
    return took


def main() -> int:
    """Measure, print, and say whether the goal is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--size", type=int, default=10_000_000, help="characters of the longer text"
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    met = True
    print(f"{'case':32}{'ns a character':>16}{'2x the text':>13}")
    for name, (text, make) in CASES.items():
        half, whole = text(options.size // 2), text(options.size)
        rounds = [(cost(half, make()), cost(whole, make())) for _ in range(options.rounds)]
        longer = min(twice for _, twice in rounds)
        ratio = longer / min(once for once, _ in rounds)
        each = longer / len(whole) * 1e9
        met = met and ratio <= GOAL
        print(
            f"{name:32}{each:16.0f}{ratio:12.2f}x{'' if ratio <= GOAL else '  missed'}", flush=True
        )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
