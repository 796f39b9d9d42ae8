"""`session.cold`: the verbs of a session as cold calls, each made when it is subscribed to."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from mellea_rx.core.streams.cold_call import ColdCall
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.helpers.sync_verbs import without_waiting
from mellea_rx.stdlib.session.call_options import require_keywords
from mellea_rx.stdlib.session.verbs import Verbs

P = ParamSpec("P")
T = TypeVar("T")


def _cold(
    averb: Callable[Concatenate[Verbs, P], Coroutine[Any, Any, ModelOutputThunk[T]]],
) -> Callable[Concatenate[ColdVerbs, P], ColdCall[T]]:
    """The cold version of an async verb, with the same signature and types."""
    start = without_waiting(averb)
    signature = inspect.signature(averb)
    fits = _usual_arguments(signature)

    @wraps(averb)
    def verb(self: ColdVerbs, /, *args: P.args, **kwargs: P.kwargs) -> ColdCall[T]:
        if not fits(args, kwargs):  # reports the wrong argument now, and not on subscription
            try:
                bound = signature.bind(self, *args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{verb.__qualname__}(): {error}") from None
            require_keywords(averb, bound.arguments.get("options", ()))
        return ColdCall(partial(start, self._session, *args, **kwargs))

    verb.__name__ = averb.__name__.removeprefix("a")
    verb.__qualname__ = f"ColdVerbs.{verb.__name__}"
    return verb


def _usual_arguments(
    signature: inspect.Signature,
) -> Callable[[tuple[Any, ...], Mapping[str, Any]], bool]:
    """A quick check that arguments surely fit: the required ones by place, others by name.

    (`bind` checks any arguments, and costs as much as starting a call.)
    """
    given = list(signature.parameters.values())[1:]
    by_place = [each for each in given if each.kind is each.POSITIONAL_OR_KEYWORD]
    required = sum(each.default is each.empty for each in by_place)
    by_name = {each.name for each in given if each.kind is each.KEYWORD_ONLY}
    return lambda args, kwargs: len(args) == required and kwargs.keys() <= by_name


class ColdVerbs:
    """The verbs of `session.cold`: each takes the arguments of the session's own verb.

    Each returns a `ColdCall`.

    Example:
        >>> from mellea_rx import MelleaSession, ScriptedBackend
        >>> m = MelleaSession(ScriptedBackend("One.", "Two."))
        >>> call = m.cold.instruct("Count.")
        >>> str(call.run()), str(call.run())
        ('One.', 'Two.')

    Args:
        session: The session that makes the calls.
    """

    def __init__(self, session: Verbs) -> None:
        self._session = session

    instruct = _cold(Verbs.ainstruct)
    chat = _cold(Verbs.achat)
    act = _cold(Verbs.aact)
    query = _cold(Verbs.aquery)
    transform = _cold(Verbs.atransform)
