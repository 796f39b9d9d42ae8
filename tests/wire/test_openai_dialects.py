"""The variants of OpenAI's protocol: vLLM, llama.cpp, LM Studio, OpenRouter, Azure, Ollama's
/v1."""

from __future__ import annotations

import pytest

from mellea_rx import Usage
from mellea_rx.errors import GenerationFailedError
from tests.wire.cuts import fed, text_of
from tests.wire.openai_frames import DONE, END, STOP, decoder, delta, event, said


def failure(*frames: bytes) -> tuple[str, str]:
    """The text before a failure within the stream, and the failure's message."""
    one = decoder()
    text = text_of(fed(one, frames))
    assert isinstance(one.error, GenerationFailedError)
    assert not one.done
    return text, str(one.error)


@pytest.mark.parametrize("content", ["", None])
def test_vllm_and_llama_cpp_begin_with_an_empty_delta(content: str | None) -> None:
    first = delta({"role": "assistant", "content": content})
    assert text_of(fed(decoder(), [first + said("a") + END])) == "a"


def test_vllm_sends_an_error_frame_and_then_done() -> None:
    error = event({"error": {"object": "error", "message": "engine died", "code": 500}})
    text, told = failure(said("half"), error + DONE)
    assert text == "half"
    assert "engine died" in told


def test_old_vllm_sends_its_error_at_the_top_level() -> None:
    error = event({"object": "error", "message": "engine died", "type": "X", "code": 500})
    text, told = failure(said("half"), error + DONE)
    assert text == "half"
    assert "engine died" in told


def test_llama_cpp_sends_timings_beside_usage() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 3}
    last = event({"choices": [], "usage": usage, "timings": {"predicted_ms": 1.5}})
    assert fed(decoder(), [said("a") + STOP + last + DONE])[-1].usage == Usage(1, 3)


def test_llama_cpp_sends_an_error_field_of_the_event_stream() -> None:
    error = b'error: {"code": 500, "message": "no slot", "type": "server_error"}\n\n'
    text, told = failure(said("half"), error)
    assert text == "half"
    assert "no slot" in told


def test_lm_studio_sends_a_message_beside_its_error() -> None:
    error = {"error": {"message": "model unloaded"}, "message": "model unloaded"}
    text, told = failure(said("half"), b"event: error\n" + event(error))
    assert text == "half"
    assert "model unloaded" in told


def test_openrouter_sends_comments_while_it_waits() -> None:
    ping = b": OPENROUTER PROCESSING\n\n"
    assert text_of(fed(decoder(), [ping * 3, said("a"), ping, END])) == "a"


def test_openrouter_sends_its_error_with_a_finish_reason() -> None:
    error = delta({"content": ""}, "error", error={"code": 502, "message": "upstream gone"})
    text, told = failure(said("half"), error + DONE)
    assert text == "half"
    assert "upstream gone" in told


def test_an_error_beside_a_choice_without_finish_reason_is_an_error() -> None:
    text, told = failure(said("half"), delta({"content": ""}, error={"message": "upstream"}))
    assert text == "half"
    assert "upstream" in told


def test_azure_begins_with_a_chunk_without_choices() -> None:
    first = event({"choices": [], "prompt_filter_results": [{"prompt_index": 0}], "model": ""})
    chunks = fed(decoder(), [first + said("a") + END])
    assert text_of(chunks) == "a"
    assert chunks[-1].model == "m"


def test_ollamas_v1_hides_an_error_in_an_empty_delta_and_that_is_no_success() -> None:
    one = decoder()
    assert text_of(fed(one, [said("half") + delta({"content": ""})])) == "half"
    assert not one.done


def test_a_usage_field_that_is_null_is_nothing() -> None:
    chunks = fed(decoder(), [delta({"content": "a"}, usage=None) + END])
    assert (text_of(chunks), chunks[-1].usage) == ("a", Usage(5, 2))
