"""A function that takes its time, over a stream of inputs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, overload

from reactivex import Observable

from mellea_rx.core.arguments import require_positive_int
from mellea_rx.errors import InvalidInputError
from mellea_rx.operators.concurrent_map import ConcurrentMap, Row
from mellea_rx.operators.from_async_iterable import Inputs, inputs_of

__all__ = ["map_async"]

A = TypeVar("A")
R = TypeVar("R")


@overload
def map_async(
    fn: Callable[[A], Coroutine[Any, Any, R]], *, max_concurrent: int, ordered: bool = True
) -> Callable[[Inputs[A]], Observable[R]]: ...
@overload
def map_async(
    fn: Callable[[A], R], *, max_concurrent: int, ordered: bool = True
) -> Callable[[Inputs[A]], Observable[R]]: ...
def map_async(
    fn: Callable[[A], Any], *, max_concurrent: int, ordered: bool = True
) -> Callable[[Inputs[A]], Observable[Any]]:
    """What a function returns for each input, so many calls at once.

        source:                                             (4,2,9|)
        map_async(slow, max_concurrent=2):                  ----(4,2)----(9|)
        map_async(slow, max_concurrent=2, ordered=False):   --2-4------(9|)

    (`slow` takes as many seconds as its input says.)

    An async function runs on the subscriber's event loop (without one, on a loop of its own), a
    sync one in a worker thread. The next input is pulled when a call is done and its result taken:
    a list, a generator, an async generator is never read ahead. An Observable pushes; what it emits
    meanwhile waits.

    Example:
        >>> from mellea_rx.operators import to_iterator
        >>> async def double(n: int) -> int:
        ...     return 2 * n
        >>> list(to_iterator(map_async(double, max_concurrent=2)([1, 2, 3])))
        [2, 4, 6]

    Args:
        fn: Takes an input. (A thunk or another Observable that it returns is a result; it is not
            awaited.)
        max_concurrent: How many calls run at once.
        ordered: Results in the order of the inputs; else as they come.

    Returns:
        An operator on any stream of inputs: iterable, async iterable or Observable. It fails with
        what `fn` or the inputs raise; the calls that run then are cancelled, as when it is left.

    Raises:
        InvalidInputError: An argument that cannot be used, by name.
    """
    if not callable(fn):
        raise InvalidInputError(f"map_async takes a function, not a {type(fn).__name__}")
    limit = require_positive_int("max_concurrent", max_concurrent)

    operation = _Call(fn)

    def mapped(inputs: Inputs[A]) -> Observable[Any]:
        return ConcurrentMap(
            inputs_of("map_async", inputs),
            lambda: operation,
            max_concurrent=limit,
            ordered=ordered,
        )

    return mapped


class _Call:
    """Calls a function with each input; what it returns is the result."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def pause(self) -> float:
        return 0.0

    def count_start(self) -> None:
        """Nothing is counted."""

    def start(self, row: Row) -> None:
        row.call(self._function, row.complete)

    def count_end(self, row: Row) -> None:
        """Nothing is counted."""
