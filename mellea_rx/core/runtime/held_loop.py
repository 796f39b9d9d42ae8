"""Measures blocking waits that hold up a running event loop, and logs each place once."""

from __future__ import annotations

import sys
import time
from types import FrameType, TracebackType

from mellea_rx.core.runtime.delivery import running_loop
from mellea_rx.core.runtime.logs import LoopHeld, log

PATIENCE = 0.1
"""Seconds that a wait may hold up a loop before it is logged."""

_PACKAGE = __name__.partition(".")[0]
_MOST_PLACES = 1000
_CELLS = ("<ipython-input", "ipykernel_")
"""Parts of the file names of notebook cells: blocking is meant there, and each is a new file."""

_told: set[str] = set()


class HeldLoop:
    """A context manager for a blocking wait: logs it where it held up the running loop too long."""

    __slots__ = ("_began",)

    def __enter__(self) -> None:
        self._began = None if running_loop() is None else time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._began is None:
            return
        seconds = time.monotonic() - self._began
        if seconds > PATIENCE:
            _tell(seconds)


def _tell(seconds: float) -> None:
    place = _place_of(sys._getframe(2))
    if place is None or place in _told or len(_told) >= _MOST_PLACES:
        return
    _told.add(place)
    log(LoopHeld(place, seconds))


def _place_of(frame: FrameType | None) -> str | None:
    """The file and line outside this package that the wait is made in; None for a notebook."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if module != _PACKAGE:
            file = frame.f_code.co_filename
            return None if any(part in file for part in _CELLS) else f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return None
