"""llama.cpp in this process: its threads, and how it survives exit and fork.

Three traps, each of which ends the process: a thread that is inside llama.cpp when the interpreter
goes (abort), a server that nobody stopped before C++ tears its globals down (hang), and a forked
child in which the threads of the parent's server do not run (hang at exit; abort when any server is
destroyed there).
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

from mellea_rx.errors import EngineStoppedError

__all__ = ["Holder", "hold", "run_in_thread", "sheltered"]

_T = TypeVar("_T")


class Holder(Protocol):
    """Something that holds a server of llama.cpp."""

    def release(self) -> Any:
        """Give the server away, None where there is none, and never load another."""


_guard = threading.Lock()
_threads: dict[threading.Thread, Callable[[], None]] = {}
_holders: WeakSet[Holder] = WeakSet()
_exiting = False
_immortal = False
"""In a child that forked while a server lived: none can be destroyed here."""


def hold(holder: Holder) -> None:
    """Remember (weakly) who is going to hold a server, until exit or a fork takes it away."""
    _holders.add(holder)


def sheltered(server: _T) -> _T:
    """A server that was made just now; one that must never be destroyed is kept for ever."""
    if _immortal:
        _keep_for_ever(server)
    return server


def run_in_thread(work: Callable[[], None], stop: Callable[[], None], name: str) -> None:
    """Run `work` in a daemon thread that the interpreter's exit waits for.

    Args:
        work: May be inside llama.cpp as long as it likes.
        stop: Makes `work` end soon; called at exit, in another thread.
        name: The thread's name.

    Raises:
        EngineStoppedError: The interpreter is going down.
    """

    def run() -> None:
        try:
            work()
        finally:
            _threads.pop(thread, None)

    thread = threading.Thread(target=run, name=name, daemon=True)
    with _guard:
        if _exiting:
            raise EngineStoppedError("the embedded model has stopped: the interpreter goes down")
        _threads[thread] = stop
        thread.start()


@atexit.register
def _leave() -> None:
    """Stop all, then join, then unload: before the interpreter, and before C++ does."""
    global _exiting
    with _guard:
        _exiting = True
        running = dict(_threads)
    for stop in running.values():
        stop()
    # Without a limit: to leave a thread in there aborts the process, and each ends at its next
    # token or block of the prompt.
    for thread in running:
        thread.join()
    for holder in list(_holders):
        holder.release()


def _start_afresh_in_child() -> None:
    global _guard, _immortal
    _guard = threading.Lock()
    _threads.clear()
    holders = list(_holders)
    _holders.clear()
    for holder in holders:
        _keep_for_ever(holder.release())
    if holders and not _immortal:
        _immortal = True
        _skip_cpp_teardown()


def _keep_for_ever(server: object) -> None:
    """One reference more than anybody will ever give back, also not the interpreter's end."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(server))


def _skip_cpp_teardown() -> None:
    """End this forked child without C++'s destructors: they wait for threads it does not have.

    Python has ended properly by then: this runs in C's `exit`, before what was registered earlier.
    """
    libc = ctypes.CDLL(None)
    try:
        on_exit, atexit_in_c = libc.on_exit, libc.__cxa_atexit
    except AttributeError:
        return  # not glibc; elsewhere a child that forked is left to its own devices
    on_exit(libc._exit, None)
    atexit_in_c(libc.fflush, None, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh_in_child)
