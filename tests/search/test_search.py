"""The search finds nothing, and would find something if it were there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.search.plans import FATAL, HARMLESS, Plan, plan_in
from tests.search.programs import BACKENDS, Actor, Call, Program, Step, draw_program
from tests.search.searcher import Searcher
from tests.support.server_process import ROOT

NOTHING: frozenset[str] = frozenset()


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(400)
@pytest.mark.parametrize("backend", BACKENDS)
def test_random_programs_keep_every_promise(backend: str) -> None:
    command = [sys.executable, "-m", "tests.search", "--seconds", "30", "--seed", "7"]
    command += ["--backend", backend]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=380, check=False
    )
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    assert "0 wrong" in ran.stdout


def test_a_program_is_the_same_whenever_it_is_drawn() -> None:
    drawn = [draw_program(7, number, BACKENDS, NOTHING) for number in range(300)]
    assert drawn == [draw_program(7, number, BACKENDS, NOTHING) for number in range(300)]
    assert {program.backend for program in drawn} == set(BACKENDS)
    faults = {call.plan.fault for program in drawn for call in program.calls}
    assert faults == {"", *HARMLESS, *FATAL}


def test_a_plan_travels_in_its_prompt() -> None:
    for number in range(300):
        for call in draw_program(8, number, BACKENDS, NOTHING).calls:
            assert plan_in(f"Before it. {call.plan.prompt} And after it: {{}}") == call.plan


def test_some_of_the_steps_can_be_played_alone() -> None:
    steps = tuple(Step("pause", pause=float(number)) for number in range(3))
    actors = (Actor("thread", steps), Actor("asyncio", steps, frozenset({0, 2})))
    kept = Program(1, 2, "scripted", (), actors).keep((1, 3, 5))
    assert [[step.pause for step in actor.steps] for actor in kept.actors] == [[1.0], [0.0, 2.0]]
    assert kept.actors[1].ahead == {0, 1}


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searcher]:
    with Searcher(tmp_path_factory.mktemp("search"), patience=60) as searcher:
        yield searcher


def program(*steps: Step, plan: Plan, **how: Any) -> Program:
    """A program of one call, which a thread without an event loop starts and then works on."""
    actor = Actor("thread", (Step("start", (0,)), *steps))
    return Program(0, 1, "scripted", (Call(plan, **how),), (actor,))


def test_a_program_without_a_fault_is_right(searcher: Searcher) -> None:
    steps = [Step("read", (0,), "stream"), Step("subscribe", (0,), "plain")]
    assert searcher.wrong_with(program(*steps, plan=Plan("a"))) == []


def test_a_lost_word_is_found(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = searcher._scripted
    monkeypatch.setattr(searcher, "_scripted", lambda request: scripted(request)[:-1])
    steps = [Step("read", (0,), "stream"), Step("subscribe", (0,), "plain")]
    wrong = searcher.wrong_with(program(*steps, plan=Plan("a")))
    assert any("said" in each for each in wrong)
    assert any("readers lost text" in each for each in wrong)
    assert any("a subscriber (plain) got" in each for each in wrong)


def test_an_end_that_is_not_allowed_is_found(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searcher, "_scripted", lambda _: RuntimeError("unforeseen"))
    wrong = searcher.wrong_with(program(plan=Plan("a")))
    assert wrong == ["call 0 ended in UnexpectedError; allowed: ['']"]


def test_what_is_left_behind_is_found(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    finish = "tests.search.player.Player.finish"
    monkeypatch.setattr("tests.search.aftermath.PATIENCE", 0.05)
    monkeypatch.setattr(finish, lambda player: kept.extend(player.thunks.values()))
    wrong = searcher.wrong_with(program(plan=Plan("a", words=2)))
    kept.clear()
    assert any("thunks that nobody holds" in each for each in wrong)
