"""Decides requirements unit by unit while the answer streams. Attempts use it.

Each requirement with a `unit_function` has its own lane: its splitter, its units in order, and the
length of the text that passed. The text is validated as far as all lanes are, and one failed unit
ends the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mellea_rx.core.runtime.user_functions import call_user_function
from mellea_rx.core.text.splitting import splitter
from mellea_rx.core.types.requirement import Requirement, UnitVerdict, ValidationResult
from mellea_rx.stdlib.requirements.factories import validator_failed
from mellea_rx.stdlib.requirements.per_attempt import for_attempt, is_stateful

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
    """The validation of a text by one requirement.

    Args:
        requirement: A requirement with a `unit_function`.
        function: Its function.
        after: Text that was validated before. A function with state gets its units once more, to
            restore the state; their verdicts are ignored.
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
        """The requirement's function; from the first unit on, the attempt's own copy."""
        self.splitter = splitter(requirement.unit)
        self.units: asyncio.Queue[str | None] = asyncio.Queue()
        # An incomplete unit at the end of `after` is judged when the following text completes it.
        remembers = is_stateful(function)
        self.known = list(self.splitter.feed(after)) if remembers else []
        self.count = 0
        self.good = sum(map(len, self.known)) if remembers else len(after)
        """The number of characters, from the beginning of the text, that passed."""
        self.is_open = False
        """Whether a unit did not pass, so that the whole answer has to be judged."""

    def put(self, units: Iterable[str]) -> None:
        for unit in units:
            self.units.put_nowait(unit)

    def note(self, unit: str, verdict: UnitVerdict) -> None:
        self.is_open = self.is_open or not verdict.result
        if not self.is_open:
            self.good += len(unit)


class StreamJudge:
    """Judges one answer while it streams. Used on the engine only.

    Args:
        requirements: All requirements of the call; where one has no `unit_function`, no text is
            validated before the end.
        loop: The caller's event loop, for async functions.
        decided: Called with each verdict.
        after: Text that the answer goes on from, which was validated before.
        where: The name of the answer in messages ("attempt 1").
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
            _Lane(each, function, after)
            for each in requirements
            if (function := each.unit_function) is not None
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
        """The number of characters that all requirements have validated."""
        if not self._all_stream:
            return self._start
        return max(self._start, min((lane.good for lane in self._lanes), default=0))

    @property
    def failure(self) -> tuple[Requirement, ValidationResult] | None:
        """The requirement that a unit did not meet; None while there is none."""
        return self._failure

    @property
    def met(self) -> list[Requirement]:
        """The requirements that every unit met: the whole answer need not be judged by them."""
        return [lane.requirement for lane in self._lanes if not lane.is_open]

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
                verdict = unit_verdict(
                    await call_user_function(lane.function, unit, loop=self._loop)
                )
            if verdict.result is False:
                self._failure = self._failure or _failed(lane, unit, verdict)
            lane.note(unit, verdict)
            self._decided(lane.requirement, verdict, unit)

    async def _begin(self, lane: _Lane) -> None:
        """Give the lane its own copy of the function, with the state of the units before."""
        with self._blaming(lane, ""):
            lane.function = await call_user_function(for_attempt, lane.function, loop=self._loop)
            for unit in lane.known:
                await call_user_function(lane.function, unit, loop=self._loop)

    @contextmanager
    def _blaming(self, lane: _Lane, unit: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            requirement, function = lane.requirement, lane.requirement.unit_function
            where = f"{requirement.unit} {lane.count} of {self._where}" if unit else self._where
            raise validator_failed(requirement, function, error, unit, where) from error


def _failed(lane: _Lane, unit: str, verdict: UnitVerdict) -> tuple[Requirement, ValidationResult]:
    found = f"{lane.requirement.unit} {lane.count} ({unit.strip()[:80]!r})"
    reason = f"{found}: {verdict.reason}" if verdict.reason else f"{found} does not"
    return lane.requirement, ValidationResult(False, reason)
