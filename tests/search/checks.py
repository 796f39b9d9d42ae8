"""The conditions that hold for every program after it was played."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from mellea_rx import errors
from tests.search.notebook import Reading, Watcher
from tests.search.plans import Plan
from tests.search.player import Player
from tests.search.programs import Call, Step

__all__ = ["wrong_with"]

_CLOSING = {
    *("GenerationCancelledError", "SessionClosedError", "ConnectionFailedError"),
    *("ValidatorError", "DependencyError", "CallerLoopClosedError"),
}


def wrong_with(player: Player, crossed: list[str]) -> list[str]:
    """All that is wrong with what a program saw.

    Args:
        player: It has been played, and has let go of all.
        crossed: Names of calls that met unasked bytes on their way: they may say anything.
    """
    return [*player.notebook.problems, *_Check(player, crossed).all()]


class _Check:
    def __init__(self, player: Player, crossed: list[str]) -> None:
        self._player = player
        self._program = player.program
        self._crossed = set(crossed)
        self._loose = self._cancelled()

    def all(self) -> Iterator[str]:
        program = self._program
        if self._crossed:
            return
        for number, call in enumerate(program.calls):
            yield from self._ended(number, call)
            mine = [each for each in self._player.notebook.readings if each.call == number]
            for reading in mine:
                yield from self._reading(number, reading)
            yield from self._shared(number, mine)
        for number, watcher in self._player.notebook.watchers:
            yield from self._watched(number, watcher)
        for step, items, end in self._player.combined:
            yield from self._combined(step, items, end)
        for step, mapped, end in self._player.mapped:
            yield from self._mapped(step, mapped, end)
        for number, told in self._player.noted:
            yield from self._noted(number, told)

    # What is allowed.

    def _steps(self) -> Iterator[Step]:
        for actor in self._program.actors:
            yield from actor.steps

    def _cancelled(self) -> set[int]:
        """The calls that something in the program may cancel."""
        loose: set[int] = set()
        for step in self._steps():
            leaves = step.act in {"cancel", "drop"} or step.how in ("with", "cancels")
            if leaves or step.act == "combine" or step.how in ("to_async_iterator", "to_iterator"):
                loose.update(step.calls)
        return loose

    def _text(self, number: int) -> str | None:
        if self._program.backend == "local":  # nobody knows what it says; but it says one thing
            text, error = self._player.values.get(number, ("", "lost"))
            return None if error else text
        return self._program.calls[number].plan.text

    def _allowed(self, number: int) -> set[str]:
        """The names of the errors that a call may end in; "" for none."""
        call = self._program.calls[number]
        kinds: set[Any] = {None} if self._program.backend == "local" else set(call.plan.ends)
        names = {"" if kind is None else kind.__name__ for kind in kinds}
        match call.check:
            case "raises" | "exits":
                names.add("ValidatorError")
            case "never returns":
                names.add("TotalTimeoutError")
        if call.check and self._program.backend != "local" and call.plan.call is None:
            names -= {""} if call.check in ("raises", "exits") else set()
        if number in self._loose:
            names |= {"GenerationCancelledError", ""}
        if call.needs is not None or self._program.is_chat:
            names |= {"DependencyError"}
        if self._player.closes:
            names |= _CLOSING | {""}
        if self._may_meet_closed_ones(call.plan):
            names.add("ConnectionFailedError")
        return names

    def _may_meet_closed_ones(self, plan: Plan) -> bool:
        """Whether each of a call's three tries may meet a connection that closes just then."""
        plans = [call.plan for call in self._program.calls]
        plans += [each for step in self._steps() for each in step.plans]
        closing = [each for each in plans if each.fault in ("bye", "error", "stray")]
        own = plan.fault in ("refuse", "busy")
        return len(closing) + own >= 3

    # What was seen.

    def _ended(self, number: int, call: Call) -> Iterator[str]:
        allowed = self._allowed(number)
        expected = self._text(number)
        started = self._player.starts.get(number)
        if started is not None and started not in allowed | {"BlockingWaitError"}:
            yield f"call {number} failed at its start with {started}; allowed: {sorted(allowed)}"
        if number not in self._player.values:
            return
        text, error = self._player.values[number]
        if error not in allowed:
            yield f"call {number} ended in {error or 'success'}; allowed: {sorted(allowed)}"
        if expected is not None and not _fits(text, expected, whole=not error):
            yield f"call {number} ({error or 'success'}) said {text!r}, not {expected!r}"

    def _reading(self, number: int, reading: Reading) -> Iterator[str]:
        expected = self._text(number)
        allowed = self._allowed(number) | {"ConcurrentReaderError"}
        if reading.how == "wait a moment":
            allowed.add("WaitTimeoutError")
        if not reading.end:
            yield f"call {number}: a reader never ended: {reading}"
        if reading.raised is not None and reading.end not in allowed:
            yield f"call {number}: a reader failed in {reading.end}, allowed: {sorted(allowed)}"
        if reading.raised is not None and not issubclass(reading.raised, errors.MelleaRxError):
            yield f"call {number}: a reader failed outside of the tree: {reading.end}"
        if expected is None:
            return
        if reading.is_whole and reading.end == "ok" and reading.pieces != [expected]:
            yield f"call {number}: {reading.how} gave {reading.pieces}, not {expected!r}"
        own = reading.how in ("to_iterator", "to_async_iterator")
        text = "".join(reading.pieces)
        if own and not _fits(text, expected, whole=reading.end == "ok"):
            yield f"call {number}: {reading.how} gave {text!r} of {expected!r}"
        if reading.text and not _fits(reading.text, expected, whole=False):
            yield f"call {number}: the error's text is {reading.text!r} of {expected!r}"

    def _shared(self, number: int, readings: list[Reading]) -> Iterator[str]:
        """Readers of one call share its pieces: each goes to one of them, and none is lost."""
        expected = self._text(number)
        own = ("to_iterator", "to_async_iterator")
        mine = [each for each in readings if not each.is_whole and each.how not in own]
        if not expected or not mine or self._program.backend == "local":
            return
        pieces = [piece for each in mine for piece in each.pieces if piece]
        parts = [piece for piece in pieces if piece != expected]
        taken: list[tuple[int, int]] = []
        for piece in parts:
            at = expected.find(piece)
            if at < 0:
                yield f"call {number}: a reader got {piece!r}, which is no part of {expected!r}"
                return
            taken.append((at, at + len(piece)))
        taken.sort()
        if any(end > begin for (_, end), (begin, _) in pairwise(taken)):
            yield f"call {number}: readers got a piece twice: {[each.pieces for each in mine]}"
        covered = sum(end - begin for begin, end in taken)
        ended_well = any(each.end == "ok" for each in mine)
        if ended_well and len(pieces) == len(parts) and covered != len(expected):
            yield f"call {number}: readers lost text of {expected!r}: {mine}"

    def _watched(self, number: int, watcher: Watcher) -> Iterator[str]:
        told = f"call {number}: a subscriber ({watcher.kind})"
        for fault in watcher.faults:
            yield f"{told} got {fault}"
        if len(watcher.terminals) > 1:
            yield f"{told} got the terminals {watcher.terminals}"
        if watcher.error is not None and watcher.error.__name__ not in self._allowed(number):
            yield f"{told} got {watcher.error.__name__}"
        expected = self._text(number)
        if expected is None:
            return
        whole = watcher.terminals == ["completed"]
        if not _fits(watcher.text, expected, whole=whole):
            yield f"{told} got {watcher.text!r} of {expected!r}, then {watcher.terminals}"
        ended = self._player.values.get(number)
        if ended is not None and watcher.terminals == ["error"] and watcher.text != ended[0]:
            yield f"{told} got {watcher.text!r}, but what came was {ended[0]!r}"

    def _combined(self, step: Step, items: list[Any], end: str) -> Iterator[str]:
        told = f"{step.how} of calls {step.calls}"
        allowed = {"ok", "left", "NoAnswerError"}.union(*map(self._allowed, step.calls))
        if end not in allowed:
            yield f"{told} ended in {end}"
        if self._program.backend == "local":
            return
        texts = [self._text(number) or "" for number in step.calls]
        if step.how == "zip":
            given = [(index, text, "") for each in items for index, text in enumerate(each)]
        elif step.how == "gather":
            given = [each for item in items for each in item]
        else:
            given = items
        for index, text in enumerate(texts):
            parts = [said for at, said, _ in given if at == index]
            failed = any(error for at, _, error in given if at == index)
            if not _fits("".join(parts), text, whole=False):
                yield f"{told} gave {parts} of source {index}, which said {text!r}"
            everything = step.how in ("merge", "concat", "tee", "zip", "gather", "as_completed")
            if end == "ok" and everything and not failed and "".join(parts) != text:
                yield f"{told} lost text of source {index}: {parts} of {text!r}"

    def _mapped(self, step: Step, items: list[tuple[str, str, str]], end: str) -> Iterator[str]:
        if end not in ("ok", "left") and not self._player.closes:
            yield f"map_generate ended in {end}"
        by_prompt = {plan.prompt: plan for plan in step.plans}
        for prompt, text, error in items:
            yield from self._generated(by_prompt[prompt], text, error)
        prompts = [prompt for prompt, _, _ in items]
        if end == "ok" and sorted(prompts) != sorted(by_prompt):
            yield f"map_generate gave {len(prompts)} of {len(by_prompt)} items"
        if (
            step.how == "in order"
            and prompts != [each.prompt for each in step.plans][: len(prompts)]
        ):
            yield "map_generate gave its items out of order"

    def _generated(self, plan: Plan, text: str, error: str) -> Iterator[str]:
        allowed = {"" if kind is None else kind.__name__ for kind in plan.ends}
        allowed |= {"FirstTokenTimeoutError", "IdleTimeoutError"}  # its limit is short
        if self._program.backend == "local":
            allowed.add("")
        if self._player.closes:
            allowed |= _CLOSING
        if self._may_meet_closed_ones(plan):
            allowed.add("ConnectionFailedError")
        if error not in allowed:
            yield f"map_generate: {plan.name} ended in {error or 'success'}, not {sorted(allowed)}"
        if self._program.backend != "local" and not error and text != plan.text:
            yield f"map_generate: {plan.name} said {text!r}, not {plan.text!r}"

    def _noted(self, number: int, told: list[str]) -> Iterator[str]:
        plan = self._program.calls[number].plan
        pieces = plan.fault == "slow call" and self._program.backend == "openai"
        expected = "x" if pieces else plan.call or ""
        for each in told:
            if not each.startswith(f"noted {expected}"):
                yield f"call {number}: a tool of it was given {each!r}, not {expected!r}"


def _fits(text: str, expected: str, *, whole: bool) -> bool:
    return text == expected if whole else expected.startswith(text)
