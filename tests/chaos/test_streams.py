"""Answers that violate the protocol, report an error, or end in unusual ways."""

from __future__ import annotations

from typing import Any

import pytest

from mellea_rx import (
    AuthenticationError,
    BackendError,
    BadRequestError,
    GenerationFailedError,
    ModelNotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
)
from tests.chaos.frames import chunked, end, frame, head, said
from tests.chaos.trial import Trial
from tests.support.server_process import ServerProcess

NONSENSE = {
    "HTML": "<!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>\n",
    "a list": "[]\n",
    "NaN": '{"message": NaN}\n',
    "a huge number": '{"eval_count": ' + "9" * 5000 + "}\n",
    "deep nesting": "[" * 100_000 + "\n",
    "text": "Hello there, how can I help you?\n",
    "bytes": b"\xff\xfe\x00\x01\n",
    "half an object": '{"message": {"content": "x\n',
    "a number": "5\n",
    "wrong types": '{"message": 5, "choices": "none"}\n',
}


@pytest.mark.parametrize("what", NONSENSE)
@pytest.mark.parametrize("framed", [False, True])
def test_a_200_that_is_not_the_protocol_is_never_a_success(
    trial: Trial, what: str, framed: bool
) -> None:
    body = NONSENSE[what]
    raw = body if isinstance(body, bytes) else body.encode()
    trial.server.script("m", body=b"data: " + raw + b"\n" if framed else raw)
    error = trial.failure()
    assert isinstance(error, (ProtocolError, StreamInterruptedError))
    assert len(str(error)) < 600


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_after_text_keeps_the_text(trial: Trial, what: str) -> None:
    body = NONSENSE[what]
    raw = body if isinstance(body, bytes) else body.encode()
    bad = raw if trial.wire == "ollama" else b"data: " + raw + b"\n"
    trial.server.script("m", raw_lines=[said(trial.wire, "Once ", "upon "), bad])
    error = trial.failure(text="Once upon ")
    # A field that is not read may have any value.
    ignored = (trial.wire, what) == ("openai", "a huge number")
    assert type(error) is (StreamInterruptedError if ignored else ProtocolError)


ERRORS: dict[str, dict[str, list[Any]]] = {
    "ollama": {
        "a line": [{"error": "the runner died"}],
        "a line with an object": [{"error": {"message": "the runner died"}}],
        "a line beside a message": [{"message": {"content": ""}, "error": "the runner died"}],
    },
    "openai": {
        "vLLM": [{"error": {"object": "error", "message": "the runner died", "code": 500}}],
        "vLLM before 0.10.1": [{"object": "error", "message": "the runner died", "code": 500}],
        "LM Studio": [{"error": {"message": "the runner died"}, "message": "the runner died"}],
        "OpenRouter": [
            {
                "choices": [{"delta": {"content": ""}, "finish_reason": "error"}],
                "error": {"code": 502, "message": "the runner died"},
            }
        ],
        "a text": [{"error": "the runner died"}],
    },
}


@pytest.mark.parametrize(
    ("wire", "server_kind"), [(wire, kind) for wire in ERRORS for kind in ERRORS[wire]]
)
@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("ends_well", [False, True])
def test_an_error_frame_of_every_dialect_ends_it_and_keeps_the_text(
    server: ServerProcess, wire: str, server_kind: str, after: int, ends_well: bool
) -> None:
    frames = [frame(wire, each) for each in ERRORS[wire][server_kind]]
    lines = [*[said(wire, "Once ")] * after, *frames, *([end(wire)] if ends_well else [])]
    server.script("m", raw_lines=lines)
    error = Trial(wire, server).failure(text="Once " * after)
    assert type(error) is GenerationFailedError
    assert "the runner died" in str(error)


def test_the_error_field_of_llama_cpp_ends_it_too(server: ServerProcess) -> None:
    field = b'error: {"code": 500, "message": "no slot", "type": "server_error"}\n\n'
    server.script("m", raw_lines=[said("openai", "Once "), field])
    error = Trial("openai", server).failure(text="Once ")
    assert type(error) is GenerationFailedError
    assert "no slot" in str(error)


def test_ollamas_v1_hides_an_error_in_an_empty_delta_and_it_is_none(
    server: ServerProcess,
) -> None:
    server.script("m", raw_lines=[said("openai", "Once ", "")])
    assert type(Trial("openai", server).failure(text="Once ")) is StreamInterruptedError


@pytest.mark.parametrize("size", [100_000, 10_000_000])
def test_the_words_of_an_error_frame_are_capped(trial: Trial, size: int) -> None:
    trial.server.script("m", raw_lines=[frame(trial.wire, {"error": "x" * size})])
    assert len(str(trial.failure())) < 3000


@pytest.mark.parametrize("error", [None, [], {}, 5, True, "", {"message": None}, [[[]]]])
def test_an_error_frame_of_any_shape_is_an_error(trial: Trial, error: Any) -> None:
    trial.server.script("m", raw_lines=[frame(trial.wire, {"error": error})])
    assert isinstance(trial.failure(), BackendError)


def test_an_error_frame_of_deep_nesting_is_an_error(trial: Trial) -> None:
    for depth in (300, 900, 2000, 50_000):
        deep = b'{"error": ' + b"[" * depth + b"]" * depth + b"}"
        line = deep + b"\n" if trial.wire == "ollama" else b"data: " + deep + b"\n\n"
        trial.server.script("m", raw_lines=[line])
        assert isinstance(trial.failure(), BackendError)


@pytest.mark.parametrize("more", ["the end again", "text", "an error", "nonsense", "a flood"])
def test_what_comes_after_the_end_is_ignored(trial: Trial, more: str) -> None:
    wire = trial.wire
    after = {
        "the end again": [end(wire)] * 3,
        "text": [said(wire, "more")],
        "an error": [frame(wire, {"error": "late"})],
        "nonsense": [b"<html>\n\n"],
        "a flood": [said(wire, "more " * 100)] * 5000,
    }[more]
    trial.server.script("m", [{"raw_lines": [said(wire, "Once "), end(wire), *after]}, {}])
    assert trial.value() == "Once "
    assert trial.value() == "ok"


def test_an_end_that_is_never_closed_ends_the_answer_all_the_same(trial: Trial) -> None:
    body = chunked(said(trial.wire, "Once "), end(trial.wire))
    wire = [head(trial.wire, "Transfer-Encoding: chunked"), *body]
    trial.server.script("m", wire=wire, stall_after=3)
    assert trial.value() == "Once "
    trial.server.wait_for(lambda: trial.server.connections() == 0)


def test_no_end_is_an_interruption(trial: Trial) -> None:
    trial.server.script("m", chunks=["Once "], omit_done=True)
    assert type(trial.failure(text="Once ")) is StreamInterruptedError


def test_a_done_without_a_reason_is_no_end_for_openai(server: ServerProcess) -> None:
    server.script("m", raw_lines=[said("openai", "Once "), b"data: [DONE]\n\n"])
    assert type(Trial("openai", server).failure(text="Once ")) is StreamInterruptedError


KINDS = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: ModelNotFoundError,
    405: BadRequestError,
    410: BadRequestError,
    413: BadRequestError,
    418: BadRequestError,
    422: BadRequestError,
    451: BadRequestError,
    501: ServerError,
    505: ServerError,
    511: ServerError,
}


@pytest.mark.parametrize("status", KINDS)
@pytest.mark.parametrize("body", ["", "not allowed", {"error": {"message": "not allowed"}}])
def test_a_status_that_cannot_change_is_typed_and_asked_once(
    trial: Trial, status: int, body: Any
) -> None:
    trial.server.script("m", status=status, body=body)
    error = trial.failure()
    assert type(error) is KINDS[status]
    assert ("not allowed" in str(error)) == bool(body)
    assert len(trial.server.log("m")) == 1


@pytest.mark.parametrize("status", [201, 202, 203, 204, 205, 206, 299])
def test_another_success_is_no_answer(trial: Trial, status: int) -> None:
    body = said(trial.wire, "Once ") + end(trial.wire)
    trial.server.script("m", status=status, body="" if status in (204, 205) else body)
    error = trial.failure()
    assert type(error) is ProtocolError
    assert str(status) in str(error)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_status_that_may_pass_is_typed(trial: Trial, status: int) -> None:
    trial.server.script("m", status=status, headers={"Retry-After": "0"}, body="wait")
    error = trial.failure()
    assert type(error) is (RateLimitError if status == 429 else ServerError)
