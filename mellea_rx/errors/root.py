"""The root of the tree."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["MelleaRxError", "raisable"]

E = TypeVar("E", bound=Exception)


class MelleaRxError(Exception):
    """The root of every error that this library raises.

    Args:
        message: What was wrong, where, and what to do.
        text: What the model had said so far.

    Attributes:
        text: As given.
        is_passing: Whether another try of the same request may not meet it.
    """

    text: str
    is_passing: bool = False

    def __init__(self, message: str, *, text: str = "") -> None:
        super().__init__(message)
        self.text = text


def raisable(error: E) -> E:
    """The error to raise, of one that is kept: a copy, which nothing keeps.

    A raised error refers to the frames that it went through, and they to their variables. If a
    failed thunk kept it, a program's frame that holds this thunk and a running one would be in a
    circle with its own error, and the running one's request would go on until Python's collector
    comes by.

    Args:
        error: Kept by a thunk, an iterator or the like. One of another library's or of the user's
            is returned as it is: it may not be possible to copy it.
    """
    if not isinstance(error, MelleaRxError):
        return error.with_traceback(None)
    kind = type(error)
    again = kind.__new__(kind, *error.args)
    again.args = error.args  # an OSError takes them in `__init__`, which is not called again
    again.__dict__.update(error.__dict__)
    again.__cause__ = error.__cause__
    again.__context__ = error.__context__
    again.__suppress_context__ = error.__suppress_context__
    return again
