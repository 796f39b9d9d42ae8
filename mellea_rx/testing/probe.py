"""An observer that writes down all that it gets, and compares it with a marble diagram."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from itertools import zip_longest
from typing import Any, Generic, TypeVar

from reactivex import Observable, abc, notification
from reactivex.notification import Notification

from mellea_rx.core.outlet import running_loop
from mellea_rx.errors import InvalidInputError
from mellea_rx.testing.marbles import Marbles, Mark, draw, laid_out, marbles, marks_of

__all__ = ["Probe", "assert_marbles"]

T = TypeVar("T")

SPARE = 10
"""Frames after a diagram's end in which a source that is late is still looked at."""


class Probe(Generic[T]):
    """An observer that writes down what it gets, when, and on which thread.

    Args:
        scheduler: Whose time it notes; by default the running event loop's, else the machine's.

    Example:
        >>> import reactivex as rx
        >>> probe = Probe()
        >>> _ = probe.to(rx.of("a", "b"))
        >>> probe.items, probe.terminals, str(probe.marbles())
        (['a', 'b'], ['completed'], '(a,b|)')

    Attributes:
        told: Seconds since it was made or last subscribed, and the notification; oldest first.
        items: The items.
        terminals: "completed" or "error", as often as it was told so (a good source: once).
        error: What the source failed with.
        threads: The names of the threads that called it.
        ended: Set by the first terminal.
    """

    def __init__(self, scheduler: abc.SchedulerBase | None = None) -> None:
        self.told: list[tuple[float, Notification[T]]] = []
        self.items: list[T] = []
        self.terminals: list[str] = []
        self.error: Exception | None = None
        self.threads: set[str] = set()
        self.ended = threading.Event()
        self._end: Future[None] = Future()
        self._scheduler = scheduler
        self._clock = _clock(scheduler)
        self._began = self._clock()

    # The observer.

    def on_next(self, item: T) -> None:
        """Write down an item."""
        self._note(notification.OnNext(item))
        self.items.append(item)

    def on_error(self, error: Exception) -> None:
        """Write down the failure."""
        self._note(notification.OnError(error))
        self.error = error
        self._finish("error")

    def on_completed(self) -> None:
        """Write down the end."""
        self._note(notification.OnCompleted())
        self._finish("completed")

    def _note(self, note: Notification[T]) -> None:
        self.threads.add(threading.current_thread().name)
        self.told.append((self._clock() - self._began, note))

    def _finish(self, terminal: str) -> None:
        self.terminals.append(terminal)
        if not self._end.done():
            self._end.set_result(None)
        self.ended.set()

    def to(
        self, source: Observable[T], *, scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        """Subscribe this to a source; its time begins now.

        Args:
            source: Any Observable; a thunk, too.
            scheduler: Handed on to the source; by default the probe's own.

        Returns:
            The subscription.
        """
        self._clock = _clock(self._scheduler)
        self._began = self._clock()
        return source.subscribe(
            self.on_next,
            self.on_error,
            self.on_completed,
            scheduler=scheduler or self._scheduler,
        )

    # What it saw.

    @property
    def text(self) -> str:
        """All text that came."""
        return "".join(map(str, self.items))

    def marbles(self, *, frame: float = 1.0, values: Mapping[str, Any] | None = None) -> Marbles:
        """What it saw as a marble diagram; see `draw`.

        Args:
            frame: Seconds that a character lasts.
            values: Names for items.

        Raises:
            InvalidInputError: There is no room for it in a diagram.
        """
        return draw(self.told, values, frame=frame)

    async def end(self, timeout: float | None = None) -> None:
        """Wait for the first terminal, without blocking.

        Args:
            timeout: Seconds after which it returns anyway; None for as long as it takes.
        """
        await asyncio.wait({asyncio.wrap_future(self._end)}, timeout=timeout)

    def assert_marbles(
        self,
        expected: str | Marbles,
        values: Mapping[str, Any] | None = None,
        *,
        frame: float = 1.0,
        error: type[Exception] = Exception,
    ) -> None:
        """Compare what it saw with a diagram.

        Args:
            expected: The diagram. Where it ends, the comparison ends.
            values: What its names stand for: a text stands for every item that reads so.
            frame: Seconds that a character lasts.
            error: Of which type the error of "#" has to be.

        Raises:
            AssertionError: They differ; the message has both diagrams, and where they part.
            InvalidInputError: `expected` is no diagram.
        """
        wanted = _marbles(expected, values, frame)
        difference = _difference(wanted, self.told)
        if difference is not None:
            raise AssertionError(difference)
        if self.error is not None and not isinstance(self.error, error):
            raise AssertionError(
                f"it failed with {type(self.error).__name__}, not {error.__name__}: {self.error}"
            )


async def assert_marbles(
    source: Observable[Any],
    expected: str | Marbles,
    values: Mapping[str, Any] | None = None,
    *,
    frame: float = 1.0,
    error: type[Exception] = Exception,
) -> None:
    """Subscribe to a source, wait for its end, and compare what came with a diagram.

    A diagram without "|" or "#" is compared as far as it goes. Waits on the running loop: meant
    for virtual time. A thunk gives what came in one moment as one item.

    Args:
        source: Any Observable; a thunk, too.
        expected: The diagram, from the subscription on.
        values: What its names stand for: a text stands for every item that reads so.
        frame: Seconds that a character lasts.
        error: Of which type the error of "#" has to be.

    Example:
        >>> from mellea_rx.testing import marbles, run_virtual
        >>> async def main() -> None:
        ...     await assert_marbles(marbles("-a-b-|").cold(), "-a-b|")
        >>> run_virtual(main())
        Traceback (most recent call last):
        AssertionError: the marbles differ at 4 s: expected |, seen nothing
          expected: -a-b|
          seen:     -a-b-|
                        ^

    Raises:
        AssertionError: They differ; the message has both diagrams, and where they part.
        InvalidInputError: `expected` is no diagram.
    """
    wanted = _marbles(expected, values, frame)
    probe: Probe[Any] = Probe()
    subscription = probe.to(source)
    try:
        await probe.end((wanted.length + SPARE) * wanted.frame)
    finally:
        subscription.dispose()
    probe.assert_marbles(wanted, error=error)


def _marbles(expected: str | Marbles, values: Mapping[str, Any] | None, frame: float) -> Marbles:
    return expected if isinstance(expected, Marbles) else marbles(expected, values, frame=frame)


def _clock(scheduler: abc.SchedulerBase | None) -> Callable[[], float]:
    if scheduler is not None:
        return lambda: scheduler.to_seconds(scheduler.now)
    loop = running_loop()
    return time.monotonic if loop is None else loop.time


def _difference(wanted: Marbles, told: Iterable[tuple[float, Notification[Any]]]) -> str | None:
    """How what was told differs from a diagram; None where it does not."""
    seen = marks_of(told, wanted.values, wanted.frame)
    ends = any(mark.name in ("|", "#") for mark in wanted.marks)
    taken = [mark for mark in seen.marks if ends or mark.frame < wanted.length]
    at = _first_difference(wanted.marks, taken)
    if at is None:
        return None
    lines = [
        f"the marbles differ at {at * wanted.frame:g} s: expected "
        f"{_names_at(at, wanted.marks)}, seen {_names_at(at, taken)}",
        f"  expected: {''.join(wanted.diagram.split())}",
        f"  seen:     {_drawn(taken, wanted.frame)}",
        f"            {' ' * at}^",
    ]
    named = {mark.name for mark in (*wanted.marks, *taken)}
    lines += [f"  {name} is {value!r}" for name, value in seen.values.items() if name in named]
    if seen.error is not None:
        lines.append(f"  the error is {type(seen.error).__name__}: {seen.error}")
    if wanted.frame != 1:
        lines.append(f"  a character is {wanted.frame:g} s")
    return "\n".join(lines)


def _first_difference(wanted: Sequence[Mark], seen: Sequence[Mark]) -> int | None:
    for one, other in zip_longest(wanted, seen):
        if one != other:
            return min(mark.frame for mark in (one, other) if mark is not None)
    return None


def _names_at(frame: int, marks: Iterable[Mark]) -> str:
    return ", ".join(mark.name for mark in marks if mark.frame == frame) or "nothing"


def _drawn(marks: Sequence[Mark], frame: float) -> str:
    try:
        return laid_out(marks, frame)
    except InvalidInputError:  # more than a diagram has room for
        return ", ".join(f"{mark.name} at {mark.frame * frame:g} s" for mark in marks)
