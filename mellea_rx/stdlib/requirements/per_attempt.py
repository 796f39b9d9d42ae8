"""Streaming validations with state: each attempt gets its own copy.

`PerAttempt` is for users; the judge of a streamed answer uses the functions.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import MethodType, ModuleType
from typing import Any

from mellea_rx.core.runtime.user_functions import call_method, is_async
from mellea_rx.core.types.requirement import StreamValidation
from mellea_rx.errors import InvalidInputError

__all__ = ["PerAttempt", "for_attempt", "is_stateful", "require_copies"]


@dataclass(frozen=True)
class PerAttempt:
    """A streaming validation that is made anew for each attempt.

    Attributes:
        factory: Takes no arguments, and returns a function for `stream_validate`. It is called once
            here as a check, and once for each attempt, in a worker thread.

    Example:
        >>> class AtMost:
        ...     def __init__(self, limit):
        ...         self.left = limit
        ...     def __call__(self, sentence):
        ...         self.left -= 1
        ...         return self.left >= 0
        >>> short = PerAttempt(lambda: AtMost(3))

    Raises:
        InvalidInputError: It is not a function, or does not return one.
    """

    factory: Callable[[], StreamValidation]
    _is_async: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not callable(self.factory):
            raise InvalidInputError(
                f"PerAttempt takes a function that makes one, not {type(self.factory).__name__}"
            )
        made = self.factory()
        if not callable(made):
            raise InvalidInputError(
                "PerAttempt takes a function that returns a function for stream_validate; this "
                f"one returned {type(made).__name__}"
            )
        object.__setattr__(self, "_is_async", is_async(made))

    def for_attempt(self) -> StreamValidation:
        """The function for one attempt."""
        return self.factory()

    @property
    def is_async(self) -> bool:
        """Whether its functions are async."""
        return self._is_async

    def __call__(self, unit: str, *context: Any) -> Any:
        """Judge one unit with a new function."""
        function: Callable[..., Any] = self.factory()
        return function(unit, *context)


def is_stateful(function: Callable[..., Any]) -> bool:
    """Whether a function may have state: an object, a method of one, or a factory.

    Plain functions (lambdas, builtins, partials of functions) count as stateless.
    """
    while isinstance(function, partial):
        function = function.func
    if isinstance(function, type):
        return call_method(function) is not None  # else it is a function of a unit, as `bool`
    if inspect.ismethod(function):
        return not isinstance(function.__self__, (type, ModuleType))
    return not inspect.isroutine(function)


def for_attempt(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function for one attempt. It may run a user's code.

    Args:
        function: An object with a method `for_attempt()` returns the function itself; a class whose
            objects are callable is called; any other object is copied deeply; of a method, its
            object is returned or copied likewise; a stateless function is used as it is.

    Raises:
        Exception: The exception of the copy.
    """
    if not is_stateful(function):
        return function
    if isinstance(function, type):
        made: Callable[..., Any] = function()
        return made
    if inspect.ismethod(function):
        return MethodType(function.__func__, _copied(function.__self__))
    copied: Callable[..., Any] = _copied(function)
    return copied


def _copied(value: Any) -> Any:
    own = getattr(value, "for_attempt", None)
    return copy.deepcopy(value) if own is None else own()


def require_copies(function: Callable[..., Any] | None, name: str = "stream_validate") -> None:
    """Refuse a streaming validation that cannot be copied for each attempt.

    Args:
        function: The validation; None for none.
        name: The parameter or method that it was given as, for the message.

    Raises:
        InvalidInputError: The copy raised.
    """
    if function is None or isinstance(function, PerAttempt) or not is_stateful(function):
        return
    try:
        for_attempt(function)
    except Exception as error:
        owner = function.__self__ if inspect.ismethod(function) else function
        kind = owner.__name__ if isinstance(owner, type) else type(owner).__name__
        raise InvalidInputError(
            f"{name}: a {kind} cannot be copied for each attempt ({error}): give "
            "PerAttempt(function that makes one), give it a method for_attempt(), or give a "
            "function, which is taken as it is"
        ) from error
