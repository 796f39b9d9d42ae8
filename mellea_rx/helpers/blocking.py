"""Sync verbs out of async ones, and verbs that wait for nothing: one code path, types kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from mellea_rx.core.thunk import ComputedThunk, ModelOutputThunk

__all__ = ["blocking", "blocking_thunk", "settle", "starting"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_mode = threading.local()
"""`_mode.wait`: how verbs wait for a thunk in this thread now; None where they await it."""


async def settle(thunk: ModelOutputThunk[T]) -> ComputedThunk[T]:
    """Wait for a thunk in a verb: awaits it, or does what `blocking` or `starting` make of that.

    Returns:
        The same thunk. (In `starting` it still runs, and no caller takes it for anything else.)

    Raises:
        MelleaRxError: The generation failed.
    """
    wait: Callable[[ModelOutputThunk[Any]], object] | None = getattr(_mode, "wait", None)
    if wait is None:
        await thunk.avalue()
    else:
        wait(thunk)
    return cast("ComputedThunk[T]", thunk)


def blocking_thunk(
    averb: Callable[P, Coroutine[Any, Any, ModelOutputThunk[T]]],
) -> Callable[P, ComputedThunk[T]]:
    """The sync twin of an async verb that returns a thunk: as `blocking`, and waits for the thunk.

    Raises:
        BlockingWaitError: (on calling) This thread's loop has to run for the call to go on.
    """

    def verb(*args: P.args, **kwargs: P.kwargs) -> ComputedThunk[T]:
        return _wait(_drive(averb(*args, **kwargs), _wait))

    return _named_after(averb, verb)


def blocking(averb: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """The sync twin of an async verb: runs it here.

    The coroutine is driven in the calling thread, with or without a running loop: all that a verb
    awaits goes through `settle`, so it never suspends.

    Raises:
        BlockingWaitError: (on calling) This thread's loop has to run for the call to go on.
    """

    def verb(*args: P.args, **kwargs: P.kwargs) -> R:
        return _drive(averb(*args, **kwargs), _wait)

    return _named_after(averb, verb)


def _named_after(averb: Callable[..., Any], verb: Callable[P, R]) -> Callable[P, R]:
    twin = wraps(averb)(verb)
    twin.__name__ = averb.__name__.removeprefix("a")
    twin.__qualname__ = averb.__qualname__.replace(averb.__name__, twin.__name__)
    return twin


def starting(averb: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """An async verb that returns its running thunk at once, also where the verb itself would wait.

    It is driven in the calling thread, as `blocking` does it.
    """

    @wraps(averb)
    def start(*args: P.args, **kwargs: P.kwargs) -> R:
        return _drive(averb(*args, **kwargs), _go_on)

    return start


def _drive(coroutine: Coroutine[Any, Any, R], wait: Callable[[ModelOutputThunk[Any]], object]) -> R:
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


def _wait(thunk: ModelOutputThunk[T]) -> ComputedThunk[T]:
    try:
        return thunk.wait()
    except BaseException:
        # Ctrl-C, or a wait that is refused: nobody gets the thunk. A call that failed has ended.
        thunk.cancel()
        raise


def _go_on(thunk: ModelOutputThunk[Any]) -> None:
    pass
