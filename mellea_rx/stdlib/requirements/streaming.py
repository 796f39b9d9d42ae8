"""Deciding requirements unit by unit, while the answer streams.

Each requirement that can do so has a lane of its own: its splitter, its units in order, and how far
it has found the text good. The text is validated as far as every lane has, and one bad unit is the
end of the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mellea_rx.core.callbacks import call_user
from mellea_rx.core.requirement import Requirement, UnitVerdict, ValidationResult
from mellea_rx.core.units import splitter
from mellea_rx.stdlib.requirements.blame import validator_failed
from mellea_rx.stdlib.requirements.per_attempt import for_attempt, is_stateful

__all__ = ["StreamJudge", "unit_verdict"]

Decided = Callable[[Requirement, UnitVerdict, str], None]
"""Told of each verdict: the requirement, what was found, and the unit."""

_WORDS = {"pass": True, "fail": False, "unknown": None}


def unit_verdict(value: Any) -> UnitVerdict:
    """What a streaming validation returned, as a verdict.

    Example:
        >>> unit_verdict(("fail", "too loud"))
        UnitVerdict(result=False, reason='too loud')

    Raises:
        TypeError: It is no verdict.
    """
    match value:
        case UnitVerdict():
            return value
        case ValidationResult():
            return UnitVerdict(value.result, value.reason)
        case (verdict, (str() | None) as reason):
            return UnitVerdict(unit_verdict(verdict).result, reason)
        case bool() | None:
            return UnitVerdict(value)
        case "pass" | "fail" | "unknown":
            return UnitVerdict(_WORDS[value])
    raise TypeError(
        "a streaming validation returns True, False or None, 'pass', 'fail' or 'unknown', a pair "
        f"of one of these and a reason, or a UnitVerdict, not {value!r}"
    )


class _Lane:
    """One requirement's way through the text.

    Args:
        requirement: It has a `stream_validate`.
        after: Text that was validated before. A function that keeps something between units gets
            the units of it once more, so that it knows them; it is not judged by them again.
    """

    __slots__ = (
        "count",
        "function",
        "good",
        "is_open",
        "known",
        "requirement",
        "splitter",
        "units",
    )

    def __init__(self, requirement: Requirement, function: Callable[..., Any], after: str) -> None:
        self.requirement = requirement
        self.function = function
        """Of the requirement; the attempt's own from the first unit on."""
        self.splitter = splitter(requirement.unit)
        self.units: asyncio.Queue[str | None] = asyncio.Queue()
        # A unit that is cut by the end of the text goes on with what comes: it is judged then.
        remembers = is_stateful(function)
        self.known = list(self.splitter.feed(after)) if remembers else []
        self.count = 0
        self.good = sum(map(len, self.known)) if remembers else len(after)
        """Characters of the text that are found good, from its beginning on."""
        self.is_open = False
        """Whether a unit was not found good, so that the whole answer has to be judged."""

    def put(self, units: Iterable[str]) -> None:
        for unit in units:
            self.units.put_nowait(unit)

    def note(self, unit: str, verdict: UnitVerdict) -> None:
        self.is_open = self.is_open or not verdict.result
        if not self.is_open:
            self.good += len(unit)


class StreamJudge:
    """Judges one answer while it comes. Lives on the engine.

    Args:
        requirements: All of the call's; those without `stream_validate` find nothing good before
            the end.
        loop: The caller's event loop, for async functions.
        decided: Told of each verdict.
        after: Text that the answer goes on from: it was validated before.
        where: What messages call the answer ("attempt 1").
    """

    def __init__(
        self,
        requirements: Sequence[Requirement],
        loop: asyncio.AbstractEventLoop | None,
        decided: Decided,
        *,
        after: str = "",
        where: str = "",
    ) -> None:
        self._lanes = [
            _Lane(each, each.stream_validate, after)
            for each in requirements
            if each.stream_validate is not None
        ]
        self._all_stream = len(self._lanes) == len(requirements)
        self._start = len(after)
        self._loop = loop
        self._decided = decided
        self._where = where
        self._failure: tuple[Requirement, ValidationResult] | None = None

    @property
    def has_work(self) -> bool:
        """Whether any requirement is judged while the answer streams."""
        return bool(self._lanes)

    @property
    def good(self) -> int:
        """So many characters of the text are validated by all requirements."""
        if not self._all_stream:
            return self._start
        return max(self._start, min((lane.good for lane in self._lanes), default=0))

    @property
    def failure(self) -> tuple[Requirement, ValidationResult] | None:
        """The requirement that a unit did not meet; None while all is well."""
        return self._failure

    @property
    def met(self) -> list[Requirement]:
        """The requirements that every unit met, so that the whole need not be judged by them."""
        return [lane.requirement for lane in self._lanes if not lane.is_open]

    def feed(self, text: str) -> None:
        """Take some of the answer."""
        for lane in self._lanes:
            lane.put(lane.splitter.feed(text))

    def flush(self) -> None:
        """The answer has ended."""
        for lane in self._lanes:
            lane.put(lane.splitter.flush())
            lane.units.put_nowait(None)

    async def run(self) -> None:
        """Judge all units; return at the end of the answer, or when the first one fails.

        Raises:
            ValidatorError: A function raised, or returned no verdict.
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
        if is_stateful(lane.function):
            await self._begin(lane)
        while self._failure is None and (unit := await lane.units.get()) is not None:
            lane.count += 1
            with self._blaming(lane, unit):
                verdict = unit_verdict(await call_user(lane.function, unit, loop=self._loop))
            if verdict.result is False:
                self._failure = self._failure or _failed(lane, unit, verdict)
            lane.note(unit, verdict)
            self._decided(lane.requirement, verdict, unit)

    async def _begin(self, lane: _Lane) -> None:
        """Give the lane a function of its own, which knows the units before."""
        with self._blaming(lane, ""):
            lane.function = await call_user(for_attempt, lane.function, loop=self._loop)
            for unit in lane.known:
                await call_user(lane.function, unit, loop=self._loop)

    @contextmanager
    def _blaming(self, lane: _Lane, unit: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            requirement, function = lane.requirement, lane.requirement.stream_validate
            where = f"{requirement.unit} {lane.count} of {self._where}" if unit else self._where
            raise validator_failed(requirement, function, error, unit, where) from error


def _failed(lane: _Lane, unit: str, verdict: UnitVerdict) -> tuple[Requirement, ValidationResult]:
    found = f"{lane.requirement.unit} {lane.count} ({unit.strip()[:80]!r})"
    reason = f"{found}: {verdict.reason}" if verdict.reason else f"{found} does not"
    return lane.requirement, ValidationResult(False, reason)
