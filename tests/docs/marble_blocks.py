"""Marble diagrams that cannot lie: each is run, in virtual time, and compared with what it shows.

A block has a line for each source and a line for each result. A line is a label, a colon, and a
marble without spaces; where the marbles begin in the same column, time can be read off.

    source:          -a-b--c|
    coalesce(2):     ---ab---(c|)

A label that is a name makes a cold source of that name. Any other is a Python expression over the
public operators, `rx`, `ops`, and the sources: an Observable, or an operator that is put on
`source`. More names are there: `attempts(first, second)` is a cold call, whose subscriptions
get these one after the other; `second_at(3, tee(2))` shows a second reader that comes late. And for
what takes its time: `m` is a session, and `slow` a function, that take as many seconds as they are
told; `slowly(6, iterator)` is a reader that takes six for each item; `later(3, "x")` is a future.
`released("validated", "marker")(first, second)` is a call with this release policy, whose attempts
are these sources; its requirement is that no word has an "X".

In a marble each character is a second: "-" nothing, "|" the end, "#" an error; whatever else stands
there is one item, at the time of its first character. What is in brackets, parted by commas, comes
at the time of the first bracket. "·" is a space and "⏎" an LF. An item is shown by its text; a
chunk without text by its thinking, in ⟨⟩; a call for an input by that; a retraction by "↩" and the
number of characters.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, NamedTuple

import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import CompositeDisposable

import mellea_rx
from mellea_rx import Chunk, MelleaSession, Retracted, ScriptedBackend, operators
from mellea_rx.backends import BaseBackend, Capabilities, Pause, Request
from mellea_rx.operators import Part, Started
from mellea_rx.stdlib.requirements import check
from mellea_rx.stdlib.sampling import OnReject, Release
from mellea_rx.testing import VirtualTime

__all__ = ["Line", "drawn", "lines_of", "names_of", "parsed", "ran"]

HORIZON = 1000.0
"""The length of a diagram, in virtual seconds."""

FAILURE = mellea_rx.StreamInterruptedError("#")
"""The error of a source."""


class Line(NamedTuple):
    """One line of a block."""

    label: str
    marble: str


class Event(NamedTuple):
    """An event (an item's text, "|" or "#") and its time."""

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
    """The text of a marble."""
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
    """The events of an expression over these sources, on an event loop in virtual time."""
    with VirtualTime(limit=10 * HORIZON) as time:
        return time.run(_played(expression, sources, time.scheduler))


async def _played(
    expression: str, sources: dict[str, str], scheduler: abc.SchedulerBase
) -> list[Event]:
    loop = asyncio.get_running_loop()
    cold = {name: _cold(scheduler, marble) for name, marble in sources.items()}
    names = {each: getattr(operators, each) for each in operators.__all__}
    names |= {
        "Chunk": Chunk,
        "rx": rx,
        "ops": ops,
        "attempts": _attempts,
        "second_at": _second_at(scheduler),
        "m": MelleaSession(ScriptedBackend(_as_long_as_it_says)),
        "slow": _slow,
        "slowly": _slowly,
        "later": _later,
        "released": _released,
    }
    result = eval(expression, names | cold)
    if not isinstance(result, Observable):
        result = result(cold["source"])
    events: list[Event] = []

    def note(what: str) -> None:
        # Many turns of a loop at one moment may add up to some milliseconds.
        events.append(Event(round(loop.time(), 1), what))

    result.subscribe(
        lambda item: note(_shown(item)),
        lambda _: note("#"),
        lambda: note("|"),
        scheduler=scheduler,
    )
    await asyncio.sleep(HORIZON)
    return events


def _cold(scheduler: abc.SchedulerBase, marble: str) -> Observable[Any]:
    def subscribe(
        observer: abc.ObserverBase[Any], _: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        def at(event: Event) -> abc.DisposableBase:
            return scheduler.schedule_relative(event.at, lambda *_: tell(event.what))

        def tell(what: str) -> None:
            if what == "|":
                observer.on_completed()
            elif what == "#":
                observer.on_error(FAILURE)
            else:
                observer.on_next(_item(what))

        return CompositeDisposable(*(at(event) for event in parsed(marble)))

    return Observable(subscribe)


def _item(what: str) -> Chunk:
    if what.startswith("↩"):
        return Retracted(characters=int(what[1:]))
    return Chunk(what.translate(_SPOKEN))


class _Playing(BaseBackend):
    """A backend whose answers are these sources, one after another."""

    name = "playing"
    capabilities = Capabilities(prefill=True)

    def __init__(self, sources: Iterable[Observable[Any]]) -> None:
        self._sources = iter(sources)

    def stream(self, request: Request) -> Observable[Chunk]:
        """The next source."""
        return next(self._sources)


def _released(release: Release, on_reject: OnReject = "fail") -> Callable[..., Observable[Chunk]]:
    """A call with a release policy."""
    no_x = check("no X", stream_validate=lambda word: "X" not in word, unit="word")

    def call(*sources: Observable[Any]) -> Observable[Chunk]:
        thunk = MelleaSession(_Playing(sources)).ainstruct(
            "Go.", requirements=[no_x], release=release, on_reject=on_reject, stream=True
        )
        made: Observable[Any] = rx.from_future(asyncio.ensure_future(thunk))
        return made.pipe(ops.flat_map(lambda each: each))

    return call


def _as_long_as_it_says(request: Request) -> list[Any]:
    """An answer that takes as many seconds as the prompt says, and says that."""
    said = request.messages[-1].content
    return [Pause(float(said)), said]


async def _slow(item: Any) -> str:
    """A function that takes as many seconds as its input says."""
    await asyncio.sleep(float(str(item)))
    return str(item)


def _slowly(seconds: float, items: AsyncIterable[Any]) -> Observable[Any]:
    """The items of a reader that takes so many seconds for each."""

    async def read() -> AsyncIterator[Any]:
        async for item in items:
            yield item
            await asyncio.sleep(seconds)

    return operators.from_async_iterable(read())


def _later(seconds: float, result: str) -> asyncio.Future[str]:
    """A future that is done after so many seconds."""
    return asyncio.ensure_future(asyncio.sleep(seconds, result))


def _attempts(*sources: Observable[Any]) -> Observable[Any]:
    """A cold call: each subscription gets the next of these."""
    following = iter(sources)
    return rx.defer(lambda _: next(following))


def _second_at(time: abc.SchedulerBase) -> Callable[[float, Any], Callable[[Any], Observable[Any]]]:
    """The items of a tee's second observable, subscribed to late."""

    def second_at(at: float, tee: Any) -> Callable[[Any], Observable[Any]]:
        def operator(source: Observable[Any]) -> Observable[Any]:
            first, second = tee(source)
            late = rx.timer(at, scheduler=time).pipe(ops.flat_map(lambda _: second))
            return rx.merge(first.pipe(ops.ignore_elements()), late)

        return operator

    return second_at


def _shown(item: Any) -> str:
    if isinstance(item, Started):
        return _shown(item.input)
    if isinstance(item, Part):
        return f"{item.key}={item.value}".replace(" ", "")
    if isinstance(item, Retracted):
        return f"↩{item.characters}"
    if isinstance(item, Chunk) and not item.text:
        return f"⟨{item.thinking.translate(_WRITTEN)}⟩"
    if isinstance(item, (tuple, list)):
        return "+".join(map(_shown, item))
    return str(item).translate(_WRITTEN)
