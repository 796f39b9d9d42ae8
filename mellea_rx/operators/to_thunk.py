"""An Observable as a thunk."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from reactivex import Observable

from mellea_rx.core.cold import ColdCall
from mellea_rx.core.generation import Generation
from mellea_rx.core.home import home_for
from mellea_rx.core.source import forward_at
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.errors import InvalidInputError
from mellea_rx.operators.tagged import as_chunk

__all__ = ["to_thunk"]

T = TypeVar("T")


@overload
def to_thunk(source: ModelOutputThunk[T]) -> ModelOutputThunk[T]: ...
@overload
def to_thunk(source: ColdCall[T]) -> ModelOutputThunk[T]: ...
@overload
def to_thunk(source: Observable[Any]) -> ModelOutputThunk[Any]: ...
def to_thunk(source: Observable[Any]) -> ModelOutputThunk[Any]:
    """Subscribe to a stream of text now, and have it as a thunk: one value, one reader, replay.

        source:             -a--b-c-|
        to_thunk(source):   -a--b-c-|

    So the result of operators on a call can be used like a call: awaited, read with `astream()`,
    cancelled, and put into a prompt.

    Example:
        >>> import reactivex as rx
        >>> to_thunk(rx.of("Once ", "upon")).wait().value
        'Once upon'

    Args:
        source: A stream of chunks, texts or items of combinators. A cold call is started, a thunk
            returned unchanged.

    Returns:
        The thunk. Cancelling or dropping it ends the subscription.

    Raises:
        InvalidInputError: It is no Observable.
    """
    if isinstance(source, ModelOutputThunk):
        return source
    if isinstance(source, ColdCall):
        return source.start()
    if not isinstance(source, Observable):
        raise InvalidInputError(f"to_thunk takes an Observable, not a {type(source).__name__}")
    home = home_for(None)

    async def run(generation: Generation) -> None:
        await forward_at(home, source, lambda item: generation.push(as_chunk(item)))

    needs = () if home.loop is None else (home.loop,)
    return ModelOutputThunk(run, live=True, needs=needs)
