"""Fixtures that run every fault with both protocols and over both transports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.trial import BACKENDS, Trial
from tests.support.server_process import ServerProcess
from tests.support.session_loop import SessionLoop

OVER_A_SESSION = "ollama over a session"
"""The protocol that is used with the second transport."""

_NOT_TOLD = "aiohttp tells no reader that what comes is no HTTP, and loses what came with it"
_ON_ITS_LOOP = "a call over a session awaits one thing; `test_at_random_moments` cancels it"
NOT_OVER_A_SESSION = {
    "test_a_bad_chunk_size_is_an_interruption_and_keeps_the_text": _NOT_TOLD,
    "test_a_fault_right_behind_the_head_is_an_interruption": _NOT_TOLD,
    "test_a_length_that_is_too_short_is_an_interruption_and_the_next_call_is_well": _NOT_TOLD,
    "test_a_key_that_a_server_echoes_is_redacted": _NOT_TOLD,
    "test_a_login_in_an_address_is_redacted_as_the_header_that_it_is": _NOT_TOLD,
    "test_what_a_server_tells_of_an_error_is_escaped": _NOT_TOLD,
    "test_every_call_ends_as_its_fault_has_it": _NOT_TOLD,
    "test_a_packed_body_is_refused_by_name": "aiohttp has words of its own for that",
    "test_at_each_step_of_an_http_call": _ON_ITS_LOOP,
    "test_at_each_step_of_a_call_that_goes_wrong": _ON_ITS_LOOP,
    "test_at_each_step_of_a_whole_pipeline": _ON_ITS_LOOP,
    "test_a_kept_connection_that_turns_out_closed_is_replaced_unseen": "these sessions keep none",
}
"""Tests of behaviour that differs over aiohttp."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A trial for each protocol over the library's own connections, and one over an aiohttp
    session."""
    if "trial" in metafunc.fixturenames:
        over = [] if metafunc.function.__name__ in NOT_OVER_A_SESSION else [OVER_A_SESSION]
        metafunc.parametrize("trial", [*BACKENDS, *over], indirect=True)


@pytest.fixture(scope="session")
def sessions() -> Iterator[SessionLoop]:
    """A user's event loop with aiohttp sessions."""
    with SessionLoop() as loop:
        yield loop


@pytest.fixture
def trial(
    request: pytest.FixtureRequest, server: ServerProcess, sessions: SessionLoop
) -> Iterator[Trial]:
    """A client of one of the protocols, and its server."""
    if request.param == OVER_A_SESSION:
        trial = Trial("ollama", server, sessions)
    else:
        trial = Trial(request.param, server)
    yield trial
    trial.close()
