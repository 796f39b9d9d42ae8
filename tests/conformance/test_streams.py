"""The promises of every backend's stream: cold, one terminal event, an end that is final."""

from __future__ import annotations

import threading

import pytest

from mellea_rx.core.chunk import Chunk
from mellea_rx.testing import Probe
from mellea_rx.testing.conformance import LAWS, Bench, Law, request


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_it_keeps_the_law(law: Law, bench: Bench) -> None:
    law(bench)


def test_it_comes_on_one_thread_which_is_not_the_subscribers(bench: Bench) -> None:
    probe: Probe[Chunk] = Probe()
    probe.to(bench.answering().stream(request(**bench.limit)))
    assert probe.ended.wait(30)
    assert len(probe.threads) == 1
    assert threading.current_thread().name not in probe.threads
