"""`nearest`: the known name closest to a misspelled one, for messages that suggest it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

__all__ = ["nearest"]

_LONG = 11
"""The length from which on a name may differ in two places, in characters."""

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name among `known` that `name` is a misspelling of; None for none.

    Case, dashes and camelCase are ignored. One letter may be missing, added, wrong or swapped with
    its neighbour; in a name of 11 letters and more, two.

    Example:
        >>> nearest("temprature", ["seed", "temperature"]), nearest("top_k", ["stop", "tools"])
        ('temperature', None)
    """
    return _nearest(name, tuple(known))


@lru_cache(maxsize=256)
def _nearest(name: str, known: tuple[str, ...]) -> str | None:
    written = _CAMEL.sub("_", name.strip()).lower().replace("-", "_")
    if written in known:
        return written
    distance, found = min((_distance(written, each), each) for each in known)
    allowed = 2 if min(len(written), len(found)) >= _LONG else 1
    return found if distance <= allowed else None


def _distance(a: str, b: str) -> int:
    """The number of letters to insert, delete, replace or swap from `a` to `b`."""
    before: list[int] = []
    last: list[int] = []
    row = list(range(len(b) + 1))
    for i, here in enumerate(a, 1):
        before, last, row = last, row, [i]
        for j, there in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (here != there))
            if i > 1 and j > 1 and here == b[j - 2] and a[i - 2] == there:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
    return row[-1]
