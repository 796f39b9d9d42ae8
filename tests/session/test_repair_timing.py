"""The time that attempts and streaming validation save, with a server in a process of its own."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import pytest

from mellea_rx import MelleaSession, OllamaBackend, OpenAIBackend, wait_for_all_mots
from mellea_rx.stdlib.requirements import check, req, simple_validate
from mellea_rx.stdlib.sampling import RejectionSampling
from tests.core.hand import STREAM, soon
from tests.support.server_process import ServerProcess
from tests.support.timing import assert_in_time

BACKENDS = pytest.mark.parametrize("make", [OllamaBackend, OpenAIBackend], ids=["ollama", "openai"])
CHUNKS = 20
pytestmark = pytest.mark.alone
PACE = 0.05


def script_two_attempts(server: ServerProcess) -> None:
    """Have the server need two attempts for each of five models, from now on."""
    for number in range(5):
        bad, good = (["word "] * (CHUNKS - 1) + [last] for last in ("bad", "good"))
        scripts = [{"chunks": bad, "delay": PACE}, {"chunks": good, "delay": PACE}]
        server.script(f"m{number}", scripts)


@BACKENDS
def test_five_calls_of_two_attempts_each_take_the_time_of_two_attempts(
    make: Any, server: ServerProcess
) -> None:
    good = req("is good", simple_validate(lambda text: text.endswith("good")))

    async def main() -> float:
        script_two_attempts(server)
        sessions = [MelleaSession(make(f"m{n}", base_url=server.url)) for n in range(5)]
        before = time.monotonic()
        thunks = [
            await m.ainstruct("Go.", requirements=[good], strategy=RejectionSampling(3))
            for m in sessions
        ]
        fired = time.monotonic() - before
        assert not any(thunk.is_computed() for thunk in thunks)
        await wait_for_all_mots(thunks)
        ended = time.monotonic() - before
        assert [len(thunk.sampling.attempts) for thunk in thunks] == [2] * 5
        assert all(str(thunk.value).endswith("good") for thunk in thunks)
        for m in sessions:
            m.close()
        return ended if fired < 0.05 else math.inf

    assert_in_time(2 * CHUNKS * PACE * 1.15, lambda: asyncio.run(main()))


SENTENCES = [f"{'This is bad' if n == 3 else f'Sentence {n}'}. " for n in range(1, 51)]


@BACKENDS
@pytest.mark.parametrize("repair", ["restart", "continue"])
def test_a_bad_third_sentence_ends_the_request_before_the_fifth(
    make: Any, repair: Any, server: ServerProcess
) -> None:
    calm = check("nothing bad", stream_validate=lambda sentence: "bad" not in sentence)
    strategy = RejectionSampling(2, repair=repair)

    async def count_sent() -> int:
        """The number of sentences sent before the client closed the connection."""
        server.clear()
        server.script("m", [{"chunks": SENTENCES, "delay": PACE}, {"chunks": [" It is fine."]}])
        with MelleaSession(make("m", base_url=server.url)) as m:
            thunk = await m.ainstruct(
                "Go.", requirements=[calm], strategy=strategy, model_options=STREAM
            )
            pieces = [piece async for piece in thunk.astream()]
            assert await soon(thunk.avalue()) == "".join(pieces)
            kept = "Sentence 1. Sentence 2. " if repair == "continue" else " "
            assert "".join(pieces) == kept + "It is fine."
            first = server.log("m")[0]
            assert first["client_closed"]
            return sum(sent < first["client_closed_at"] for sent in first["chunks"])

    # A process that has to wait for the machine closes it later.
    assert any(asyncio.run(count_sent()) <= 4 for _ in range(5))
