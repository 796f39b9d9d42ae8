"""The operator `map_async`: a function over a stream of inputs, with a limit on concurrency."""

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
    """Call a function with each input, with a limit on concurrent calls, and emit its results.

        source:                                             (4,2,9|)
        map_async(slow, max_concurrent=2):                  ----(4,2)----(9|)
        map_async(slow, max_concurrent=2, ordered=False):   --2-4------(9|)

    (`slow` takes as many seconds as its input says.)

    An async function runs on the subscriber's event loop (without one, on a loop of its own), a
    sync one in a worker thread. The next input is pulled when a call has ended and the subscriber
    has taken its result, so an iterable or async iterable is never read ahead. An Observable pushes
    its items, which wait in a queue.

    Example:
        >>> from mellea_rx.operators import to_iterator
        >>> async def double(n: int) -> int:
        ...     return 2 * n
        >>> list(to_iterator(map_async(double, max_concurrent=2)([1, 2, 3])))
        [2, 4, 6]

    Args:
        fn: A sync or async function of one input. (A thunk or another Observable that it returns is
            a result; it is not awaited.)
        max_concurrent: The largest number of calls that run at once.
        ordered: Whether results keep the order of their inputs; else they are emitted as they
            arrive.

    Returns:
        An operator on any stream of inputs: iterable, async iterable or Observable. It fails with
        the exceptions of `fn` and of the inputs. Calls that still run when it fails, or when its
        subscription is disposed, are cancelled.

    Raises:
        InvalidInputError: `fn` is not callable, or `max_concurrent` is not an int of 1 or more.
    """
    if not callable(fn):
        raise InvalidInputError(f"map_async takes a function, not a {type(fn).__name__}")
    limit = require_positive_int("max_concurrent", max_concurrent)
    operation = _FunctionCalls(fn)

    def mapped(inputs: Inputs[A]) -> Observable[Any]:
        return ConcurrentMap(
            inputs_of("map_async", inputs),
            lambda: operation,
            max_concurrent=limit,
            ordered=ordered,
        )

    return mapped


class _FunctionCalls:
    """The operation of a concurrent map that calls a function."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def pause(self) -> float:
        return 0.0

    def count_start(self) -> None:
        """There is no limit to count for."""

    def start(self, row: Row) -> None:
        row.call(self._function, row.complete)

    def count_end(self, row: Row) -> None:
        """There is no limit to count for."""
