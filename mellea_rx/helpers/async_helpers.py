"""`wait_for_all_mots`: waits for several thunks. For users."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, TypeVar, cast, overload

from mellea_rx.core.runtime.engine import asyncio_loop
from mellea_rx.core.streams.thunk import ComputedThunk, ModelOutputThunk
from mellea_rx.errors import InvalidInputError

__all__ = ["wait_for_all_mots"]

T = TypeVar("T")


@overload
async def wait_for_all_mots(thunks: Iterable[ModelOutputThunk[T]]) -> list[ComputedThunk[T]]: ...
@overload
async def wait_for_all_mots(
    thunks: Iterable[ModelOutputThunk[Any]],
) -> list[ComputedThunk[Any]]: ...
async def wait_for_all_mots(
    thunks: Iterable[ModelOutputThunk[Any]],
) -> list[ComputedThunk[Any]]:
    """Wait until every thunk has ended, then raise the first failure, if there is one.

    One failure does not hide the others' results: all are waited for, and each thunk keeps its
    value or its error.

    Args:
        thunks: Any number of them, running or computed; from any sessions and loops.

    Returns:
        The same thunks, in their order, computed.

    Example:
        >>> a, b = await wait_for_all_mots([thunk_a, thunk_b])      # doctest: +SKIP

    Raises:
        InvalidInputError: Something is not a thunk.
        AsyncioRequiredError: No asyncio event loop runs here.
        MelleaRxError: The error of the first thunk, in their order, that failed.
    """
    asyncio_loop()
    waited = list(thunks)
    for thunk in waited:
        if not isinstance(thunk, ModelOutputThunk):
            raise InvalidInputError(
                f"wait_for_all_mots takes thunks, not {type(thunk).__name__}: "
                "is an `await` missing before the verb?"
            )
    results = await asyncio.gather(*(t.avalue() for t in waited), return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    if failures:
        raise failures[0]
    return cast("list[ComputedThunk[Any]]", waited)
