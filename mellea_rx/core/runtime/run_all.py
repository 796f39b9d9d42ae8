"""Several coroutines at once, of which the first failure ends the others."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

_T = TypeVar("_T")


async def run_all(coroutines: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Run coroutines at once. The first that fails ends the others.

    Returns:
        Their results, in order.

    Raises:
        Exception: That of the first one that failed.
    """
    tasks: list[asyncio.Task[_T]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(each) for each in coroutines]
        return [task.result() for task in tasks]
    except BaseExceptionGroup as failed:
        error = failed.exceptions[0]
        # A frame that the error passes through must not refer to it: the two would keep each other,
        # and all that the coroutines refer to, alive until the garbage collector runs.
        failed.__traceback__ = None
        tasks.clear()
    try:
        raise error
    finally:
        del error
