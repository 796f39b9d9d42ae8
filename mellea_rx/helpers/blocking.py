"""Sync verbs out of async ones: one code path, signature and types kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from mellea_rx.core.thunk import ModelOutputThunk

__all__ = ["blocking", "settle"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=ModelOutputThunk[Any])

_mode = threading.local()


async def settle(thunk: T) -> T:
    """Wait for a thunk in a verb: awaits it, or blocks where `blocking` made the verb sync.

    Raises:
        MelleaRxError: The generation failed.
    """
    if getattr(_mode, "blocking", False):
        _wait(thunk)
    else:
        await thunk.avalue()
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
        coroutine = averb(*args, **kwargs)
        _mode.blocking = True
        try:
            coroutine.send(None)
        except StopIteration as returned:
            result: R = returned.value
        else:
            coroutine.close()
            raise RuntimeError(f"{averb.__name__} awaits something that is no thunk")
        finally:
            _mode.blocking = False
        if isinstance(result, ModelOutputThunk):
            _wait(result)
        return result

    verb.__name__ = averb.__name__.removeprefix("a")
    verb.__qualname__ = averb.__qualname__.replace(averb.__name__, verb.__name__)
    return verb


def _wait(thunk: ModelOutputThunk[Any]) -> None:
    try:
        thunk.wait()
    except (KeyboardInterrupt, SystemExit):
        thunk.cancel()
        raise
