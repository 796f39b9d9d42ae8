"""The times of calls to a server that sends 20 chunks, 50 ms apart."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mellea_rx import (
    MelleaSession,
    ModelOption,
    ModelOutputThunk,
    OllamaBackend,
    OpenAIBackend,
    wait_for_all_mots,
)
from mellea_rx.stdlib.requirements import req, simple_validate
from tests.core.hand import STREAM, until
from tests.core.python import runs_cleanly
from tests.support.server_process import ServerProcess
from tests.support.timing import assert_in_time

pytestmark = pytest.mark.alone

WORDS = [f"word{n} " for n in range(20)]
WHOLE = "".join(WORDS)
PACE = 0.05


@pytest.fixture(params=[OllamaBackend, OpenAIBackend], ids=["ollama", "openai"])
def m(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[MelleaSession]:
    """A session on the server, which was used before."""
    server.script("m", [{"chunks": ["warm"]}, {"chunks": WORDS, "delay": PACE}])
    with MelleaSession(request.param("m", base_url=server.url)) as session:
        session.instruct("Go.", requirements=[req("x", simple_validate(bool))])
        yield session


CHECKED = {"requirements": [req("long", simple_validate(lambda text: len(text) > 10))]}


@pytest.mark.parametrize("how", [{}, CHECKED], ids=["plain", "with requirements"])
def test_three_calls_fire_at_once_and_end_together(m: MelleaSession, how: dict[str, Any]) -> None:
    async def main() -> float:
        before = time.monotonic()
        thunks = [await m.ainstruct(f"A poem, number {n}.", **how) for n in range(3)]
        fired = time.monotonic() - before
        assert not any(thunk.is_computed() for thunk in thunks)
        await wait_for_all_mots(thunks)
        ended = time.monotonic() - before
        assert [thunk.value for thunk in thunks] == [WHOLE] * 3
        return ended if fired < 0.05 else math.inf

    assert_in_time(1.2, lambda: asyncio.run(main()))


def test_the_first_text_comes_with_the_first_chunk(m: MelleaSession, server: ServerProcess) -> None:
    async def once() -> float:
        thunk = await m.ainstruct("Go.", model_options=STREAM)
        assert await thunk.astream() == WORDS[0]
        seen = time.monotonic()
        thunk.cancel()
        sent: float = server.log("m")[-1]["chunks"][0]
        return seen - sent

    # The server writes its clock after it wrote the chunk; one clock for all processes here.
    assert_in_time(0.02, lambda: asyncio.run(once()))


async def page_loop(mot: ModelOutputThunk[str]) -> list[str]:
    pieces = []
    while not mot.is_computed():
        pieces.append(await mot.astream())
    return pieces


def test_the_pages_loop_sees_at_least_18_pieces(m: MelleaSession) -> None:
    async def count_pieces() -> int:
        mot = await m.ainstruct("A story.", model_options={ModelOption.STREAM: True})
        pieces = await page_loop(mot)
        assert "".join(pieces) == WHOLE
        return len(pieces)

    # A process that has to wait for the machine gets what came meanwhile in one piece.
    assert any(asyncio.run(count_pieces()) >= 18 for _ in range(3))


def test_the_pages_loop_gets_the_whole_when_it_starts_after_the_end(m: MelleaSession) -> None:
    async def main() -> None:
        mot = await m.ainstruct("A story.", model_options={ModelOption.STREAM: True})
        await until(lambda: mot.finish_reason)
        assert "".join(await page_loop(mot)) == WHOLE

    asyncio.run(main())


def test_fifty_streams_at_once_take_no_longer_than_one(m: MelleaSession) -> None:
    async def fifty() -> float:
        before = time.monotonic()
        thunks = [await m.ainstruct(f"{n}", model_options=STREAM) for n in range(50)]
        texts = await asyncio.gather(*(page_loop(thunk) for thunk in thunks))
        assert ["".join(pieces) for pieces in texts] == [WHOLE] * 50
        return time.monotonic() - before

    assert_in_time(1.6, lambda: asyncio.run(fifty()))


def test_the_first_three_calls_of_a_process_fire_in_under_50_ms_too(server: ServerProcess) -> None:
    server.script("m", chunks=["a"], delay=0.5)
    code = """
import asyncio, sys, time
import mellea_rx

async def main():
    m = mellea_rx.start_session("ollama", "m", base_url=sys.argv[1])
    before = time.monotonic()
    thunks = [await m.ainstruct(f"A poem, number {n}.") for n in range(3)]
    print(time.monotonic() - before)
    assert not any(thunk.is_computed() for thunk in thunks)
    await mellea_rx.wait_for_all_mots(thunks)

asyncio.run(main())
"""
    assert_in_time(0.05, lambda: float(runs_cleanly(code, server.url)))
