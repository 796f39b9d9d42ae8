"""Any bytes, divided anywhere: chunks, or one typed error, in linear time."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellea_rx.backends.ollama import OllamaDecoder
from mellea_rx.backends.openai_stream import OpenAIDecoder
from mellea_rx.wire.redaction import Redactor
from tests.core.python import ROOT
from tests.fuzz.targets import SEEDS, TARGETS
from tests.operators.linear import assert_linear

FRAGMENTS = sorted(
    {
        *(part for seed in SEEDS for part in re.split(rb"([\s,:{}\[\]]+)", seed[8:]) if part),
        *(b"\n", b"\r", b"\n\n", b"data: ", b"[DONE]", b"\xef\xbb\xbf", b"\xff", b"\\ud83d"),
        *(b"[" * 200, b"9" * 400, b"\x00", b'"', b"\\", "\u2028".encode(), b"null", b"NaN"),
    }
)

payloads = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from(FRAGMENTS), max_size=40).map(b"".join),
    st.sampled_from([seed[8:] for seed in SEEDS]).flatmap(
        lambda whole: st.integers(0, len(whole)).map(lambda at: whole[:at] + whole)
    ),
)


@pytest.mark.parametrize("target", TARGETS)
@settings(deadline=None, max_examples=150)
@given(payload=payloads, places=st.binary(min_size=8, max_size=8))
def test_any_bytes_keep_every_promise(target: str, payload: bytes, places: bytes) -> None:
    TARGETS[target](places + payload)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_every_prefix_of_a_good_answer_keeps_them_too(target: str, seed: int) -> None:
    whole = SEEDS[seed]
    for end in range(len(whole) + 1):
        TARGETS[target](whole[:end])


@pytest.mark.slow
def test_a_short_search_finds_nothing() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--runs", "3000", "--seconds", "20"]
    ran = subprocess.run(
        [*command, "--seed", "7"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    assert re.search(r"Done \d+ runs|number_of_executed_units", ran.stderr)


def call(index: int) -> bytes:
    delta = f'{{"tool_calls": [{{"index": {index}, "function": {{"arguments": "1"}}}}]}}'
    return f'data: {{"choices": [{{"delta": {delta}}}]}}\n\n'.encode()


STREAMS: dict[str, tuple[Callable[[], Any], Callable[[int], bytes]]] = {
    "one long line": (lambda: OllamaDecoder("s"), lambda size: b"x" * size),
    "many empty lines": (lambda: OllamaDecoder("s"), lambda size: b"\n" * size),
    "many small lines": (
        lambda: OllamaDecoder("s"),
        lambda size: b'{"done":false}\n' * (size // 15),
    ),
    "one event of many lines": (
        lambda: OpenAIDecoder("s"),
        lambda size: b"data: x\n" * (size // 8),
    ),
    "no events": (lambda: OpenAIDecoder("s"), lambda size: b"<p>\n" * (size // 4)),
    "line ends": (lambda: OpenAIDecoder("s"), lambda size: b"\r" * size),
    "many tool calls": (
        lambda: OpenAIDecoder("s"),
        lambda size: b"".join(call(index) for index in range(size // 60)),
    ),
    "one call again and again": (
        lambda: OpenAIDecoder("s"),
        lambda size: b"".join(call(index % 50) for index in range(size // 60)),
    ),
}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("block", [1, 1000])
def test_time_is_linear_whatever_comes(stream: str, block: int) -> None:
    make, data = STREAMS[stream]

    def work(size: int) -> Callable[[], None]:
        payload = data(size * (4 if block > 1 else 1))
        blocks = [payload[at : at + block] for at in range(0, len(payload), block)]
        decoder = make()

        def run() -> None:
            for each in blocks:
                decoder.feed(each)
                if decoder.error is not None:
                    break
            decoder.flush()

        return run

    assert_linear(work)


def test_redacting_takes_linear_time() -> None:
    redact = Redactor(["a" * 40 + "b"])
    assert_linear(lambda size: lambda: redact("a" * size) and None)
