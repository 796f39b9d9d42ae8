"""`Probe`, an observer that records notifications, and `assert_marbles`, which compares them."""

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

from mellea_rx.core.runtime.delivery import running_loop
from mellea_rx.errors import InvalidInputError
from mellea_rx.testing.marbles import Marbles, Mark, draw, laid_out, marbles, marks_of

__all__ = ["Probe", "assert_marbles"]

T = TypeVar("T")

EXTRA_FRAMES = 10
"""The frames after the end of a diagram in which a late notification is still waited for."""


class Probe(Generic[T]):
    """An observer that records each notification with its time and its thread.

    Args:
        scheduler: The clock; by default that of the running event loop, else `time.monotonic`.

    Example:
        >>> import reactivex as rx
        >>> probe = Probe()
        >>> _ = probe.to(rx.of("a", "b"))
        >>> probe.items, probe.terminals, str(probe.marbles())
        (['a', 'b'], ['completed'], '(a,b|)')

    Attributes:
        told: The notifications, oldest first, each with the seconds since its creation or its
            last subscription.
        items: The items.
        terminals: "completed" or "error" for each terminal notification; a correct source sends
            one.
        error: The error of the source.
        threads: The names of the threads that called it.
        ended: Set by the first terminal notification.
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

    # The methods of an observer.

    def on_next(self, item: T) -> None:
        """Record an item."""
        self._record(notification.OnNext(item))
        self.items.append(item)

    def on_error(self, error: Exception) -> None:
        """Record the error."""
        self._record(notification.OnError(error))
        self.error = error
        self._finish("error")

    def on_completed(self) -> None:
        """Record the completion."""
        self._record(notification.OnCompleted())
        self._finish("completed")

    def _record(self, note: Notification[T]) -> None:
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
        """Subscribe the probe to a source, and restart its clock at 0.

        Args:
            source: Any Observable, such as a thunk.
            scheduler: Passed to the source; by default the scheduler of the probe.

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

    # The results.

    @property
    def text(self) -> str:
        """The text of all items."""
        return "".join(map(str, self.items))

    def marbles(self, *, frame: float = 1.0, values: Mapping[str, Any] | None = None) -> Marbles:
        """Draw the notifications as a marble diagram; see `draw`.

        Args:
            frame: The duration of a character in seconds.
            values: The names of items, each with its text or `Chunk`.

        Raises:
            InvalidInputError: A name is longer than the frames before the next item.
        """
        return draw(self.told, values, frame=frame)

    async def end(self, timeout: float | None = None) -> None:
        """Wait for the first terminal notification, without blocking the loop.

        Args:
            timeout: The seconds after which it returns in any case; None for no limit.
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
        """Compare the notifications with a diagram.

        Args:
            expected: The diagram. A diagram without "|" or "#" is compared up to its end.
            values: The text or `Chunk` of each name; a text stands for every item with that text.
            frame: The duration of a character in seconds.
            error: The type that the error of "#" must have.

        Raises:
            AssertionError: They differ; the message has both diagrams and marks the difference.
            InvalidInputError: `expected` is not a valid diagram.
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
    """Subscribe to a source, wait for its end, and compare its notifications with a diagram.

    A diagram without "|" or "#" is compared up to its end. The function waits on the running loop,
    so it is meant for virtual time. A thunk delivers the chunks of one moment as one item.

    Args:
        source: Any Observable, such as a thunk.
        expected: The diagram, starting at the subscription.
        values: The text or `Chunk` of each name; a text stands for every item with that text.
        frame: The duration of a character in seconds.
        error: The type that the error of "#" must have.

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
        AssertionError: They differ; the message has both diagrams and marks the difference.
        InvalidInputError: `expected` is not a valid diagram.
    """
    wanted = _marbles(expected, values, frame)
    probe: Probe[Any] = Probe()
    subscription = probe.to(source)
    try:
        await probe.end((wanted.length + EXTRA_FRAMES) * wanted.frame)
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
    """Describe how notifications differ from a diagram; None if they do not."""
    seen = marks_of(told, wanted.values, wanted.frame)
    ends = any(mark.name in ("|", "#") for mark in wanted.marks)
    compared = [mark for mark in seen.marks if ends or mark.frame < wanted.length]
    at = _first_difference(wanted.marks, compared)
    if at is None:
        return None
    lines = [
        f"the marbles differ at {at * wanted.frame:g} s: expected "
        f"{_names_at(at, wanted.marks)}, seen {_names_at(at, compared)}",
        f"  expected: {''.join(wanted.diagram.split())}",
        f"  seen:     {_drawn(compared, wanted.frame)}",
        f"            {' ' * at}^",
    ]
    named = {mark.name for mark in (*wanted.marks, *compared)}
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
    except InvalidInputError:  # a diagram has no room for them
        return ", ".join(f"{mark.name} at {mark.frame * frame:g} s" for mark in marks)
