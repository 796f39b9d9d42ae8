"""The times of released text and of the request's end, with a server in a process of its own."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import Any

import pytest

from mellea_rx import MelleaSession, OllamaBackend, OpenAIBackend, Retracted, RetractedError
from mellea_rx.stdlib.requirements import check
from mellea_rx.stdlib.sampling import OnReject, RejectionSampling, Release
from tests.core.hand import STREAM, soon
from tests.support.server_process import ServerProcess
from tests.support.timing import assert_in_time

BACKENDS = pytest.mark.parametrize("make", [OllamaBackend, OpenAIBackend], ids=["ollama", "openai"])
pytestmark = pytest.mark.alone

PACE = 0.1
SENTENCES = [f"{'This is bad' if n == 5 else f'Sentence {n}'}. " for n in range(1, 11)]
REPAIRED = ["All ", "is ", "well."]
CALM = check("nothing bad", stream_validate=lambda sentence: "bad" not in sentence)


@dataclass
class Times:
    """The times of one call, in seconds of the system's clock.

    Attributes:
        first_piece: The time at which the reader had sentence 1.
        server: The log of the rejected request: when each sentence was sent, and its end.
        items: The items that the reader got.
        value: The thunk's value.
    """

    first_piece: float
    server: dict[str, Any]
    items: list[Any]
    value: str

    @property
    def first_delay(self) -> float:
        """From the end of sentence 1, which the beginning of sentence 2 proves, to the reader."""
        return self.first_piece - self.server["chunks"][1]

    @property
    def close_delay(self) -> float:
        """From the end of the sentence that fails to the end of the request on the server."""
        return float(self.server["client_closed_at"] - self.server["chunks"][5])


async def call(
    make: Any, server: ServerProcess, release: Release, on_reject: OnReject, name: str = "m"
) -> Times:
    going_on = on_reject == "continue"
    repaired = [" ", *REPAIRED] if going_on else REPAIRED
    server.script(name, [{"chunks": SENTENCES, "delay": PACE}, {"chunks": repaired}])
    strategy = RejectionSampling(2, release=release, on_reject=on_reject)
    async with MelleaSession(make(name, base_url=server.url)) as m:
        thunk = await m.ainstruct(
            "Go.", requirements=[CALM], strategy=strategy, model_options=STREAM
        )
        items: list[Any] = []
        first = math.inf
        async for item in thunk.astream(retractions=True):
            first = min(first, time.monotonic())
            items.append(item)
        value = await soon(thunk.avalue())
        entry = server.wait_for(lambda: server.log(name)[0].get("client_closed_at"))
        assert entry
        return Times(first, server.log(name)[0], items, value)


async def read_into(pieces: list[str], thunk: Any) -> None:
    async for piece in thunk.astream():
        pieces.append(piece)  # noqa: PERF401  those before an error count


def stands(items: list[Any]) -> str:
    text = ""
    for item in items:
        text = text[: -item.characters] if isinstance(item, Retracted) else text + item
    return text


@BACKENDS
@pytest.mark.parametrize("on_reject", ["fail", "marker", "continue"])
def test_validated_text_is_read_within_20_ms_and_the_request_ends_within_50(
    make: Any, on_reject: OnReject, server: ServerProcess
) -> None:
    def measure() -> float:
        server.clear()
        times = asyncio.run(call(make, server, "validated", on_reject))
        assert stands(times.items) == times.value
        assert "bad" not in "".join(each for each in times.items if isinstance(each, str))
        begins = "".join(SENTENCES[:4]) if on_reject == "continue" else ""
        assert times.value == begins + "".join(REPAIRED)
        assert len(times.server["chunks"]) <= 7
        return max(times.first_delay / 0.020, times.close_delay / 0.050)

    assert_in_time(1.0, measure)


@BACKENDS
def test_two_at_once_each_get_their_own_text(make: Any, server: ServerProcess) -> None:
    async def main() -> list[Times]:
        return await asyncio.gather(
            call(make, server, "validated", "marker", "a"),
            call(make, server, "live", "marker", "b"),
        )

    server.clear()
    for times in asyncio.run(main()):
        assert stands(times.items) == times.value == "".join(REPAIRED)


@BACKENDS
@pytest.mark.parametrize("release", ["validated", "live"])
def test_a_plain_reader_fails_when_its_text_is_rejected_and_the_value_is_repaired(
    make: Any, release: Release, server: ServerProcess
) -> None:
    async def main() -> None:
        server.clear()
        server.script("m", [{"chunks": SENTENCES, "delay": 0.02}, {"chunks": REPAIRED}])
        async with MelleaSession(make("m", base_url=server.url)) as m:
            thunk = await m.ainstruct("Go.", requirements=[CALM], release=release, stream=True)
            pieces: list[str] = []
            with pytest.raises(RetractedError, match="nothing bad") as caught:
                await read_into(pieces, thunk)
            assert pieces
            assert caught.value.text.startswith("".join(pieces))
            assert await soon(thunk.avalue()) == "".join(REPAIRED)
            assert [piece async for piece in thunk.astream()] == ["".join(REPAIRED)]

    asyncio.run(main())
