"""Decides requirements unit by unit while the answer streams. Attempts use it.

Each requirement with a `unit_function` has its own lane: its splitter, its units in order, and the
length of the text that passed. The text is validated as far as all lanes are, and one failed unit
ends the answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from mellea_rx.core.runtime.time_limit import unfinished
from mellea_rx.core.text.units import label_of
from mellea_rx.core.types.requirement import (
    Requirement,
    StreamValidation,
    UnitVerdict,
    ValidationResult,
)
from mellea_rx.core.types.validation import name_of
from mellea_rx.stdlib.pipeline.unit_deciders import UnitDecider
from mellea_rx.stdlib.pipeline.unit_feed import unit_feed
from mellea_rx.stdlib.requirements.factories import splitter_failed, validator_failed

Decided = Callable[[Requirement, UnitVerdict, str], None]
"""Called with each verdict: the requirement, the verdict, and the unit."""

_PASSED = UnitVerdict(True)

_WORDS = {"pass": True, "fail": False, "unknown": None}


def unit_verdict(value: Any) -> UnitVerdict:
    """The return value of a streaming validation, as a verdict.

    Example:
        >>> unit_verdict(("fail", "too loud"))
        UnitVerdict(result=False, reason='too loud', score=None)

    Raises:
        TypeError: It is not a verdict.
    """
    if value is True:  # the common case
        return _PASSED
    match value:
        case UnitVerdict():
            return value
        case ValidationResult():
            return UnitVerdict(value.result, value.reason, value.score)
        case (verdict, (str() | None) as reason):
            known = unit_verdict(verdict)
            return UnitVerdict(known.result, reason, known.score)
        case bool() | None:
            return UnitVerdict(value)
        case "pass" | "fail" | "unknown":
            return UnitVerdict(_WORDS[value])
    raise TypeError(
        "a streaming validation returns True, False or None, 'pass', 'fail' or 'unknown', a pair "
        f"of one of these and a reason, or a UnitVerdict, not {value!r}"
    )


class _Unit:
    """A unit that is being decided."""

    __slots__ = ("error", "is_decided", "is_recalled", "text", "value")

    def __init__(self, text: str) -> None:
        self.text = text
        self.is_decided = False
        self.is_recalled = False
        """Whether it was validated before, in an attempt that this one goes on from."""
        self.value: Any = None
        self.error: Exception | None = None


class _Lane:
    """The validation of a text by one requirement: its units, decided in order.

    Args:
        requirement: A requirement with a `unit_function`.
        decider: Decides its units.
        start: The number of characters at the beginning that were validated before.
        judge: Is told of each verdict, of an error of the splitter, and of the end.
    """

    __slots__ = (
        "_advances",
        "_end",
        "_is_complete",
        "_is_ready",
        "_judge",
        "_running",
        "_start",
        "_waiting",
        "count",
        "decider",
        "good",
        "is_open",
        "label",
        "requirement",
        "scores",
        "units",
        "unobjected",
    )

    def __init__(
        self, requirement: Requirement, decider: UnitDecider, start: int, judge: StreamJudge
    ) -> None:
        self.requirement = requirement
        self.decider = decider
        self.label = label_of(requirement.unit)
        self._judge: StreamJudge | None = judge
        self._waiting: deque[str] = deque()
        self._running: deque[_Unit] = deque()
        self._is_ready = self._is_complete = self._advances = False
        self._start = start
        self._end = 0
        """The number of characters in the units that were begun."""
        self.count = 0
        self.good = self.unobjected = 0
        """The number of characters, from the beginning of the text, that passed; and the same with
        units that are undecided."""
        self.is_open = False
        """Whether a unit did not pass, so that the whole answer has to be judged."""
        self.scores: list[float] = []
        self.units = unit_feed(requirement.unit, self._put, self._complete, self._failed)

    def unfinished(self, where: str) -> str:
        """The function or judge that has not returned, as a noun phrase; "" for none."""
        if self.units.is_splitting:
            return f"the splitter {name_of(self.requirement.unit)!r} in {where}"
        name = f"{self.decider.name} of requirement {self.requirement.description!r}"
        if not self._is_ready:
            return f"the copy of {name} for {where}"
        return f"{name} at {self.label} {self.count + 1} of {where}" if self._running else ""

    def begin(self) -> None:
        """Begin to decide units, unless it was stopped: the decider is ready."""
        self._is_ready = self._judge is not None
        self._advance()

    def stop(self) -> None:
        """Decide no more units."""
        self._is_ready = False
        self._waiting.clear()
        self._running.clear()
        self._judge = None  # it has this lane: no circle

    def cancel(self) -> list[asyncio.Future[Any]]:
        """End what runs; return the futures of calls that have not ended."""
        return [*self.units.cancel(), *self.decider.cancel()]

    @property
    def is_done(self) -> bool:
        """Whether every unit is decided, and no more come."""
        return self._is_complete and not self._waiting and not self._running

    def _put(self, units: list[str]) -> None:
        self._waiting.extend(units)
        self._advance()

    def _complete(self) -> None:
        self._is_complete = True
        if self._judge is not None:
            self._judge.look_for_end()

    def _failed(self, error: Exception) -> None:
        if self._judge is not None:
            self._judge.splitter_failed(self, error)

    def _advance(self) -> None:
        if self._advances:  # a decider that decides at once: the loop below goes on
            return
        self._advances = True
        while self._is_ready and self._waiting and len(self._running) < self.decider.width:
            unit = _Unit(self._waiting.popleft())
            self._end += len(unit.text)
            unit.is_recalled = self._end <= self._start
            self._running.append(unit)
            ask = self.decider.recall if unit.is_recalled else self.decider.decide
            ask(unit.text, partial(self._decided, unit))
        self._advances = False

    def _decided(self, unit: _Unit, value: Any, error: Exception | None) -> None:
        unit.is_decided, unit.value, unit.error = True, value, error
        running = self._running
        # In order: a verdict waits for those of the units before it.
        while running and running[0].is_decided:
            self._note(running.popleft())
        if self._waiting:
            self._advance()

    def _note(self, unit: _Unit) -> None:
        if unit.is_recalled and unit.error is None:
            self.add(unit.text, _PASSED)
            return
        self.count += not unit.is_recalled
        if self._judge is not None:
            text = "" if unit.is_recalled else unit.text
            self._judge.note(self, text, unit.value, unit.error)

    def add(self, unit: str, verdict: UnitVerdict) -> None:
        """Count a verdict."""
        self.is_open = self.is_open or not verdict.result
        if verdict.score is not None:
            self.scores.append(verdict.score)
        if verdict.result is not False:
            self.unobjected += len(unit)
        if not self.is_open:
            self.good += len(unit)

    @property
    def result(self) -> ValidationResult:
        """The result of a requirement that every unit met."""
        return ValidationResult(True, score=fmean(self.scores) if self.scores else None)


class StreamJudge:
    """Judges one answer while it streams. Used on the engine only.

    Args:
        requirements: All requirements of the call; where one has no `unit_function`, no text is
            validated before the end.
        decider: Makes a decider of a requirement and its `unit_function`.
        decided: Called with each verdict.
        after: Text that the answer goes on from, which was validated before.
        where: The name of the answer in messages ("attempt 1").
    """

    def __init__(
        self,
        requirements: Sequence[Requirement],
        decider: Callable[[Requirement, StreamValidation], UnitDecider],
        decided: Decided,
        *,
        after: str = "",
        where: str = "",
    ) -> None:
        self._lanes = [
            _Lane(each, decider(each, function), len(after), self)
            for each in requirements
            if (function := each.unit_function) is not None
        ]
        self._all_stream = len(self._lanes) == len(requirements)
        self._start = len(after)
        self._decided = decided
        self._where = where
        self._failure: tuple[Requirement, ValidationResult] | None = None
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if after:
            # Units may depend on the text before, as members of JSON do, and the last one of it
            # may be incomplete.
            self.feed(after)

    @property
    def has_work(self) -> bool:
        """Whether any requirement is judged while the answer streams."""
        return bool(self._lanes)

    @property
    def good(self) -> int:
        """The number of characters that all requirements have validated."""
        if not self._all_stream:
            return self._start
        return max(self._start, min((lane.good for lane in self._lanes), default=0))

    def unobjected(self, size: int) -> int:
        """The number of characters, of `size`, that every streaming validation has looked at, and
        none rejected."""
        lanes = self._lanes
        if not lanes:
            return size
        least = lanes[0].unobjected
        if len(lanes) > 1:
            least = min(lane.unobjected for lane in lanes)
        return max(self._start, least)

    @property
    def failure(self) -> tuple[Requirement, ValidationResult] | None:
        """The requirement that a unit did not meet; None while there is none."""
        return self._failure

    @property
    def met(self) -> Mapping[int, ValidationResult]:
        """The results of the requirements that every unit met, by the `id` of the requirement: the
        whole answer need not be judged by them."""
        return {id(lane.requirement): lane.result for lane in self._lanes if not lane.is_open}

    def feed(self, text: str) -> None:
        """Take a piece of the answer."""
        for lane in self._lanes:
            lane.units.feed(text)

    def flush(self) -> None:
        """Take the end of the answer."""
        for lane in self._lanes:
            lane.units.flush()

    async def run(self) -> None:
        """Judge all units; return at the end of the answer, or when the first one fails.

        Raises:
            ValidatorError: A function or splitter raised, or returned no verdict or units.
            BackendError: The model as judge failed.
        """
        getting_ready = [self._begin(lane) for lane in self._lanes]
        tasks = [asyncio.ensure_future(each) for each in getting_ready if each is not None]
        try:
            with unfinished(self._unfinished):
                await self._end
        finally:
            for lane in self._lanes:
                lane.stop()
            for task in tasks:
                task.cancel()
            ending = [*tasks, *(each for lane in self._lanes for each in lane.cancel())]
            if ending:
                await asyncio.gather(*ending, return_exceptions=True)
            if self._end.done() and not self._end.cancelled():
                self._end.exception()  # where this run was cancelled, nobody else reads it

    def _unfinished(self) -> str:
        """The functions and judges that have not decided a unit."""
        return "; ".join(filter(None, (each.unfinished(self._where) for each in self._lanes)))

    def _begin(self, lane: _Lane) -> Coroutine[Any, Any, None] | None:
        ready = lane.decider.begin()
        if ready is None:
            lane.begin()
            return None
        return self._begin_later(lane, ready)

    async def _begin_later(self, lane: _Lane, ready: Awaitable[None]) -> None:
        try:
            await ready
        except Exception as error:
            self._fail(lane, "", error)
        else:
            lane.begin()
            self.look_for_end()

    def forget(self) -> None:
        """Forget the lanes and the callback: the answer has ended, and no more of it is judged."""
        self._lanes = []
        self._decided = _ignored

    def note(self, lane: _Lane, unit: str, value: Any, error: Exception | None) -> None:
        """Take the verdict on a unit, or the exception. Called by the lane."""
        if self._end.done():
            return
        try:
            if error is not None:
                raise error
            verdict = unit_verdict(value)
        except Exception as raised:
            self._fail(lane, unit, raised)
            return
        if verdict.result is False:
            self._failure = self._failure or _failed(lane, unit, verdict)
            self._finish()
        lane.add(unit, verdict)
        self._decided(lane.requirement, verdict, unit)
        if lane.is_done:
            self.look_for_end()

    def look_for_end(self) -> None:
        """End the run where all units are decided. Called by the lanes."""
        if not self._end.done() and all(lane.is_done for lane in self._lanes):
            self._finish()

    def _finish(self, error: Exception | None = None) -> None:
        """End the run, with an error or without one."""
        # At once, and not when `run` goes on: a lane would begin its next unit meanwhile, after one
        # that was rejected.
        for lane in self._lanes:
            lane.stop()
        if error is None:
            self._end.set_result(None)
        else:
            self._end.set_exception(error)

    def splitter_failed(self, lane: _Lane, error: Exception) -> None:
        """End the run with the error of a user's splitter. Called by the lane."""
        if not self._end.done():
            raised = splitter_failed(lane.requirement, error, self._where)
            raised.__cause__ = error
            self._finish(raised)

    def _fail(self, lane: _Lane, unit: str, error: Exception) -> None:
        if self._end.done():
            return
        if not isinstance(error, lane.decider.own_errors):
            requirement, function = lane.requirement, lane.requirement.unit_function
            where = f"{lane.label} {lane.count} of {self._where}" if unit else self._where
            cause = error
            error = validator_failed(requirement, function, cause, unit, where)
            error.__cause__ = cause
        self._finish(error)


def _ignored(requirement: Requirement, verdict: UnitVerdict, unit: str) -> None:
    """Take a verdict on an answer that has ended."""


def _failed(lane: _Lane, unit: str, verdict: UnitVerdict) -> tuple[Requirement, ValidationResult]:
    found = f"{lane.label} {lane.count} ({unit.strip()[:80]!r})"
    reason = f"{found}: {verdict.reason}" if verdict.reason else f"{found} does not"
    return lane.requirement, ValidationResult(False, reason, verdict.score)
