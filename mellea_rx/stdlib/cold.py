"""Cold calls: a session's verbs, whose calls are made when they are subscribed to."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from mellea_rx.core.cold import ColdCall
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.helpers.blocking import starting
from mellea_rx.stdlib.keywords import require_keywords
from mellea_rx.stdlib.verbs import Verbs

__all__ = ["ColdCall", "ColdVerbs"]

P = ParamSpec("P")
T = TypeVar("T")


def _cold(
    averb: Callable[Concatenate[Verbs, P], Coroutine[Any, Any, ModelOutputThunk[T]]],
) -> Callable[Concatenate[ColdVerbs, P], ColdCall[T]]:
    """The cold twin of an async verb: signature and types kept."""
    start = starting(averb)
    signature = inspect.signature(averb)

    @wraps(averb)
    def verb(self: ColdVerbs, /, *args: P.args, **kwargs: P.kwargs) -> ColdCall[T]:
        bound = signature.bind(self, *args, **kwargs)  # a wrong argument is told of here
        require_keywords(averb, bound.arguments.get("options", ()))
        return ColdCall(partial(start, self._session, *args, **kwargs))

    verb.__name__ = averb.__name__.removeprefix("a")
    verb.__qualname__ = f"ColdVerbs.{verb.__name__}"
    return verb


class ColdVerbs:
    """The verbs of `session.cold`: each takes what the session's own takes, and gives a `ColdCall`.

    Example:
        >>> from mellea_rx import MelleaSession, ScriptedBackend
        >>> m = MelleaSession(ScriptedBackend("One.", "Two."))
        >>> call = m.cold.instruct("Count.")
        >>> str(call.run()), str(call.run())
        ('One.', 'Two.')

    Args:
        session: Makes the calls.
    """

    def __init__(self, session: Verbs) -> None:
        self._session = session

    instruct = _cold(Verbs.ainstruct)
    chat = _cold(Verbs.achat)
    act = _cold(Verbs.aact)
    query = _cold(Verbs.aquery)
    transform = _cold(Verbs.atransform)
