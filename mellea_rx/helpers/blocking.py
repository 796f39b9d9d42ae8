"""Sync verbs out of async ones, and verbs that wait for nothing: one code path, types kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from mellea_rx.core.thunk import ModelOutputThunk

__all__ = ["blocking", "settle", "starting"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=ModelOutputThunk[Any])

_mode = threading.local()
"""`_mode.wait`: how verbs wait for a thunk in this thread now; None where they await it."""


async def settle(thunk: T) -> T:
    """Wait for a thunk in a verb: awaits it, or does what `blocking` or `starting` make of that.

    Raises:
        MelleaRxError: The generation failed.
    """
    wait: Callable[[ModelOutputThunk[Any]], None] | None = getattr(_mode, "wait", None)
    if wait is None:
        await thunk.avalue()
    else:
        wait(thunk)
    return thunk


def blocking(averb: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """The sync twin of an async verb: runs it here, and waits for its thunk.

    The coroutine is driven in the calling thread, with or without a running loop: all that a verb
    awaits goes through `settle`, so it never suspends.

    Raises:
        BlockingWaitError: (on calling) This thread's loop has to run for the call to go on.
    """

    @wraps(averb)
    def verb(*args: P.args, **kwargs: P.kwargs) -> R:
        result = _drive(averb(*args, **kwargs), _wait)
        if isinstance(result, ModelOutputThunk):
            _wait(result)
        return result

    verb.__name__ = averb.__name__.removeprefix("a")
    verb.__qualname__ = averb.__qualname__.replace(averb.__name__, verb.__name__)
    return verb


def starting(averb: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """An async verb that returns its running thunk at once, also where the verb itself would wait.

    It is driven in the calling thread, as `blocking` does it.
    """

    @wraps(averb)
    def start(*args: P.args, **kwargs: P.kwargs) -> T:
        return _drive(averb(*args, **kwargs), _go_on)

    return start


def _drive(coroutine: Coroutine[Any, Any, R], wait: Callable[[ModelOutputThunk[Any]], None]) -> R:
    _mode.wait = wait
    try:
        coroutine.send(None)
    except StopIteration as returned:
        result: R = returned.value
        return result
    finally:
        _mode.wait = None
    name = getattr(coroutine, "__name__", "a verb")
    coroutine.close()
    raise RuntimeError(f"{name} awaits something that is no thunk")


def _wait(thunk: ModelOutputThunk[Any]) -> None:
    try:
        thunk.wait()
    except (KeyboardInterrupt, SystemExit):
        thunk.cancel()
        raise


def _go_on(thunk: ModelOutputThunk[Any]) -> None:
    pass
