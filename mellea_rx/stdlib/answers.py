"""What answers a request: a backend's own stream, with what it cannot do made up for."""

from __future__ import annotations

from dataclasses import replace

from mellea_rx.core.backend import Backend, resolved
from mellea_rx.core.request import Request
from mellea_rx.core.source import Push, forward

__all__ = ["answer"]


async def answer(backend: Backend, request: Request, push: Push) -> None:
    """Have `backend` answer, and push all chunks of it. Runs on the engine.

    Raises:
        OptionError: An option that the backend does not have, where it was decided only now.
        MelleaRxError: What the backend failed with.
    """
    taken = await resolved(backend)
    if taken is not backend:  # decided only now, so the door could not ask it
        request = replace(request, options=request.options.over(taken.model_options))
        taken.check(request.options)
    await forward(taken.stream(request), push)
