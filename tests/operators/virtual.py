"""Sources and observers in virtual time."""

from __future__ import annotations

from typing import Any

from reactivex import Observable
from reactivex.testing import ReactiveTest, TestScheduler

END = object()
"""In a timetable: the source completes at this time."""


def cold(time: TestScheduler, **timetable: Any) -> Observable[Any]:
    """A source that emits items at given times: `cold(time, t1="a", t2_5=error, t3=END)`."""
    messages = []
    for name, what in timetable.items():
        at = float(name[1:].replace("_", "."))
        if what is END:
            messages.append(ReactiveTest.on_completed(at))
        elif isinstance(what, Exception):
            messages.append(ReactiveTest.on_error(at, what))
        else:
            messages.append(ReactiveTest.on_next(at, what))
    return time.create_cold_observable(messages)


class Log:
    """An observer that records its calls and their times."""

    def __init__(self, time: TestScheduler | None = None) -> None:
        self._time = time
        self.items: list[Any] = []
        self.times: list[float] = []
        self.terminals: list[str] = []
        self.error: Exception | None = None

    def _note_time(self) -> None:
        if self._time is not None:
            self.times.append(round(self._time.to_seconds(self._time.now), 6))

    def on_next(self, item: Any) -> None:
        """Record an item."""
        assert not self.terminals, "an item after the terminal"
        self._note_time()
        self.items.append(item)

    def on_error(self, error: Exception) -> None:
        """Record the error."""
        self._note_time()
        self.error = error
        self.terminals.append("error")

    def on_completed(self) -> None:
        """Record the completion."""
        self._note_time()
        self.terminals.append("completed")

    @property
    def text(self) -> str:
        """The text of all items, joined."""
        return "".join(map(str, self.items))

    def to(self, source: Observable[Any], **how: Any) -> Any:
        """Subscribe this to `source`; return the subscription."""
        return source.subscribe(self.on_next, self.on_error, self.on_completed, **how)


def seen(time: TestScheduler, source: Observable[Any], until: float = 1000.0) -> Log:
    """Return the log of an observer of a source, up to a time."""
    log = Log(time)
    log.to(source, scheduler=time)
    time.advance_to(until)
    return log


def same_error(seen: Exception | None, kept: Exception | None) -> bool:
    """Return whether one is a copy of the other, as an error raised from a thunk's error is."""
    return (type(seen), str(seen), vars(seen)) == (type(kept), str(kept), vars(kept))
