"""Tools for tests of programs that use this library.

Virtual time, marble diagrams, faults, and recordings are exported here; `conformance` contains the
laws that each backend has to follow, and `pytest_plugin` contains fixtures.

    async def main():
        m = MelleaSession(marbles("--a---b|", frame=60).backend())
        ...
    run_virtual(main())          # minutes of virtual time, at once
"""

from __future__ import annotations

from mellea_rx.core.runtime.schedulers import LoopScheduler
from mellea_rx.testing.faults import STALL, breaking, dripping, failing, stalling
from mellea_rx.testing.marbles import Marbles, Mark, draw, marbles
from mellea_rx.testing.probe import Probe, assert_marbles
from mellea_rx.testing.recordings import Recorder, Replay, replay
from mellea_rx.testing.virtual_time import VirtualTime, run_virtual

__all__ = [
    "STALL",
    "LoopScheduler",
    "Marbles",
    "Mark",
    "Probe",
    "Recorder",
    "Replay",
    "VirtualTime",
    "assert_marbles",
    "breaking",
    "draw",
    "dripping",
    "failing",
    "marbles",
    "replay",
    "run_virtual",
    "stalling",
]
