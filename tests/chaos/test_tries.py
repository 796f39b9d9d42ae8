"""Retries, time limits and size limits of requests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from mellea_rx import (
    IdleTimeoutError,
    MelleaSession,
    ModelOption,
    RateLimitError,
    ResponseTooLargeError,
    RetryPolicy,
    ServerError,
    StreamInterruptedError,
    TotalTimeoutError,
)
from mellea_rx.backends import Limits
from tests.chaos.frames import chunked, end, frame, head, said
from tests.chaos.trial import ONCE, WORDS, Trial
from tests.support.server_process import ServerProcess

QUICK = {ModelOption.RETRIES: RetryPolicy(tries=3, initial=0.01, jitter=0)}
CHUNKED = "Transfer-Encoding: chunked"
PASSING = [408, 409, 425, 429, 500, 502, 503, 504]


def call(trial: Trial, limits: Limits | None = None, **options: Any) -> str:
    """The answer of one call, with short pauses between retries."""
    given = {**QUICK, **{ModelOption[name]: value for name, value in options.items()}}
    with MelleaSession(trial.backend(limits=limits), model_options=given) as m:
        value: str = m.instruct("Go.").value or ""
    return value


@pytest.mark.parametrize("status", PASSING)
@pytest.mark.parametrize("headers", [{}, {"Retry-After": "0"}, {"Retry-After": "nonsense"}])
def test_a_status_that_passes_is_asked_until_it_has(
    trial: Trial, status: int, headers: dict[str, str]
) -> None:
    busy = {"status": status, "headers": headers, "body": ""}
    trial.server.script("m", [busy, busy, {"chunks": WORDS}])
    assert call(trial) == "Once upon a time"
    assert len(trial.server.log("m")) == 3


@pytest.mark.parametrize("status", PASSING)
def test_one_that_does_not_pass_is_asked_three_times(trial: Trial, status: int) -> None:
    trial.server.script("m", status=status, body="wait")
    trial.failure(options=QUICK)
    assert len(trial.server.log("m")) == 3


def test_a_pause_that_a_server_asks_for_is_capped(trial: Trial) -> None:
    busy = {"status": 429, "headers": {"Retry-After": "86400"}, "body": ""}
    trial.server.script("m", [busy, {"chunks": WORDS}])
    patience = RetryPolicy(tries=2, initial=0.01, jitter=0, max_retry_after=0.05)
    began = time.monotonic()
    assert call(trial, RETRIES=patience) == "Once upon a time"
    assert time.monotonic() - began < 50


def test_a_budget_bounds_all_tries(trial: Trial) -> None:
    trial.server.script("m", status=429, headers={"Retry-After": "20"}, body="")
    patience = RetryPolicy(tries=9, initial=0.01, budget=0.2)
    assert type(trial.failure(options={ModelOption.RETRIES: patience})) is RateLimitError
    assert len(trial.server.log("m")) == 1


def test_a_kept_connection_that_turns_out_closed_is_replaced_unseen(trial: Trial) -> None:
    # With a Content-Length the answer ends with its last byte, and the connection is reused.
    whole = {"chunks": WORDS, "framing": "length"}
    trial.server.script("m", [whole, {"hang_up": True}, whole])
    with MelleaSession(trial.backend(), model_options=QUICK) as m:
        assert m.instruct("Go.").value == m.instruct("Go.").value == "Once upon a time"
    first, stale, fresh = (entry["connection"] for entry in trial.server.log("m"))
    assert first == stale != fresh


@pytest.mark.parametrize("cut", ["reset_after", "break_after"])
def test_no_second_generation_once_text_has_come(trial: Trial, cut: str) -> None:
    trial.server.script("m", chunks=WORDS, **{cut: 2})
    error = trial.failure(text="Once upon ", options=QUICK)
    assert type(error) is StreamInterruptedError
    assert len(trial.server.log("m")) == 1


@pytest.mark.parametrize("cut", ["reset_after", "break_after", "error_after"])
def test_continue_asks_on_and_the_text_is_right_to_the_byte(trial: Trial, cut: str) -> None:
    broken = {"chunks": WORDS, cut: 2}
    trial.server.script("m", [broken, {"chunks": WORDS[2:]}])
    assert call(trial, ON_INTERRUPT="continue", STREAM=True) == "Once upon a time"
    asked = trial.server.log("m")[1]["body"]["messages"]
    assert (asked[-1]["role"], asked[-1]["content"].rstrip()) == ("assistant", "Once upon")


def test_restart_gives_the_other_answer_whole(trial: Trial) -> None:
    broken = {"chunks": ["Never ", "mind"], "reset_after": 1}
    trial.server.script("m", [broken, {"chunks": WORDS}])
    assert call(trial, ON_INTERRUPT="restart") == "Once upon a time"


@pytest.mark.parametrize("where", ["drip", "pings"])
def test_a_drip_ends_at_the_total_limit(trial: Trial, where: str) -> None:
    if where == "drip":
        body = said(trial.wire, *["x"] * 400)
        trial.server.script("m", raw_lines=[body], split=1, split_delay=0.002)
    else:
        trial.server.script("m", chunks=["x"] * 400, delay=0.02)
    with pytest.raises(TotalTimeoutError, match=r"1\.5 s") as caught:
        call(trial, TOTAL_TIMEOUT=1.5)
    assert set(caught.value.text) == {"x"}
    trial.server.wait_for(lambda: trial.server.connections() == 0)


def test_content_resets_the_limit_on_silence(trial: Trial) -> None:
    trial.server.script("m", chunks=["x"] * 12, delay=0.15)
    assert call(trial, STREAM_TIMEOUT=1.2) == "x" * 12
    trial.server.script("m", chunks=["x"] * 12, stall_after=5)
    error = trial.failure(text="x" * 5, options={ModelOption.STREAM_TIMEOUT: 1.0})
    assert type(error) is IdleTimeoutError


def written_call(*pieces: str, **delta: Any) -> list[bytes]:
    """A tool call in OpenAI's format, with its arguments in these pieces."""
    head = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}
    parts = [{"index": 0, "function": {"arguments": piece}} for piece in pieces]
    return [
        frame("openai", {"choices": [{"index": 0, "delta": {**delta, "tool_calls": [part]}}]})
        for part in (head, *parts)
    ]


ARGUMENTS = ('{"text": "', *["x"] * 12, '"}')
CALLED = (
    frame("openai", {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    + b"data: [DONE]\n\n"
)


@pytest.fixture
def on_openai(server: ServerProcess) -> Iterator[Trial]:
    """The protocol that sends a call's arguments in pieces."""
    trial = Trial("openai", server)
    yield trial
    trial.close()


@pytest.mark.parametrize("said_first", [(), ("Let me see. ",)])
def test_arguments_that_are_being_written_reset_the_limit_on_silence(
    on_openai: Trial, said_first: tuple[str, ...]
) -> None:
    frames = [*(said("openai", text) for text in said_first), *written_call(*ARGUMENTS), CALLED]
    on_openai.server.script("m", wire=[head("openai", CHUNKED), *chunked(*frames, b"")], delay=0.12)
    with MelleaSession(on_openai.backend(), model_options=ONCE) as m:
        thunk = m.instruct("Go.", model_options={ModelOption.STREAM_TIMEOUT: 1.2})
    assert [call.arguments for call in thunk.tool_calls] == [{"text": "x" * 12}]
    assert thunk.text == "".join(said_first)


def test_a_call_that_is_no_longer_written_is_silence_that_began(on_openai: Trial) -> None:
    pieces = [*written_call(*ARGUMENTS[:4]), *[b": ping\n\n"] * 100]
    on_openai.server.script("m", wire=[head("openai", CHUNKED), *chunked(*pieces)], delay=0.02)
    error = on_openai.failure(options={ModelOption.STREAM_TIMEOUT: 1.0})
    assert type(error) is IdleTimeoutError


def test_a_call_that_breaks_off_while_it_is_written_is_asked_for_again(on_openai: Trial) -> None:
    broken = [head("openai", CHUNKED), *chunked(*written_call(*ARGUMENTS[:4]))]
    on_openai.server.script("m", [{"wire": broken}, {"chunks": WORDS}])
    assert call(on_openai) == "".join(WORDS)


def many_arguments(wire: str) -> bytes:
    """A tool call with long arguments."""
    arguments = {"text": "x" * 5000}
    if wire == "ollama":
        function = {"name": "f", "arguments": arguments}
        return frame(wire, {"message": {"content": "", "tool_calls": [{"function": function}]}})
    pieces = [
        {"index": 0, "function": {"name": "f", "arguments": piece}}
        for piece in ('{"text": "', *["x" * 500] * 10, '"}')
    ]
    return b"".join(
        frame(wire, {"choices": [{"delta": {"tool_calls": [piece]}}]}) for piece in pieces
    )


CAPS: dict[str, Limits] = {
    "total": Limits(total=3000),
    "line": Limits(line=2000),
    "tool_arguments": Limits(tool_arguments=2000),
}


@pytest.mark.parametrize("cap", CAPS)
def test_each_cap_says_which_one_it_is(trial: Trial, cap: str) -> None:
    body = {
        "total": said(trial.wire, *["x"] * 200),
        "line": said(trial.wire, "x" * 4000),
        "tool_arguments": many_arguments(trial.wire),
    }[cap]
    trial.server.script("m", raw_lines=[body, end(trial.wire)])
    with pytest.raises(ResponseTooLargeError, match=f"Limits\\({cap}="):
        call(trial, CAPS[cap])
    assert len(trial.server.log("m")) == 1
    trial.server.wait_for(lambda: trial.server.connections() == 0)


def test_a_cut_answer_without_text_is_asked_for_again(trial: Trial) -> None:
    nothing = {"wire": [head(trial.wire, "Connection: close")]}
    trial.server.script("m", [nothing, {"chunks": WORDS}])
    assert call(trial) == "Once upon a time"


def test_a_server_that_is_down_for_good_says_so_after_all_tries(trial: Trial) -> None:
    trial.server.script("m", status=503, body="down")
    error = trial.failure(options=QUICK)
    assert type(error) is ServerError
    assert "down" in str(error)
