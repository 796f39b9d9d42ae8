"""A random fault for each request: the right error class, and text correct to the byte."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mellea_rx import MelleaSession
from tests.chaos.cases import WORDS, End, outcome
from tests.chaos.faults import KINDS, Fault, fault_of, may_end_in
from tests.chaos.proxy import ProxyProcess
from tests.chaos.trial import BACKENDS, Trial, engine_tasks, logged
from tests.core.hand import until_blocking


@pytest.mark.parametrize("seed", [1, 2])
def test_every_call_ends_as_its_fault_has_it(trial: Trial, seed: int) -> None:
    cases = range(120)
    trial.server.script("m", chunks=WORDS, delay=0.001)
    tasks = engine_tasks()

    async def main(url: str) -> list[End]:
        with MelleaSession(trial.backend(url)) as m:
            return await asyncio.gather(*(outcome(m, case) for case in cases))

    with ProxyProcess(trial.server.port, seed=seed) as proxy, logged() as lines:
        ends = asyncio.run(main(proxy.url))
    wrong = [end.wrong(seed, case) for case, end in zip(cases, ends, strict=True)]
    assert not list(filter(None, wrong))
    assert sum(end.kind is None for end in ends) > len(cases) / 3
    until_blocking(lambda: trial.server.connections() == 0)
    until_blocking(lambda: engine_tasks() <= tasks)
    assert not [line for line in lines if "never" in line or "unclosed" in line.lower()]


def test_a_case_is_the_same_whenever_it_is_played() -> None:
    drawn = [fault_of(seed, case) for seed in range(5) for case in range(200)]
    assert drawn == [fault_of(seed, case) for seed in range(5) for case in range(200)]
    assert {fault.kind for fault in drawn} == set(KINDS)
    assert all(may_end_in(Fault(kind)) for kind in KINDS)


@pytest.mark.parametrize("wire", BACKENDS)
def test_a_failing_case_can_be_played_again_alone(wire: str, server: Any) -> None:
    trial = Trial(wire, server)
    server.script("m", chunks=WORDS, delay=0.001)
    case = next(n for n in range(1000) if fault_of(7, n).kind == "cut" and fault_of(7, n).at < 200)

    async def main(url: str) -> End:
        with MelleaSession(trial.backend(url)) as m:
            return await outcome(m, case)

    ends = []
    for _ in range(2):
        with ProxyProcess(server.port, seed=7) as proxy:
            ends.append(asyncio.run(main(proxy.url)))
    assert ends[0] == ends[1]
