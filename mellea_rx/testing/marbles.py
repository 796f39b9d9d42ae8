"""Marble diagrams of chunk streams: `marbles` reads a diagram, `draw` makes one from notifications.

A diagram can be played as an Observable or as an answer of a `ScriptedBackend`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from string import ascii_letters
from types import MappingProxyType
from typing import Any, NamedTuple

from reactivex import Observable, abc, notification
from reactivex import operators as ops
from reactivex.disposable import CompositeDisposable
from reactivex.notification import Notification
from reactivex.subject import Subject

from mellea_rx.backends.scripted import Pause, Piece, ScriptedBackend
from mellea_rx.core.runtime.schedulers import scheduler_for
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.errors import GenerationFailedError, InvalidInputError

__all__ = ["Marbles", "Mark", "ObservedMarbles", "draw", "laid_out", "marbles", "marks_of"]

_TOKEN = re.compile(
    r"(?P<gap>-+)|\((?P<group>[^()-]+)\)|(?P<end>[|#])|(?P<name>[^-|#(),]+)|(?P<wrong>.)"
)
_NAME = re.compile(r"[|#]|[^|#,]+")
_PLAIN = re.compile(r"[^-|#(),\s]+")


@dataclass(frozen=True, slots=True)
class Mark:
    """One marble: a notification in a diagram.

    Attributes:
        frame: The number of whole frames since the subscription.
        name: Its name in the diagram; "|" is completion, "#" an error.
    """

    frame: int
    name: str


@dataclass(frozen=True)
class Marbles:
    """A marble diagram; `marbles()` and `Probe.marbles()` return one.

    Iterating over it yields an answer for a `ScriptedBackend`: pieces and pauses. `str()` returns
    the diagram.

    Attributes:
        diagram: The diagram as text.
        values: The text or `Chunk` of each name. A name that is missing here is its own text.
        frame: The duration of a character in seconds.
        error: The error of "#"; None for a new `GenerationFailedError` each time.
        marks: The marbles, oldest first.
        length: The number of frames in the diagram.
    """

    diagram: str
    values: Mapping[str, Any] = field(default_factory=dict)
    frame: float = 1.0
    error: Exception | None = None
    marks: tuple[Mark, ...] = field(init=False)
    length: int = field(init=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.frame) and self.frame > 0):
            raise InvalidInputError(f"frame must be above 0 seconds, not {self.frame!r}")
        marks, length = _parsed(self.diagram)
        for mark in marks:
            self._check_name(mark.name)
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))
        object.__setattr__(self, "marks", marks)
        object.__setattr__(self, "length", length)

    def _check_name(self, name: str) -> None:
        if len(name) > 1 and name not in self.values and self.values.keys() >= set(name):
            raise InvalidInputError(
                f"{self.diagram!r}: {name!r} is one item without a value, but its letters have "
                f"values: write ({','.join(name)}) for items of one frame, or {'-'.join(name)}"
            )

    def value(self, name: str) -> Any:
        """The text or `Chunk` of a name."""
        return self.values.get(name, name)

    def notification(self, mark: Mark) -> Notification[Chunk]:
        """The notification that a marble stands for."""
        if mark.name == "|":
            return notification.OnCompleted()
        if mark.name == "#":
            return notification.OnError(self.error or GenerationFailedError("the model crashed"))
        value = self.value(mark.name)
        return notification.OnNext(value if isinstance(value, Chunk) else Chunk(str(value)))

    def __iter__(self) -> Iterator[Piece]:
        """The pieces of an answer, which does not end without a "|" or "#"."""
        now = 0
        for mark in self.marks:
            if mark.frame > now:
                yield Pause((mark.frame - now) * self.frame)
                now = mark.frame
            note = self.notification(mark)
            if isinstance(note, notification.OnNext):
                yield note.value
            elif isinstance(note, notification.OnError):
                yield note.exception
                return
            else:
                return
        yield Pause(math.inf)

    def backend(self, **arguments: Any) -> ScriptedBackend:
        """Make a backend that plays this diagram for every request.

        Args:
            arguments: More arguments for `ScriptedBackend`.
        """
        return ScriptedBackend(self, **arguments)

    def cold(self, scheduler: abc.SchedulerBase | None = None) -> Observable[Chunk]:
        """A cold Observable, which plays the diagram for each subscription.

        Args:
            scheduler: The scheduler of the notifications; by default the one of the subscription,
                else one on the running event loop.
        """

        def subscribe(
            observer: abc.ObserverBase[Chunk], given: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            timer = scheduler_for(scheduler, given)
            return CompositeDisposable(
                [
                    timer.schedule_relative(
                        frame * self.frame, partial(self._notify, observer, tuple(moment))
                    )
                    for frame, moment in groupby(self.marks, lambda mark: mark.frame)
                ]
            )

        return Observable(subscribe)

    def hot(self, scheduler: abc.SchedulerBase | None = None) -> Observable[Chunk]:
        """A hot Observable, which plays the diagram once, starting now.

        A late subscriber does not get earlier items.

        Args:
            scheduler: The scheduler of the notifications; by default one on the running event loop.
        """
        subject: Subject[Chunk] = Subject()
        self.cold(scheduler).subscribe(subject)
        return subject.pipe(ops.as_observable())

    def _notify(
        self, observer: abc.ObserverBase[Chunk], moment: tuple[Mark, ...], *_: object
    ) -> None:
        for mark in moment:
            self.notification(mark).accept(observer)

    def __str__(self) -> str:
        return self.diagram


def marbles(
    diagram: str,
    values: Mapping[str, Any] | None = None,
    *,
    frame: float = 1.0,
    error: Exception | None = None,
) -> Marbles:
    """Read a marble diagram of a stream of chunks, in the notation of RxPY.

    A "-" is a frame of time, "|" is completion, and "#" is an error. Any other run of characters is
    an item; it is emitted in its first frame, and lasts as many frames as it has characters. Items
    in parentheses, separated by commas, are all emitted in the frame of the "(": `(a,bc|)`. Spaces
    are ignored.

    Args:
        diagram: The diagram, such as "-a-b-|".
        values: The text or `Chunk` of each name; a name that is missing here is its own text.
        frame: The duration of a character in seconds.
        error: The error of "#"; a `GenerationFailedError` by default.

    Returns:
        The diagram, as an answer for a `ScriptedBackend` and as Observables of chunks.

    Example:
        >>> story = marbles("-a-b|", {"a": "Once ", "b": "upon a time"}, frame=0.5)
        >>> [str(piece) for piece in story]
        ['0.5', 'Once ', '1.0', 'upon a time', '0.5']
        >>> from mellea_rx import MelleaSession
        >>> MelleaSession(marbles("a|", frame=0.01).backend()).instruct("Go.").value
        'a'

    Raises:
        InvalidInputError: The diagram is not valid; the message names the position.
    """
    return Marbles(diagram, values or {}, frame, error)


def draw(
    told: Iterable[tuple[float, Notification[Any]]],
    values: Mapping[str, Any] | None = None,
    *,
    frame: float = 1.0,
) -> Marbles:
    """Draw the notifications of an observer as a marble diagram.

    The name of an item is the one in `values`; else its own text, if that is valid in a diagram;
    else the next free letter.

    Args:
        told: The notifications, oldest first, each with the seconds since the subscription. Chunks
            without content (a finish reason, usage) are left out.
        values: The names of items, each with its text or `Chunk`.
        frame: The duration of a character in seconds; times are rounded to whole frames.

    Raises:
        InvalidInputError: A name is longer than the frames before the next item.
    """
    seen = marks_of(told, values or {}, frame)
    return Marbles(laid_out(seen.marks, frame), seen.values, frame, seen.error)


class ObservedMarbles(NamedTuple):
    """The notifications of an observer, as marbles.

    Attributes:
        marks: The marbles, oldest first.
        values: The text or item of each name.
        error: The error, if there was one.
    """

    marks: list[Mark]
    values: Mapping[str, Any]
    error: Exception | None


def marks_of(
    told: Iterable[tuple[float, Notification[Any]]], values: Mapping[str, Any], frame: float
) -> ObservedMarbles:
    """Convert notifications to marbles; see `draw`."""
    names = _Names(values)
    marks, error = [], None
    for at, note in told:
        if _is_empty(note):
            continue
        marks.append(Mark(int(at / frame + 0.5), names.of(note)))
        if isinstance(note, notification.OnError):
            error = note.exception
    return ObservedMarbles(marks, names.values, error)


def laid_out(marks: Iterable[Mark], frame: float) -> str:
    """Write marbles as a diagram.

    Args:
        marks: The marbles, oldest first.
        frame: The duration of a character in seconds, for the error message.

    Raises:
        InvalidInputError: A name is longer than the frames before the next item.
    """
    diagram = ""
    for at, moment in groupby(marks, lambda mark: mark.frame):
        if at < len(diagram):
            raise InvalidInputError(
                f"a diagram has no room for the item at {at * frame:g} s, after {diagram!r}: "
                "give its items names of one letter (values=), or set a smaller frame="
            )
        diagram += "-" * (at - len(diagram))
        diagram += _written([mark.name for mark in moment], after=diagram[-1:])
    return diagram


def _parsed(diagram: str) -> tuple[tuple[Mark, ...], int]:
    written = re.sub(r"\s", "", diagram)
    marks: list[Mark] = []
    for token in _TOKEN.finditer(written):
        if token["gap"]:
            continue
        if token["wrong"]:
            raise InvalidInputError(
                f"{diagram!r} is not a marble diagram: unexpected {token['wrong']!r} at position "
                f"{token.start()} (a group is (a,b|); a comma is valid in groups only)"
            )
        for name in _NAME.findall(token["group"] or token[0]):
            if marks and marks[-1].name in ("|", "#"):
                raise InvalidInputError(f"{diagram!r}: nothing may follow after {marks[-1].name!r}")
            marks.append(Mark(token.start(), name))
    return tuple(marks), len(written)


def _written(names: list[str], *, after: str) -> str:
    text = re.sub(r",([|#])", r"\1", ",".join(names))
    is_separate = after in ("", "-", ")") or names[0] in ("|", "#")
    return text if len(names) == 1 and is_separate else f"({text})"


def _is_empty(note: Notification[Any]) -> bool:
    return (
        isinstance(note, notification.OnNext) and isinstance(note.value, Chunk) and not note.value
    )


class _Names:
    """Assigns names to the items of a diagram."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)
        self._texts: set[str] = set()
        self._free = iter(ascii_letters)

    def of(self, note: Notification[Any]) -> str:
        if isinstance(note, notification.OnCompleted):
            return "|"
        if isinstance(note, notification.OnError):
            return "#"
        assert isinstance(note, notification.OnNext)
        for name, value in self.values.items():
            if _same(value, note.value):
                return name
        text = str(note.value)
        if _PLAIN.fullmatch(text) and text not in self.values:
            self._texts.add(text)
            return text
        name = next(each for each in self._free if each not in {*self.values, *self._texts})
        self.values[name] = text if note.value == Chunk(text) else note.value
        return name


def _same(value: Any, item: Any) -> bool:
    """Whether a value stands for an item; a text stands for any item with that text."""
    return bool(str(item) == value if isinstance(value, str) else item == value)
