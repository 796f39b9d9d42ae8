"""Copies of stored errors, to raise. Thunks, readers and operators use them."""

from __future__ import annotations

from typing import TypeVar

from mellea_rx.errors import MelleaRxError

E = TypeVar("E", bound=Exception)


def raisable(error: E) -> E:
    """A copy of a stored error, to be raised instead of it.

    A raised error refers to the frames that it passed through, and those to their variables. If a
    failed thunk stored the raised error itself, a frame of the program that holds this thunk would
    be in a reference cycle with it. Other thunks of that frame would then be released, and their
    requests ended, only by the next run of Python's garbage collector.

    Args:
        error: Stored by a thunk, an iterator or the like. An error of another library or of the
            user is returned without its traceback, not copied: a copy may be impossible.
    """
    if not isinstance(error, MelleaRxError):
        return error.with_traceback(None)
    kind = type(error)
    copied = kind.__new__(kind, *error.args)
    copied.args = error.args  # an OSError takes them in `__init__`, which is not called here
    copied.__dict__.update(error.__dict__)
    copied.__cause__ = error.__cause__
    copied.__context__ = error.__context__
    copied.__suppress_context__ = error.__suppress_context__
    return copied
