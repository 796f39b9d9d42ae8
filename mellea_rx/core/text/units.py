"""Splitters for every value of `unit=`, and the checks of these values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from mellea_rx.core.runtime.user_functions import is_async
from mellea_rx.core.text.checked_splitter import CheckedSplitter
from mellea_rx.core.text.cutter import FoundUnits
from mellea_rx.core.text.splitting import cutter_of
from mellea_rx.core.types.unit import ListSplitter, Splitter, Unit, UnitName
from mellea_rx.core.types.validation import name_of
from mellea_rx.errors import InvalidInputError


def splitter(unit: Unit) -> ListSplitter:
    """A splitter for one text. It takes time linear in the text, however small its pieces are.

    - "word": up to the next word. White space separates words.
    - "sentence": up to the next sentence. A full stop, question or exclamation mark or ellipsis
      ends one, with the quotes and brackets that close after it, where white space follows, and
      then no small letter; "。", "！" and "？" end one as they are, and so does a blank line. Full
      stops of abbreviations, initials and numbers do not; in doubt a sentence goes on.
    - "line": up to and with its LF.
    - "paragraph": up to and with the blank lines after it.
    - A splitter factory: `by_regex(...)`, `by_json_member()`, a class of splitters, or a function
      that makes one. Empty units of a user's splitter are left out; one whose units are not the
      text raises a `CallbackError`, which says where.

    Example:
        >>> sentences = splitter("sentence")
        >>> sentences.feed("Dr. No paid 3.50. He"), sentences.feed(" left."), sentences.flush()
        (['Dr. No paid 3.50. '], [], ['He left.'])

    Args:
        unit: The kind of unit.

    Raises:
        InvalidInputError: There is no such unit, or the factory made no splitter.
        Exception: The factory's own.
    """
    require_unit(unit)
    if not callable(unit):
        return cutter_of(unit)
    if isinstance(unit, FoundUnits):
        return unit()
    return CheckedSplitter(_made(unit), name_of(unit))


def require_unit(unit: object) -> None:
    """Check a value of `unit=`, without a call of the user's code.

    Raises:
        InvalidInputError: It is not a unit.
    """
    if isinstance(unit, str) and unit in get_args(UnitName):
        return
    if not isinstance(unit, type) and _has_methods(unit):
        name = type(unit).__name__
        raise InvalidInputError(
            f"unit: a {name} is a splitter for one text, whose state several texts would share: "
            f"give what makes one for each text, {name} or lambda: {name}(...)"
        )
    if isinstance(unit, str) or not callable(unit):
        known = ", ".join(map(repr, get_args(UnitName)))
        raise InvalidInputError(
            f"there is no unit {unit!r}; there are {known}, and splitter factories: by_regex(...), "
            "by_json_member(), a class with feed and flush, or a function that makes a splitter"
        )
    if not isinstance(unit, type) and is_async(unit):
        raise InvalidInputError(
            f"unit: {name_of(unit)!r} is async: give a function that returns a splitter at once"
        )


def require_splitters(unit: Any) -> None:
    """Check a value of `unit=`, and that its factory makes a splitter: it is called once.

    Raises:
        InvalidInputError: It is not a unit, or the factory raised, or made no splitter.
    """
    require_unit(unit)
    if is_ready_made(unit) or not callable(unit):
        return
    try:
        _made(unit)
    except InvalidInputError:
        raise
    except Exception as error:
        raise InvalidInputError(
            f"unit: {name_of(unit)!r} raised {type(error).__name__} ({error}): give a class or a "
            "function that makes a splitter, and takes no arguments"
        ) from error


def is_ready_made(unit: object) -> bool:
    """Whether the splitters of a unit are this library's own, which never block."""
    return isinstance(unit, (str, FoundUnits))


def label_of(unit: Unit) -> str:
    """The name of one unit in messages.

    Example:
        >>> label_of("sentence"), label_of(lambda: splitter("word"))
        ('sentence', 'unit')
    """
    if isinstance(unit, str):
        return unit
    return unit.label if isinstance(unit, FoundUnits) else FoundUnits.label


def _made(factory: Callable[[], Any]) -> Splitter:
    made: Splitter = factory()
    if not _has_methods(made):
        raise InvalidInputError(
            f"unit: {name_of(factory)!r} made no splitter, but {type(made).__name__}: a splitter "
            "has the methods feed(text) and flush(), which return iterables of str"
        )
    if is_async(made.feed) or is_async(made.flush):
        raise InvalidInputError(
            f"unit: the splitter of {name_of(factory)!r} is async: its feed and flush have to "
            "return iterables of str"
        )
    return made


def _has_methods(value: object) -> bool:
    return all(callable(getattr(value, name, None)) for name in ("feed", "flush"))
