"""Derives sync verbs, and verbs that do not wait, from the async ones. Verbs and tools use it.

An async verb awaits nothing but `wait_for_thunk`, so that it can be driven here without an event
loop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from mellea_rx.core.streams.thunk import ComputedThunk, ModelOutputThunk

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_mode = threading.local()
"""`_mode.wait`: the function by which verbs in this thread wait for a thunk; None to await it."""


async def wait_for_thunk(thunk: ModelOutputThunk[T]) -> ComputedThunk[T]:
    """Wait for a thunk in an async verb, or as `blocking` and `without_waiting` replace the wait.

    Returns:
        The same thunk. (In `without_waiting` it still runs; the caller there knows that.)

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
    """The sync version of an async verb that returns a thunk, which it waits for; see `blocking`.

    Raises:
        BlockingWaitError: (when called) The call needs this thread's event loop to run.
    """

    def verb(*args: P.args, **kwargs: P.kwargs) -> ComputedThunk[T]:
        try:
            coroutine = averb(*args, **kwargs)
        except TypeError as error:
            raise _wrong_arguments(error, averb) from None
        return _wait(_drive(coroutine, _wait))

    return _named_after(averb, verb)


def blocking(averb: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """The sync version of an async verb.

    The coroutine is driven in the calling thread, with or without a running loop: a verb awaits
    only `wait_for_thunk`, so it never suspends.

    Raises:
        BlockingWaitError: (when called) The call needs this thread's event loop to run.
    """

    def verb(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            coroutine = averb(*args, **kwargs)
        except TypeError as error:
            raise _wrong_arguments(error, averb) from None
        return _drive(coroutine, _wait)

    return _named_after(averb, verb)


def _named_after(averb: Callable[..., Any], verb: Callable[P, R]) -> Callable[P, R]:
    twin = wraps(averb)(verb)
    twin.__name__, twin.__qualname__ = _sync_names(averb)
    return twin


def _sync_names(averb: Callable[..., Any]) -> tuple[str, str]:
    """The name and the qualified name of an async verb's sync twin."""
    name = averb.__name__.removeprefix("a")
    return name, averb.__qualname__.replace(averb.__name__, name)


def _wrong_arguments(error: TypeError, averb: Callable[..., Any]) -> TypeError:
    """Python's error of arguments that an async verb does not take, with its twin's name."""
    return TypeError(str(error).replace(averb.__qualname__, _sync_names(averb)[1]))


def without_waiting(averb: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """An async verb as a function that returns the running thunk at once and never waits.

    The coroutine is driven in the calling thread, as in `blocking`.
    """

    @wraps(averb)
    def start(*args: P.args, **kwargs: P.kwargs) -> R:
        return _drive(averb(*args, **kwargs), _go_on)

    return start


def _drive(coroutine: Coroutine[Any, Any, R], wait: Callable[[ModelOutputThunk[Any]], object]) -> R:
    # The mode belongs to this thread, and the coroutine runs in one go: no other code of the thread
    # can see it. It is reset in any case, else later async verbs in this thread would block.
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
        # After Ctrl-C, or a refused wait, no caller gets the thunk, so its call must end here.
        thunk.cancel()
        raise


def _go_on(thunk: ModelOutputThunk[Any]) -> None:
    pass
