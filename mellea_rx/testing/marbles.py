"""Marble diagrams of chunk streams: written ones played, seen ones drawn."""

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
from mellea_rx.core.chunk import Chunk
from mellea_rx.core.timers import scheduler_for
from mellea_rx.errors import GenerationFailedError, InvalidInputError

__all__ = ["Marbles", "Mark", "Seen", "draw", "laid_out", "marbles", "marks_of"]

_TOKEN = re.compile(
    r"(?P<gap>-+)|\((?P<group>[^()-]+)\)|(?P<end>[|#])|(?P<name>[^-|#(),]+)|(?P<wrong>.)"
)
_NAME = re.compile(r"[|#]|[^|#,]+")
_PLAIN = re.compile(r"[^-|#(),\s]+")


@dataclass(frozen=True, slots=True)
class Mark:
    """One marble: what it is called, and the frame that it is in.

    Attributes:
        frame: Whole frames since the subscription.
        name: Its name in the diagram; "|" is completion, "#" an error.
    """

    frame: int
    name: str


@dataclass(frozen=True)
class Marbles:
    """A marble diagram; `marbles()` makes one, a `Probe` draws one.

    Iterated it is an answer for a `ScriptedBackend`: pieces and pauses. `str()` gives the diagram.

    Attributes:
        diagram: As written.
        values: What names stand for: a text or a `Chunk`. A name that is not here is its own text.
        frame: Seconds that a character lasts.
        error: What "#" fails with; None for a `GenerationFailedError`, a fresh one each time.
        marks: The marbles, oldest first.
        length: Frames from the beginning to the end of the diagram.
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
            self._refuse_run_of_names(mark.name)
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))
        object.__setattr__(self, "marks", marks)
        object.__setattr__(self, "length", length)

    def _refuse_run_of_names(self, name: str) -> None:
        if len(name) > 1 and name not in self.values and self.values.keys() >= set(name):
            raise InvalidInputError(
                f"{self.diagram!r}: {name!r} is one item, and has no value, but its letters have: "
                f"write ({','.join(name)}) for what comes at once, or {'-'.join(name)}"
            )

    def value(self, name: str) -> Any:
        """What a name stands for."""
        return self.values.get(name, name)

    def notification(self, mark: Mark) -> Notification[Chunk]:
        """What a marble tells an observer."""
        if mark.name == "|":
            return notification.OnCompleted()
        if mark.name == "#":
            return notification.OnError(self.error or GenerationFailedError("the model crashed"))
        value = self.value(mark.name)
        return notification.OnNext(value if isinstance(value, Chunk) else Chunk(str(value)))

    def __iter__(self) -> Iterator[Piece]:
        """The pieces of an answer. Without a "|" or "#" it never ends."""
        now = 0
        for mark in self.marks:
            if mark.frame > now:
                yield Pause((mark.frame - now) * self.frame)
                now = mark.frame
            told = self.notification(mark)
            if isinstance(told, notification.OnNext):
                yield told.value
            elif isinstance(told, notification.OnError):
                yield told.exception
                return
            else:
                return
        yield Pause(math.inf)

    def backend(self, **how: Any) -> ScriptedBackend:
        """A backend that answers every request so.

        Args:
            how: More arguments for `ScriptedBackend`.
        """
        return ScriptedBackend(self, **how)

    def cold(self, scheduler: abc.SchedulerBase | None = None) -> Observable[Chunk]:
        """An Observable that plays it anew for each subscription.

        Args:
            scheduler: Whose time it is in; by default the subscription's scheduler, else the
                running event loop's.
        """

        def subscribe(
            observer: abc.ObserverBase[Chunk], given: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            clock = scheduler_for(scheduler, given)
            return CompositeDisposable(
                [
                    clock.schedule_relative(
                        frame * self.frame, partial(self._tell, observer, tuple(moment))
                    )
                    for frame, moment in groupby(self.marks, lambda mark: mark.frame)
                ]
            )

        return Observable(subscribe)

    def hot(self, scheduler: abc.SchedulerBase | None = None) -> Observable[Chunk]:
        """An Observable that plays it once, from now on; who subscribes late misses what was.

        Args:
            scheduler: Whose time it is in; by default the running event loop's.
        """
        subject: Subject[Chunk] = Subject()
        self.cold(scheduler).subscribe(subject)
        return subject.pipe(ops.as_observable())

    def _tell(
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
    """Read a marble diagram of a stream of chunks, in RxPY's way of writing them.

    A "-" is a frame of time, "|" completion, "#" an error; any other run of characters is an item,
    from the frame that it begins in, and lasts as many frames as it has characters. What stands in
    parentheses is all in the frame of the "(", parted by commas: `(a,bc|)`. Blanks do not count.

    Args:
        diagram: Such as "-a-b-|".
        values: What names stand for: a text or a `Chunk`; a name that is not here is its own text.
        frame: Seconds that a character lasts.
        error: What "#" fails with; a `GenerationFailedError` by default.

    Returns:
        The diagram: an answer for a `ScriptedBackend`, and Observables of chunks.

    Example:
        >>> story = marbles("-a-b|", {"a": "Once ", "b": "upon a time"}, frame=0.5)
        >>> [str(piece) for piece in story]
        ['0.5', 'Once ', '1.0', 'upon a time', '0.5']
        >>> from mellea_rx import MelleaSession
        >>> MelleaSession(marbles("a|", frame=0.01).backend()).instruct("Go.").value
        'a'

    Raises:
        InvalidInputError: It is no diagram; the message says where.
    """
    return Marbles(diagram, values or {}, frame, error)


def draw(
    told: Iterable[tuple[float, Notification[Any]]],
    values: Mapping[str, Any] | None = None,
    *,
    frame: float = 1.0,
) -> Marbles:
    """The marble diagram of what an observer was told.

    An item has the name that `values` gives it, else its own text where that can stand in a
    diagram, else the next free letter.

    Args:
        told: Seconds since the subscription, and what came then; oldest first. Chunks without
            content (a finish reason, usage) are left out.
        values: Names for items.
        frame: Seconds that a character lasts; times are rounded to whole frames.

    Raises:
        InvalidInputError: Names are too long for the frames between them.
    """
    seen = marks_of(told, values or {}, frame)
    return Marbles(laid_out(seen.marks, frame), seen.values, frame, seen.error)


class Seen(NamedTuple):
    """What an observer was told, as marbles."""

    marks: list[Mark]
    values: Mapping[str, Any]
    error: Exception | None


def marks_of(
    told: Iterable[tuple[float, Notification[Any]]], values: Mapping[str, Any], frame: float
) -> Seen:
    """Name what was told, and put it into frames; see `draw`."""
    names = _Names(values)
    marks, error = [], None
    for at, note in told:
        if _is_empty(note):
            continue
        marks.append(Mark(int(at / frame + 0.5), names.of(note)))
        if isinstance(note, notification.OnError):
            error = note.exception
    return Seen(marks, names.values, error)


def laid_out(marks: Iterable[Mark], frame: float) -> str:
    """Marbles as a diagram.

    Raises:
        InvalidInputError: There is no room for one.
    """
    diagram = ""
    for at, moment in groupby(marks, lambda mark: mark.frame):
        if at < len(diagram):
            raise InvalidInputError(
                f"there is no room in a diagram for what came at {at * frame:g} s, after "
                f"{diagram!r}: give its items names of one letter (values=), or a smaller frame="
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
                f"{diagram!r} is no marble diagram: there is no sense in {token['wrong']!r} at "
                f"{token.start()} (groups are (a,b|), commas only in them)"
            )
        for name in _NAME.findall(token["group"] or token[0]):
            if marks and marks[-1].name in ("|", "#"):
                raise InvalidInputError(f"{diagram!r}: nothing can come after {marks[-1].name!r}")
            marks.append(Mark(token.start(), name))
    return tuple(marks), len(written)


def _written(names: list[str], *, after: str) -> str:
    text = re.sub(r",([|#])", r"\1", ",".join(names))
    apart = after in ("", "-", ")") or names[0] in ("|", "#")
    return text if len(names) == 1 and apart else f"({text})"


def _is_empty(note: Notification[Any]) -> bool:
    return (
        isinstance(note, notification.OnNext) and isinstance(note.value, Chunk) and not note.value
    )


class _Names:
    """What items are called in a diagram."""

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
    """Whether an item is what a name stands for: a text stands for any item that reads so."""
    return bool(str(item) == value if isinstance(value, str) else item == value)
