"""The laws for streams, checked for every backend."""

from __future__ import annotations

import threading

import pytest

from mellea_rx.core.chunk import Chunk
from mellea_rx.testing import Probe
from mellea_rx.testing.conformance import LAWS, BackendHarness, Law, request


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_it_keeps_the_law(law: Law, harness: BackendHarness) -> None:
    law(harness)


def test_it_comes_on_one_thread_which_is_not_the_subscribers(harness: BackendHarness) -> None:
    probe: Probe[Chunk] = Probe()
    probe.to(harness.answering().stream(request(**harness.limit)))
    assert probe.ended.wait(30)
    assert len(probe.threads) == 1
    assert threading.current_thread().name not in probe.threads
