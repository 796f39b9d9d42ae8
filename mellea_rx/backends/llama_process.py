"""Threads that run llama.cpp in this process, and its safe end at exit and after a fork.

`LoadedModel` uses it. Three situations would end or block the process:

- A thread is inside llama.cpp when the interpreter exits: the process aborts.
- A server of llama.cpp still exists when C++ destroys its global objects: the process hangs.
- A process forks while a server exists. The child lacks its threads: it hangs at exit, and aborts
  when a server is destroyed there.
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
    """An owner of a server of llama.cpp."""

    def release(self) -> Any:
        """Give up the server and return it (None if there is none), and never load another."""


_guard = threading.Lock()
"""Held while a thread is registered and started, and while exit begins. So each thread is either in
`_threads` when exit reads it, or is refused; none is started that nobody would join."""
_threads: dict[threading.Thread, Callable[[], None]] = {}
_holders: WeakSet[Holder] = WeakSet()
_exiting = False
_immortal = False
"""True in a child that was forked while a server existed: no server can be destroyed here."""


def hold(holder: Holder) -> None:
    """Register an owner, by a weak reference, before it loads a server. Exit and a fork take the
    server from it."""
    _holders.add(holder)


def sheltered(server: _T) -> _T:
    """Return a new server; in a child where it can never be destroyed, keep it for ever."""
    if _immortal:
        _keep_for_ever(server)
    return server


def run_in_thread(work: Callable[[], None], stop: Callable[[], None], name: str) -> None:
    """Run `work` in a daemon thread that the interpreter's exit waits for.

    Args:
        work: May block in llama.cpp.
        stop: Makes `work` end soon; called at exit, in another thread.
        name: The thread's name.

    Raises:
        EngineStoppedError: The interpreter exits.
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
def _stop_at_exit() -> None:
    """At exit: stop all threads, join them, then unload the models; a server must not be destroyed
    while a thread is inside it."""
    global _exiting
    with _guard:
        _exiting = True
        running = dict(_threads)
    # Without the lock: a thread that ends meanwhile removes itself from `_threads`.
    for stop in running.values():
        stop()
    # Without a time limit: a thread that stays inside llama.cpp aborts the process. Each ends at
    # its next token, or block of the prompt.
    for thread in running:
        thread.join()
    for holder in list(_holders):
        holder.release()


def _reset_in_child() -> None:
    global _guard, _immortal
    # Another thread of the parent may have held the lock; it does not exist here to release it.
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
    """Add a reference that is never released, not even at the interpreter's exit."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(server))


def _skip_cpp_teardown() -> None:
    """Let this forked child end without C++ destructors, which wait for threads that it lacks.

    It runs within C's `exit`, after Python has finalised, and before all handlers that were
    registered earlier.
    """
    libc = ctypes.CDLL(None)
    try:
        on_exit, atexit_in_c = libc.on_exit, libc.__cxa_atexit
    except AttributeError:
        return  # not glibc: there is no such function, and the child may hang at its exit
    on_exit(libc._exit, None)
    atexit_in_c(libc.fflush, None, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)
