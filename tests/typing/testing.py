"""Typed use of the testing kit: checked by mypy --strict and pyright, never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from reactivex import Observable, abc

from mellea_rx import Chunk, MelleaSession, ScriptedBackend
from mellea_rx.backends import Backend, Pause
from mellea_rx.backends.scripted import Answer
from mellea_rx.testing import (
    STALL,
    LoopScheduler,
    Marbles,
    Probe,
    Recorder,
    VirtualTime,
    assert_marbles,
    breaking,
    dripping,
    failing,
    marbles,
    replay,
    run_virtual,
    stalling,
)
from mellea_rx.testing.conformance import LAWS, BackendHarness, check_backend


async def answer() -> int:
    return 42


def time() -> None:
    assert_type(run_virtual(answer()), int)
    assert_type(run_virtual(answer(), limit=3600, patience=1.5), int)
    with VirtualTime(limit=3600) as virtual:
        assert_type(virtual, VirtualTime)
        assert_type(virtual.run(answer()), int)
        assert_type(virtual.now, float)
        scheduler: abc.SchedulerBase = virtual.scheduler
        assert_type(virtual.scheduler, LoopScheduler)
        marbles("-a|").cold(scheduler)


async def diagrams(source: Observable[Chunk]) -> None:
    written = marbles("-a-b|", {"a": "Once ", "b": Chunk("upon")}, frame=0.5)
    assert_type(written, Marbles)
    assert_type(written.backend(delay=1), ScriptedBackend)
    assert_type(written.cold(), Observable[Chunk])
    assert_type(written.hot(), Observable[Chunk])
    ScriptedBackend(written, "and then")
    await assert_marbles(source, written)
    await assert_marbles(source, "-a-#", {"a": "Once "}, frame=0.5, error=ValueError)
    probe: Probe[Chunk] = Probe()
    probe.to(source).dispose()
    await probe.end(5)
    assert_type(probe.items, list[Chunk])
    assert_type(probe.text, str)
    assert_type(probe.marbles(frame=2), Marbles)
    probe.assert_marbles("-a-b|")


def faults() -> None:
    assert_type(STALL, Pause)
    made: list[Answer] = [
        ["a", STALL],
        stalling("a b", after=1),
        failing(["a", Chunk("b")], after=1, error=lambda: ValueError("no")),
        breaking(lambda request: request.messages[-1].content, after=0),
        dripping(stalling("a b", after=1), every=0.5),
    ]
    ScriptedBackend(*made)


def recordings(path: Path, backend: Backend) -> None:
    recorder: Backend = Recorder(backend, path)
    player: Backend = replay("run.jsonl", speed=0)
    MelleaSession(recorder)
    MelleaSession(player)


class GreeterHarness(BackendHarness):
    speaks = ["Hello, ", "you."]  # noqa: RUF012

    def answering(self) -> Backend:
        return ScriptedBackend(["Hello, ", "you."])


def laws() -> None:
    check_backend(GreeterHarness())
    for law in LAWS:
        assert_type(law(GreeterHarness()), None)
