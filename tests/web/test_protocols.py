"""The bytes of each protocol: their order, and the same answer however it is cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from ag_ui.core import Event as AgUiEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from reactivex import operators as ops

from mellea_rx import (
    Chunk,
    GenerationFailedError,
    MelleaSession,
    ScriptedBackend,
    ToolCall,
    Usage,
    tool,
)
from mellea_rx.stdlib.react import areact
from mellea_rx.stdlib.requirements import check
from mellea_rx.testing import run_virtual
from mellea_rx.web import ByteStream, ag_ui, ndjson, sse, ui_message_stream
from tests.core.hand import STREAM

calm = check("No shouting.", stream_validate=lambda sentence: "!" not in sentence)
ONE_CALL = ToolCall("weather", {"city": "Delft"}, "c1")


def sent(stream: ByteStream | Callable[[], Any], run: Any = asyncio.run) -> str:
    """All bytes of a stream, as text."""

    async def main() -> str:
        made = stream if isinstance(stream, ByteStream) else await stream()
        return b"".join([data async for data in made]).decode()

    text: str = run(main())
    return text


def parts(text: str) -> list[dict[str, Any]]:
    """The JSON objects of an event stream, by the rules of its specification."""
    found = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        assert all(line.startswith("data: ") for line in lines), lines
        data = "\n".join(line.removeprefix("data: ") for line in lines)
        if data and data != "[DONE]":
            found.append(json.loads(data))
    return found


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def chunks(*items: Chunk | str) -> Any:
    return rx.from_iterable(items)


def failing(error: Exception) -> Any:
    return rx.concat(rx.of("a"), rx.throw(error))


# One answer with all there is.

ALL = (
    Chunk(thinking="Hm"),
    Chunk(thinking="m."),
    Chunk("It is "),
    Chunk(tool_calls=(ONE_CALL,)),
    Chunk("fine.", usage=Usage(3, 5), finish_reason="stop", model="m"),
)


def test_the_librarys_own_objects() -> None:
    expected = [
        {"type": "thinking", "text": "Hm"},
        {"type": "thinking", "text": "m."},
        {"type": "text", "text": "It is "},
        {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Delft"}},
        {"type": "text", "text": "fine."},
        {
            "type": "done",
            "finish_reason": "stop",
            "usage": {"prompt_tokens": 3, "completion_tokens": 5},
            "model": "m",
        },
    ]
    assert parts(sent(sse(chunks(*ALL)))) == expected
    assert lines(sent(ndjson(chunks(*ALL)))) == expected


def test_a_ui_message() -> None:
    text = sent(ui_message_stream(chunks(*ALL), message_id="m1"))
    assert parts(text) == [
        {"type": "start", "messageId": "m1"},
        {"type": "start-step"},
        {"type": "reasoning-start", "id": "block-1"},
        {"type": "reasoning-delta", "id": "block-1", "delta": "Hm"},
        {"type": "reasoning-delta", "id": "block-1", "delta": "m."},
        {"type": "reasoning-end", "id": "block-1"},
        {"type": "text-start", "id": "block-2"},
        {"type": "text-delta", "id": "block-2", "delta": "It is "},
        {"type": "text-end", "id": "block-2"},
        {"type": "tool-input-start", "toolCallId": "c1", "toolName": "weather"},
        {
            "type": "tool-input-available",
            "toolCallId": "c1",
            "toolName": "weather",
            "input": {"city": "Delft"},
        },
        {"type": "text-start", "id": "block-3"},
        {"type": "text-delta", "id": "block-3", "delta": "fine."},
        {"type": "text-end", "id": "block-3"},
        {
            "type": "message-metadata",
            "messageMetadata": {"usage": {"prompt_tokens": 3, "completion_tokens": 5}},
        },
        {"type": "finish-step"},
        {"type": "finish"},
    ]
    assert text.endswith("data: [DONE]\n\n")


def test_a_run_of_ag_ui() -> None:
    text = sent(ag_ui(chunks(*ALL), thread_id="t", run_id="r"))
    assert [each["type"] for each in parts(text)] == [
        "RUN_STARTED",
        "REASONING_START",
        "REASONING_MESSAGE_START",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_END",
        "REASONING_END",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "TOOL_CALL_START",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_END",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "CUSTOM",
        "RUN_FINISHED",
    ]
    check_run(text)


def check_run(text: str) -> None:
    """Have AG-UI's own package read each event, and check the order that its client demands."""
    adapter: TypeAdapter[Any] = TypeAdapter(AgUiEvent)
    found = parts(text)
    for each in found:
        adapter.validate_python(each)
        assert None not in each.values()
    kinds = [each["type"] for each in found]
    assert kinds[0] == "RUN_STARTED"
    assert kinds[-1] in ("RUN_FINISHED", "RUN_ERROR")
    opened: set[tuple[str, str]] = set()
    for each in found:
        for kind, key in (
            ("TEXT_MESSAGE", "messageId"),
            ("REASONING_MESSAGE", "messageId"),
            ("REASONING", "messageId"),
            ("TOOL_CALL", "toolCallId"),
        ):
            step = each["type"].removeprefix(f"{kind}_")
            if step == "START":
                opened.add((kind, each[key]))
            elif step in ("CONTENT", "ARGS"):
                assert (kind, each[key]) in opened
            elif step == "END":
                opened.remove((kind, each[key]))
    assert not opened


# Laws.

PROTOCOLS: dict[str, tuple[Callable[..., ByteStream], Callable[[str], list[str]]]] = {
    "sse": (sse, lambda text: [each.get("text", "") for each in parts(text)]),
    "ndjson": (ndjson, lambda text: [each.get("text", "") for each in lines(text)]),
    "ui": (ui_message_stream, lambda text: [each.get("delta", "") for each in parts(text)]),
    "ag-ui": (ag_ui, lambda text: [each.get("delta", "") for each in parts(text)]),
}
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)

pieces = st.lists(st.text(st.characters(exclude_categories=()), max_size=4), max_size=6)


@every_protocol
@given(cut=pieces)
def test_however_it_is_cut_the_text_is_the_same(protocol: str, cut: list[str]) -> None:
    made, texts = PROTOCOLS[protocol]
    assert "".join(texts(sent(made(rx.from_iterable(cut))))) == "".join(cut)


@every_protocol
def test_line_ends_in_a_text_are_no_ends_of_events(protocol: str) -> None:
    made, texts = PROTOCOLS[protocol]
    text = "a\n\nb\r\rc\r\n\r\nd\u2028e\u0085f\x0b\x0c\x1c"
    assert "".join(texts(sent(made(rx.of(text))))) == text


@given(items=st.lists(st.sampled_from([Chunk("a"), Chunk(thinking="b"), *ALL]), max_size=8))
def test_any_order_of_chunks_is_a_run_of_ag_ui(items: list[Chunk]) -> None:
    check_run(sent(ag_ui(rx.from_iterable(items))))


@every_protocol
def test_an_empty_answer_has_an_end(protocol: str) -> None:
    made, texts = PROTOCOLS[protocol]
    text = sent(made(rx.empty()))
    assert text
    assert "".join(texts(text)) == ""


# Failures.


@every_protocol
def test_an_error_of_ours_is_told_by_class_and_message(protocol: str) -> None:
    made, _ = PROTOCOLS[protocol]
    text = sent(made(failing(GenerationFailedError("the model is tired"))))
    assert "the model is tired" in text
    last = (lines if protocol == "ndjson" else parts)(text)[-1]
    assert last in (
        {"type": "error", "error": "GenerationFailedError", "message": "the model is tired"},
        {"type": "error", "errorText": "the model is tired"},
        {"type": "RUN_ERROR", "message": "the model is tired", "code": "GenerationFailedError"},
    )


@every_protocol
def test_an_error_of_the_programs_shows_nothing_of_itself(protocol: str) -> None:
    made, _ = PROTOCOLS[protocol]
    text = sent(made(failing(ValueError("sk-secret in /home/lovelace/app.py"))))
    assert "sk-secret" not in text
    assert "lovelace" not in text
    assert "the server failed" in text


@every_protocol
def test_items_that_are_no_text_fail(protocol: str) -> None:
    made, _ = PROTOCOLS[protocol]
    assert "only chunks and texts can be sent, not int" in sent(made(rx.of(1)))


def test_a_thunk_that_the_program_cancels_is_an_aborted_message() -> None:
    async def cancelled() -> ByteStream:
        thunk = await MelleaSession(ScriptedBackend("a", delay=60)).ainstruct("Go.")
        stream = ui_message_stream(thunk)
        asyncio.get_running_loop().call_later(0.01, thunk.cancel)
        return stream

    assert parts(sent(cancelled))[-1] == {"type": "abort"}


# Retracted text.


@pytest.mark.parametrize("on_reject", ["fail", "marker"])
@pytest.mark.parametrize("release", ["validated", "live"])
def test_void_text_is_taken_back_and_what_stands_is_the_value(release: Any, on_reject: Any) -> None:
    async def made() -> ByteStream:
        backend = ScriptedBackend(
            ["All is well. ", "But run! ", "Run!"], ["All is well. ", "Rest."], delay=1
        )
        thunk = await MelleaSession(backend).ainstruct(
            "Go.", requirements=[calm], release=release, on_reject=on_reject, stream=True
        )
        return ndjson(thunk)

    shown = ""
    told = lines(sent(made, run_virtual))
    for each in told:
        if each["type"] == "retracted":
            shown = shown[: len(shown) - each["characters"]]
        shown += each.get("text", "")
    assert shown == "All is well. Rest."
    assert "retracted" in [each["type"] for each in told]
    assert {
        "type": "rejected",
        "attempt": 0,
        "reasons": ["No shouting.: sentence 2 ('But run!') does not"],
    } in told


def retracting(protocol: Any) -> str:
    """An answer whose first attempt is rejected after a part of it was sent."""

    async def made() -> ByteStream:
        backend = ScriptedBackend(
            ["All is well. ", "But run! ", "Run!"], ["All is well. ", "Rest."], delay=1
        )
        stream: ByteStream = protocol(
            await MelleaSession(backend).ainstruct(
                "Go.", requirements=[calm], release="validated", stream=True
            )
        )
        return stream

    return sent(made, run_virtual)


def test_retractions_are_parts_of_the_other_protocols_too() -> None:
    assert "data-retracted" in [each["type"] for each in parts(retracting(ui_message_stream))]
    run = retracting(ag_ui)
    assert "retracted" in [each.get("name") for each in parts(run)]
    check_run(run)


# Tools.


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


async def asking(protocol: Any) -> ByteStream:
    backend = ScriptedBackend(
        [Chunk(tool_calls=(ToolCall("weather", {"city": "Delft"}),))], "Take a coat."
    )
    m = MelleaSession(backend, model_options=STREAM)
    return protocol(await areact(m, "A coat?", tools=[weather]))


def test_the_tools_of_a_react_loop_and_their_results() -> None:
    own = lines(sent(lambda: asking(ndjson)))
    assert [each["type"] for each in own] == ["tool_call", "tool_result", "text", "done"]
    assert own[1]["content"] == "rain in Delft"
    ui = parts(sent(lambda: asking(ui_message_stream)))
    assert [each["type"] for each in ui] == [
        *("start", "start-step", "tool-input-start", "tool-input-available"),
        *("tool-output-available", "finish-step", "start-step"),
        *("text-start", "text-delta", "text-end", "message-metadata", "finish-step", "finish"),
    ]
    assert {each["toolCallId"] for each in ui if "toolCallId" in each} == {"call_1"}
    run = sent(lambda: asking(ag_ui))
    assert "TOOL_CALL_RESULT" in [each["type"] for each in parts(run)]
    check_run(run)


def test_what_operators_give_can_be_sent() -> None:
    async def made() -> ByteStream:
        thunk = await MelleaSession(ScriptedBackend("quiet")).ainstruct("Go.", stream=True)
        return ndjson(thunk.pipe(ops.map(lambda chunk: str(chunk).upper())))

    assert lines(sent(made))[0] == {"type": "text", "text": "QUIET"}
