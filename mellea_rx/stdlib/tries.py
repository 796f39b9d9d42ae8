"""Tries at one answer: again before its first chunk, and, where that is asked for, after it broke.

nothing came:    --#      --#    --a--b--c|
"continue":      --a--b#         --c|
"restart":       --a--b#         --x--y--z|
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from mellea_rx.core.backend import Backend, capabilities_of
from mellea_rx.core.logs import RequestRetried, error_summary, log
from mellea_rx.core.options import ModelOption
from mellea_rx.core.request import Request, WireMessage
from mellea_rx.core.sink import Sink
from mellea_rx.core.waits import running_number
from mellea_rx.errors import (
    BackendError,
    GenerationFailedError,
    IdleTimeoutError,
    StreamInterruptedError,
)
from mellea_rx.stdlib.tools.in_words import has_tools

__all__ = ["until_answered"]

_INTERRUPTIONS = (StreamInterruptedError, IdleTimeoutError, GenerationFailedError)


async def until_answered(
    ask: Callable[[Request], Awaitable[None]], backend: Backend, request: Request, sink: Sink
) -> None:
    """Ask until there is an answer, as the request's options allow. Runs on the engine.

    Args:
        ask: Has the backend answer, into `sink`.
        backend: Who is asked.
        request: What it is asked.
        sink: Where the answer goes.

    Raises:
        BackendError: What the last try failed with.
    """
    policy, loop = request.options.retry_policy, asyncio.get_running_loop()
    began, asked, tries = loop.time(), request, 1
    while True:
        try:
            await ask(asked)
            return
        except BackendError as error:
            following = _following(error, backend, asked, sink)
            pause = policy.pause_in_budget(error, tries, loop.time() - began)
            if following is None or pause is None:
                raise
            restarts = sink.spoke and following is asked
            if restarts and not sink.restart(error):
                raise
            sink.retrying(error, pause, restarts=restarts)
            log(RequestRetried(running_number(), error_summary(error), tries, pause))
        await asyncio.sleep(pause)
        asked, tries = following, tries + 1


def _following(
    error: BackendError, backend: Backend, request: Request, sink: Sink
) -> Request | None:
    """What to ask after a try that failed; None for nothing."""
    if not sink.spoke:
        return request if request.options.retry_policy.is_worth(error) else None
    # An answer that had begun was asked for well: whatever broke it off may pass.
    if not isinstance(error, _INTERRUPTIONS):
        return None
    match request.options.get(ModelOption.ON_INTERRUPT, "fail"):
        case "restart":
            return request
        case "continue" if _can_go_on(backend, request):
            return _going_on(request, sink.text)
    return None


def _can_go_on(backend: Backend, request: Request) -> bool:
    """Whether the rest of an answer can be asked for: not of JSON that a schema holds."""
    able = capabilities_of(backend)
    in_json = request.schema is not None or (has_tools(request) and not able.tools)
    return able.continues and not in_json


def _going_on(request: Request, text: str) -> Request:
    asked = request.messages[:-1] if request.beginning else request.messages
    return replace(request, messages=(*asked, WireMessage("assistant", text)))
