"""Decides requirements unit by unit while the answer streams. Attempts use it.

Each requirement with `stream_validate` has its own lane: its splitter, its units in order, and the
length of the text that passed. The text is validated as far as all lanes are, and one failed unit
ends the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any

from mellea_rx.core.text.splitting import splitter
from mellea_rx.core.types.requirement import (
    Requirement,
    StreamValidation,
    UnitVerdict,
    ValidationResult,
)
from mellea_rx.stdlib.pipeline.unit_deciders import UnitDecider
from mellea_rx.stdlib.requirements.factories import validator_failed

Decided = Callable[[Requirement, UnitVerdict, str], None]
"""Called with each verdict: the requirement, the verdict, and the unit."""

_WORDS = {"pass": True, "fail": False, "unknown": None}


def unit_verdict(value: Any) -> UnitVerdict:
    """The return value of a streaming validation, as a verdict.

    Example:
        >>> unit_verdict(("fail", "too loud"))
        UnitVerdict(result=False, reason='too loud')

    Raises:
        TypeError: It is not a verdict.
    """
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


class _Lane:
    """The validation of a text by one requirement.

    Args:
        requirement: A requirement with `stream_validate`.
        decider: Decides its units.
        after: Text that was validated before. A decider that remembers gets its units first.
    """

    __slots__ = (
        "count",
        "decider",
        "good",
        "is_open",
        "known",
        "requirement",
        "scores",
        "splitter",
        "units",
        "unobjected",
    )

    def __init__(self, requirement: Requirement, decider: UnitDecider, after: str) -> None:
        self.requirement = requirement
        self.decider = decider
        self.splitter = splitter(requirement.unit)
        self.units: asyncio.Queue[str | None] = asyncio.Queue()
        # An incomplete unit at the end of `after` is judged when the following text completes it.
        self.known = list(self.splitter.feed(after)) if decider.remembers else []
        self.count = 0
        self.good = sum(map(len, self.known)) if decider.remembers else len(after)
        """The number of characters, from the beginning of the text, that passed."""
        self.unobjected = self.good
        """The same, with units that are undecided."""
        self.is_open = False
        """Whether a unit did not pass, so that the whole answer has to be judged."""
        self.scores: list[float] = []

    def put(self, units: Iterable[str]) -> None:
        for unit in units:
            self.units.put_nowait(unit)

    def note(self, unit: str, verdict: UnitVerdict) -> None:
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
        requirements: All requirements of the call; where one has no `stream_validate`, no text is
            validated before the end.
        decider: Makes a decider of a requirement's `stream_validate`.
        decided: Called with each verdict.
        after: Text that the answer goes on from, which was validated before.
        where: The name of the answer in messages ("attempt 1").
    """

    def __init__(
        self,
        requirements: Sequence[Requirement],
        decider: Callable[[StreamValidation], UnitDecider],
        decided: Decided,
        *,
        after: str = "",
        where: str = "",
    ) -> None:
        self._lanes = [
            _Lane(each, decider(each.stream_validate), after)
            for each in requirements
            if each.stream_validate is not None
        ]
        self._all_stream = len(self._lanes) == len(requirements)
        self._start = len(after)
        self._decided = decided
        self._where = where
        self._failure: tuple[Requirement, ValidationResult] | None = None

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
        if not self._lanes:
            return size
        return max(self._start, min(lane.unobjected for lane in self._lanes))

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
            lane.put(lane.splitter.feed(text))

    def flush(self) -> None:
        """Take the end of the answer."""
        for lane in self._lanes:
            lane.put(lane.splitter.flush())
            lane.units.put_nowait(None)

    async def run(self) -> None:
        """Judge all units; return at the end of the answer, or when the first one fails.

        Raises:
            ValidatorError: A function raised, or returned no verdict.
            BackendError: The model as judge failed.
        """
        lanes = [asyncio.ensure_future(self._follow(lane)) for lane in self._lanes]
        try:
            for lane in asyncio.as_completed(lanes):
                await lane
                if self._failure is not None:
                    return
        finally:
            for each in lanes:
                each.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)

    async def _follow(self, lane: _Lane) -> None:
        with self._blaming(lane, ""):
            await lane.decider.begin(lane.known)
        if lane.decider.width > 1:
            await self._follow_ahead(lane)
            return
        while self._failure is None and (unit := await lane.units.get()) is not None:
            lane.count += 1
            with self._blaming(lane, unit):
                verdict = unit_verdict(await lane.decider.decide(unit))
            self._note(lane, unit, verdict)

    async def _follow_ahead(self, lane: _Lane) -> None:
        """Have several units decided at once, and note their verdicts in order."""
        slots = asyncio.Semaphore(lane.decider.width)
        asked: asyncio.Queue[tuple[str, asyncio.Future[Any]] | None] = asyncio.Queue()
        tasks: list[asyncio.Future[Any]] = []

        async def ask() -> None:
            while (unit := await lane.units.get()) is not None:
                await slots.acquire()
                task = asyncio.ensure_future(lane.decider.decide(unit))
                tasks.append(task)
                asked.put_nowait((unit, task))
            asked.put_nowait(None)

        asking = asyncio.ensure_future(ask())
        try:
            while self._failure is None and (item := await asked.get()) is not None:
                unit, task = item
                lane.count += 1
                with self._blaming(lane, unit):
                    verdict = unit_verdict(await task)
                slots.release()
                self._note(lane, unit, verdict)
        finally:
            for each in (asking, *tasks):
                each.cancel()
            # Only when they have ended are their requests ended on the server too.
            await asyncio.gather(asking, *tasks, return_exceptions=True)

    def _note(self, lane: _Lane, unit: str, verdict: UnitVerdict) -> None:
        if verdict.result is False:
            self._failure = self._failure or _failed(lane, unit, verdict)
        lane.note(unit, verdict)
        self._decided(lane.requirement, verdict, unit)

    @contextmanager
    def _blaming(self, lane: _Lane, unit: str) -> Iterator[None]:
        try:
            yield
        except lane.decider.own_errors:
            raise
        except Exception as error:
            requirement, function = lane.requirement, lane.requirement.stream_validate
            where = f"{requirement.unit} {lane.count} of {self._where}" if unit else self._where
            raise validator_failed(requirement, function, error, unit, where) from error


def _failed(lane: _Lane, unit: str, verdict: UnitVerdict) -> tuple[Requirement, ValidationResult]:
    found = f"{lane.requirement.unit} {lane.count} ({unit.strip()[:80]!r})"
    reason = f"{found}: {verdict.reason}" if verdict.reason else f"{found} does not"
    return lane.requirement, ValidationResult(False, reason, verdict.score)
