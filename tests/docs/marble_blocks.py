"""Marble diagrams that cannot lie: each is run, in virtual time, and compared with what it shows.

A block has a line for each source and a line for each result. A line is a label, a colon, and a
marble without spaces; where the marbles begin in the same column, time can be read off.

    source:          -a-b--c|
    coalesce(2):     ---ab---(c|)

A label that is a name makes a cold source of that name. Any other is a Python expression over the
public operators, `rx`, `ops`, and the sources: an Observable, or an operator that is put on
`source`. Two more names are there: `attempts(first, second)` is a cold call, whose subscriptions
get these one after the other; `second_at(3, tee(2))` shows a second reader that comes late.

In a marble each character is a second: "-" nothing, "|" the end, "#" an error; whatever else stands
there is one item, at the time of its first character. What is in brackets, parted by commas, comes
at the time of the first bracket. "·" is a space and "⏎" an LF. An item is shown by its text; a
chunk without text by its thinking, in ⟨⟩.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops
from reactivex.testing import ReactiveTest, TestScheduler

import mellea_rx
from mellea_rx import Chunk, operators
from mellea_rx.operators import Part

__all__ = ["Line", "drawn", "lines_of", "names_of", "parsed", "ran"]

HORIZON = 1000.0
"""How long a diagram runs, in virtual seconds."""

FAILURE = mellea_rx.StreamInterruptedError("#")
"""What a source fails with."""


class Line(NamedTuple):
    """One line of a block."""

    label: str
    marble: str


class Event(NamedTuple):
    """What happens: an item's text, "|" or "#", and when."""

    at: float
    what: str


_LINE = re.compile(r"(?P<label>.+?):\s+(?P<marble>\S+)\s*")
_TOKEN = re.compile(r"(?P<time>-+)|(?P<group>\(.*?\))|(?P<item>[|#]|[^-|#()\s]+)")
_SPOKEN = str.maketrans("·⏎", " \n")
_WRITTEN = str.maketrans(" \n", "·⏎")


def lines_of(block: str) -> list[Line]:
    """The lines of a block."""
    lines = []
    for line in block.splitlines():
        found = _LINE.fullmatch(line)
        assert found is not None, f"not a line of a marble block: {line!r}"
        lines.append(Line(found["label"], found["marble"]))
    return lines


def parsed(marble: str) -> list[Event]:
    """What a marble shows."""
    events = []
    at = 0
    for found in _TOKEN.finditer(marble):
        assert found.start() == at, f"{marble!r} cannot be read at {at}"
        if not found["time"]:
            whole = found[0]
            items = whole[1:-1] if found["group"] else whole
            events += [Event(at, item) for item in (_items(items) if found["group"] else [items])]
        at = found.end()
    assert at == len(marble), f"{marble!r} cannot be read at {at}"
    return events


def _items(group: str) -> Iterator[str]:
    """The items of a group; its end may follow one without a comma."""
    for item in group.split(","):
        end = item[-1:] if item[-1:] in ("|", "#") else ""
        if item != end:
            yield item.removesuffix(end)
        if end:
            yield end


def drawn(events: Iterable[Event]) -> str:
    """The marble of what happened; what cannot be drawn at its time is shown as such."""
    groups: dict[float, list[str]] = {}
    for at, what in events:
        groups.setdefault(at, []).append(what)
    marble = ""
    for at, items in groups.items():
        if at != int(at) or at < len(marble):
            marble += f" at {at:g}: "
        else:
            marble += "-" * (int(at) - len(marble))
        text = ",".join(items)
        marble += text if len(items) == 1 else f"({text})"
    return marble


def names_of(lines: Iterable[Line]) -> dict[str, str]:
    """The sources of a block, by name."""
    return {label: marble for label, marble in lines if label.isidentifier()}


def ran(expression: str, sources: dict[str, str]) -> list[Event]:
    """What an expression over these sources does."""
    time = TestScheduler()
    cold = {name: _cold(time, marble) for name, marble in sources.items()}
    names = {each: getattr(operators, each) for each in operators.__all__}
    names |= {
        "Chunk": Chunk,
        "rx": rx,
        "ops": ops,
        "attempts": _attempts,
        "second_at": _second_at(time),
    }
    result = eval(expression, names | cold)
    if not isinstance(result, Observable):
        result = result(cold["source"])
    events: list[Event] = []

    def note(what: str) -> None:
        events.append(Event(time.clock, what))

    result.subscribe(
        lambda item: note(_shown(item)),
        lambda _: note("#"),
        lambda: note("|"),
        scheduler=time,
    )
    time.advance_to(HORIZON)
    return events


def _cold(time: TestScheduler, marble: str) -> Observable[Any]:
    kinds: dict[str, Callable[[float], Any]] = {
        "|": ReactiveTest.on_completed,
        "#": lambda at: ReactiveTest.on_error(at, FAILURE),
    }
    messages = [
        kinds[what](at)
        if what in kinds
        else ReactiveTest.on_next(at, Chunk(what.translate(_SPOKEN)))
        for at, what in parsed(marble)
    ]
    return time.create_cold_observable(messages)


def _attempts(*sources: Observable[Any]) -> Observable[Any]:
    """A cold call: each subscription gets the next of these."""
    following = iter(sources)
    return rx.defer(lambda _: next(following))


def _second_at(time: TestScheduler) -> Callable[[float, Any], Callable[[Any], Observable[Any]]]:
    """What the second observable of a tee gives, when it is subscribed to late."""

    def second_at(at: float, tee: Any) -> Callable[[Any], Observable[Any]]:
        def operator(source: Observable[Any]) -> Observable[Any]:
            first, second = tee(source)
            late = rx.timer(at, scheduler=time).pipe(ops.flat_map(lambda _: second))
            return rx.merge(first.pipe(ops.ignore_elements()), late)

        return operator

    return second_at


def _shown(item: Any) -> str:
    if isinstance(item, Part):
        return f"{item.key}={item.value}".replace(" ", "")
    if isinstance(item, Chunk) and not item.text:
        return f"⟨{item.thinking.translate(_WRITTEN)}⟩"
    if isinstance(item, (tuple, list)):
        return "+".join(map(_shown, item))
    return str(item).translate(_WRITTEN)
