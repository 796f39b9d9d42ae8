"""A record of a program's run: its readings, its subscribers, and their faults."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from reactivex import abc

__all__ = ["Notebook", "Reading", "Watcher"]


@dataclass
class Reading:
    """One reader of one call.

    Attributes:
        call: The call's number.
        how: The kind of reader.
        pieces: What it took, in order.
        end: "ok", "left", "cancelled", or the name of its error's class; "" while it reads.
        text: The text of its error.
        raised: The class of its error.
    """

    call: int
    how: str
    pieces: list[str] = field(default_factory=list)
    end: str = ""
    text: str = ""
    raised: type[BaseException] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it takes the whole text at once, as a value."""
        return self.how in {"avalue", "await", "wait_for_all", "wait", "wait a moment", "str"}

    def fails(self, error: BaseException) -> None:
        """It ended with an error; the error itself is not kept, for the frames that it holds."""
        self.raised = type(error)
        self.end = type(error).__name__
        self.text = getattr(error, "text", "")


class Watcher:
    """A subscriber that writes down what it gets, and does what its kind says.

    Args:
        kind: One of `WATCHERS`.
        after: With which item it does so.
        act: What a kind that acts does.
    """

    def __init__(self, kind: str, after: int | None, act: Callable[[], object]) -> None:
        self.kind = kind
        self.items: list[Any] = []
        self.terminals: list[str] = []
        self.error: type[Exception] | None = None
        self.faults: list[str] = []
        self.gone = False
        self.subscription: abc.DisposableBase | None = None
        self._after = after or 1
        self._act: Callable[[], object] | None = act
        self._inside = threading.Lock()
        self._acted = False

    @property
    def text(self) -> str:
        """All text that came."""
        return "".join(map(str, self.items))

    @property
    def is_done(self) -> bool:
        """Whether nothing more is to come."""
        return bool(self.terminals) or self.gone

    def let_go(self) -> None:
        """Hold nothing of the program any more."""
        self._act = self.subscription = None

    def on_next(self, item: Any) -> None:
        """An item."""
        with self._Alone(self, "an item"):
            self.items.append(item)
            if self.kind == "slow":
                time.sleep(0.003)
            if len(self.items) == self._after and not self._acted:
                self._acted = True
                self._do()

    def _do(self) -> None:
        act, self._act = self._act, None
        match self.kind:
            case "raises":
                self.gone = True
                raise ZeroDivisionError("a subscriber that raises")
            case "exits":
                self.gone = True
                raise SystemExit("a subscriber that exits")
            case "is cancelled":
                self.gone = True
                raise asyncio.CancelledError("a subscriber that is cancelled")
            case "disposes":
                if self.subscription is not None:
                    self.subscription.dispose()
                    self.gone = True
            case "subscribes" | "cancels" | "calls" if act is not None:
                act()

    def on_error(self, error: Exception) -> None:
        """The failure."""
        with self._Alone(self, "an error"):
            self.error = type(error)
            self._end("error")

    def on_completed(self) -> None:
        """The end."""
        with self._Alone(self, "an end"):
            self._end("completed")

    def _end(self, terminal: str) -> None:
        self.terminals.append(terminal)
        if self.kind == "raises at the end":
            raise ZeroDivisionError("a subscriber that raises in its terminal")

    class _Alone:
        """Sees that calls of one subscriber never overlap."""

        def __init__(self, watcher: Watcher, told: str) -> None:
            self._watcher, self._told = watcher, told

        def __enter__(self) -> None:
            watcher = self._watcher
            if watcher.terminals:
                watcher.faults.append(f"{self._told} after the terminal")
            if watcher.gone and watcher.kind in ("disposes", "raises"):
                watcher.faults.append(f"{self._told} after its subscription had ended")
            self._free = watcher._inside.acquire(blocking=False)
            if not self._free:
                watcher.faults.append(f"{self._told} within another")

        def __exit__(self, *_: object) -> None:
            if self._free:
                self._watcher._inside.release()


class Notebook:
    """All that the actors of one program write down; any thread may write."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self.watchers: list[tuple[int, Watcher]] = []
        self.problems: list[str] = []

    def reading(self, call: int, how: str) -> Reading:
        """A new reading."""
        self.readings.append(Reading(call, how))
        return self.readings[-1]

    def wrong(self, told: str) -> None:
        """Something is wrong."""
        self.problems.append(told)
