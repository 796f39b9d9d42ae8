"""Scripted answers on the wire, in Ollama's protocol and in OpenAI's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Script = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """A script's answer as frames, each one line or event.

    Attributes:
        before: Comes ahead of the text (thinking).
        chunks: One frame for each piece of text.
        after: Ends the stream (tool calls, the reason, usage, the terminator).
        error: What a failure in the middle looks like.
        whole: The body of an answer that is not streamed.
    """

    before: list[bytes]
    chunks: list[bytes]
    after: list[bytes]
    error: bytes
    whole: bytes


def to_json(value: Any) -> bytes:
    """JSON with real UTF-8 in it; lone surrogates are escaped."""
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value).encode()


def raw(text: str) -> bytes:
    """The bytes that a script's string stands for (surrogateescape: any bytes can be scripted)."""
    return text.encode("utf-8", "surrogateescape")


def texts_of(script: Script) -> list[str]:
    """The pieces of text that a script answers with."""
    return list(script.get("chunks", ["ok"])) * script.get("repeat", 1)


def last_user_message(body: Mapping[str, Any]) -> str:
    """The text of the last message that a user wrote, "" where there is none."""
    for message in reversed(body.get("messages", [])):
        if message.get("role") == "user":
            content = message.get("content") or ""
            return content if isinstance(content, str) else json.dumps(content)
    return ""


def _usage(script: Script) -> Mapping[str, int] | None:
    default = {"prompt": 1, "completion": len(texts_of(script))}
    usage: Mapping[str, int] | None = script.get("usage", default)
    return usage


class Ollama:
    """`POST /api/chat`: one JSON object a line."""

    content_type = "application/x-ndjson"
    whole_by_default = False

    def answer(self, script: Script, body: Mapping[str, Any]) -> Answer:
        """The frames of `script` as the answer to the request `body`."""
        model = body.get("model", "")
        texts = texts_of(script)
        thinking = script.get("thinking", [])
        calls = [
            {"function": {"name": call["name"], "arguments": call["arguments"]}}
            for call in script.get("tool_calls", [])
        ]
        done = self._done(script, model)
        whole = {"content": "".join(texts)}
        if thinking:
            whole["thinking"] = "".join(thinking)
        tools = {"tool_calls": calls} if calls else {}
        return Answer(
            before=[self._line(model, {"content": "", "thinking": text}) for text in thinking],
            chunks=[self._line(model, {"content": text}) for text in texts],
            after=([self._line(model, {"content": "", **tools})] if calls else [])
            + ([] if script.get("omit_done") else [self._line(model, {"content": ""}, **done)]),
            error=to_json({"error": script.get("error", "the model crashed")}) + b"\n",
            whole=self._line(model, {**whole, **tools}, **done),
        )

    def error_body(self, message: str) -> bytes:
        """The body of an error status."""
        return to_json({"error": message})

    def missing(self, model: str) -> bytes:
        """The body of a 404."""
        return self.error_body(f"model '{model}' not found")

    @staticmethod
    def _line(model: str, message: Mapping[str, Any], **more: Any) -> bytes:
        line = {
            "model": model,
            "created_at": "2026-01-01T00:00:00.000000Z",
            "message": {"role": "assistant", **message},
            "done": False,
        }
        return to_json({**line, **more}) + b"\n"

    @staticmethod
    def _done(script: Script, model: str) -> dict[str, Any]:
        done: dict[str, Any] = {
            "done": True,
            "done_reason": script.get("finish_reason", "stop"),
            "total_duration": 5_000_000,
            "load_duration": 1_000_000,
        }
        usage = _usage(script)
        if usage is not None:
            done |= {"prompt_eval_count": usage["prompt"], "eval_count": usage["completion"]}
        return done


class OpenAI:
    """`POST /v1/chat/completions`: server-sent events."""

    content_type = "text/event-stream"
    whole_by_default = True

    def answer(self, script: Script, body: Mapping[str, Any]) -> Answer:
        """The frames of `script` as the answer to the request `body`."""
        model = body.get("model", "")
        texts = texts_of(script)
        deltas = [{"content": text} for text in texts]
        before = [{"reasoning_content": text} for text in script.get("thinking", [])]
        first = (before or deltas or [{}])[0]
        first["role"] = "assistant"
        return Answer(
            before=[self._delta(model, delta) for delta in before],
            chunks=[self._delta(model, delta) for delta in deltas],
            after=[self._delta(model, delta) for delta in self._tool_deltas(script)]
            + ([] if script.get("omit_done") else self._end(script, body, model)),
            error=self._event(self._error(script.get("error", "the model crashed"))),
            whole=self._whole(script, model),
        )

    def error_body(self, message: str) -> bytes:
        """The body of an error status."""
        return to_json(self._error(message))

    def missing(self, model: str) -> bytes:
        """The body of a 404."""
        return self.error_body(f"The model `{model}` does not exist")

    @staticmethod
    def _error(message: str) -> dict[str, Any]:
        return {"error": {"message": message, "type": "server_error", "code": None}}

    @staticmethod
    def _event(data: Mapping[str, Any]) -> bytes:
        return b"data: " + to_json(data) + b"\n\n"

    def _frame(self, model: str, choices: list[Any], **more: Any) -> bytes:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1767225600}
        return self._event({**head, "model": model, "choices": choices, **more})

    def _delta(self, model: str, delta: Mapping[str, Any], reason: str | None = None) -> bytes:
        return self._frame(model, [{"index": 0, "delta": delta, "finish_reason": reason}])

    @staticmethod
    def _arguments(call: Mapping[str, Any]) -> str:
        arguments = call["arguments"]
        return arguments if isinstance(arguments, str) else json.dumps(arguments)

    def _tool_deltas(self, script: Script) -> list[dict[str, Any]]:
        """Each call in three deltas: its name, and the two halves of its arguments."""
        deltas = []
        for index, call in enumerate(script.get("tool_calls", [])):
            text = self._arguments(call)
            half = len(text) // 2
            function = {"name": call["name"], "arguments": ""}
            head = {"id": f"call_{index}", "type": "function", "function": function}
            deltas.append({"tool_calls": [{"index": index, **head}]})
            for part in (text[:half], text[half:]):
                piece = {"index": index, "function": {"arguments": part}}
                deltas.append({"tool_calls": [piece]})
        return deltas

    @staticmethod
    def _reason(script: Script) -> str:
        default = "tool_calls" if script.get("tool_calls") else "stop"
        reason: str = script.get("finish_reason", default)
        return reason

    @staticmethod
    def _usage_field(script: Script) -> dict[str, Any]:
        usage = _usage(script)
        if usage is None:
            return {}
        prompt, completion = usage["prompt"], usage["completion"]
        counts = {"prompt_tokens": prompt, "completion_tokens": completion}
        return {"usage": {**counts, "total_tokens": prompt + completion}}

    def _end(self, script: Script, body: Mapping[str, Any], model: str) -> list[bytes]:
        frames = [self._delta(model, {}, self._reason(script))]
        usage = self._usage_field(script)
        if usage and (body.get("stream_options") or {}).get("include_usage"):
            frames.append(self._frame(model, [], **usage))
        return [*frames, b"data: [DONE]\n\n"]

    def _whole(self, script: Script, model: str) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(texts_of(script))}
        if script.get("thinking"):
            message["reasoning_content"] = "".join(script["thinking"])
        if script.get("tool_calls"):
            message["tool_calls"] = [
                {
                    "id": f"call_{index}",
                    "type": "function",
                    "function": {"name": call["name"], "arguments": self._arguments(call)},
                }
                for index, call in enumerate(script["tool_calls"])
            ]
        choice = {"index": 0, "message": message, "finish_reason": self._reason(script)}
        head = {"id": "chatcmpl-1", "object": "chat.completion", "model": model}
        return to_json({**head, "choices": [choice], **self._usage_field(script)})


DIALECTS = {"/api/chat": Ollama(), "/v1/chat/completions": OpenAI()}
