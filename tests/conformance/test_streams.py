"""The laws for streams, checked for every backend."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from mellea_rx import Chunk
from mellea_rx.testing import Probe
from mellea_rx.testing.conformance import LAWS, BackendHarness, Law, request

TIMED = {
    "silence_is_a_timeout_of_its_own_kind",
    "a_timeout_is_for_silence_not_for_the_whole",
}
"""The laws whose limits in time a busy machine may exceed by itself."""


def marked(law: Law) -> Any:
    """A law as a parameter."""
    marks = [pytest.mark.alone] if law.__name__ in TIMED else []
    return pytest.param(law, marks=marks, id=law.__name__)


@pytest.mark.parametrize("law", [marked(law) for law in LAWS])
def test_it_keeps_the_law(law: Law, harness: BackendHarness) -> None:
    law(harness)


def test_it_comes_on_one_thread_which_is_not_the_subscribers(harness: BackendHarness) -> None:
    probe: Probe[Chunk] = Probe()
    probe.to(harness.answering().stream(request(**harness.limit)))
    assert probe.ended.wait(30)
    assert len(probe.threads) == 1
    assert threading.current_thread().name not in probe.threads
