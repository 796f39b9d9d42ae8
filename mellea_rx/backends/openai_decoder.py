"""The events of OpenAI's protocol into chunks; no I/O."""

from __future__ import annotations

from typing import Any

import msgspec

from mellea_rx.backends.http_backend import arguments_too_large
from mellea_rx.core.chunk import Chunk, ToolCall, Usage
from mellea_rx.errors import BackendError, GenerationFailedError, ProtocolError
from mellea_rx.wire.http import Limits
from mellea_rx.wire.payload import PayloadDecoder, excerpt
from mellea_rx.wire.sse import SseDecoder

__all__ = ["OpenAIDecoder", "payloads_of"]

_LIMITS = Limits()


class _CallFunction(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _CallDelta(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _CallFunction | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_CallDelta] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Event(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    model: str | None = None
    error: Any = None
    object: str | None = None
    message: Any = None


class _CallParts:
    """A tool call that comes in pieces."""

    __slots__ = ("arguments", "id", "index", "name", "size")

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.size = 0

    def add(self, arguments: str) -> None:
        """A further piece of its arguments."""
        self.arguments.append(arguments)
        self.size += len(arguments)


class OpenAIDecoder:
    """The events of one answer; see `StreamDecoder`."""

    __slots__ = (
        "_calls",
        "_events",
        "_finish",
        "_limits",
        "_model",
        "_payloads",
        "_usage",
        "_who",
        "done",
        "error",
    )

    def __init__(
        self,
        who: str,
        payloads: PayloadDecoder[_Event] | None = None,
        limits: Limits = _LIMITS,
    ) -> None:
        self._events = SseDecoder(limits.line)
        self._limits = limits
        self._payloads = payloads or PayloadDecoder(_Event, who)
        self._who = who
        self._calls: list[_CallParts] = []
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._model: str | None = None
        self.done = False
        self.error: BackendError | None = None

    @property
    def stray(self) -> bytes:
        """The beginning of what is no event."""
        return self._events.stray

    def feed(self, data: bytes) -> Chunk | None:
        return self._chunk(self._events.feed(data))

    def flush(self) -> Chunk | None:
        chunk = self._chunk(self._events.flush())
        # Some servers close after the finish_reason, without a [DONE]: that is an end too.
        if self._finish is not None and not self.done and self.error is None:
            return self._end(chunk)
        return chunk

    def _chunk(self, events: list[bytes]) -> Chunk | None:
        decode = self._payloads.decode
        texts: list[str] = []
        thoughts: list[str] = []
        for payload in events:
            if self.done or self.error is not None:
                break
            if payload == b"[DONE]":
                return self._end(Chunk("".join(texts), "".join(thoughts)))
            try:
                event = decode(payload)
            except BackendError as error:
                self.error = error
                break
            if not event.choices:
                self._without_choice(event)
                continue
            choice = event.choices[0]
            delta = choice.delta
            if delta is not None:
                if delta.content:
                    texts.append(delta.content)
                if delta.reasoning_content or delta.reasoning or delta.tool_calls:
                    self._beside_text(delta, thoughts)
            if choice.finish_reason or event.usage is not None or event.error is not None:
                self._note_end(event, choice)
        if texts or thoughts:
            return Chunk("".join(texts), "".join(thoughts))
        return None

    def _beside_text(self, delta: _Delta, thoughts: list[str]) -> None:
        thought = delta.reasoning_content or delta.reasoning
        if thought:
            thoughts.append(thought)
        for part in delta.tool_calls or ():
            self._add_call_part(part)

    def _add_call_part(self, part: _CallDelta) -> None:
        call = self._call_of(part)
        call.id = part.id or call.id
        if part.function is not None:
            call.name = call.name or part.function.name or ""
            call.add(part.function.arguments or "")
        if call.size > self._limits.tool_arguments:
            self.error = arguments_too_large(self._who, self._limits.tool_arguments)

    def _call_of(self, part: _CallDelta) -> _CallParts:
        """The call that a piece belongs to: indexes may be missing, repeated, or begin above 0."""
        calls = self._calls
        if calls:
            latest = calls[-1]
            named = part.function is not None and bool(part.function.name) and bool(latest.name)
            begins = part.id != latest.id if part.id else named
            if part.index is None and not begins:
                return latest
            for call in reversed(calls):
                same_id = not part.id or not call.id or part.id == call.id
                if part.index is not None and call.index == part.index and same_id:
                    return call
        calls.append(_CallParts(part.index))
        return calls[-1]

    def _without_choice(self, event: _Event) -> None:
        if event.error is not None or event.object == "error":
            self._fail(event)
        elif event.usage is not None:
            self._usage = Usage(event.usage.prompt_tokens, event.usage.completion_tokens)
        self._model = event.model or self._model

    def _note_end(self, event: _Event, choice: _Choice) -> None:
        self._finish = choice.finish_reason or self._finish
        self._model = event.model or self._model
        if event.usage is not None:
            self._usage = Usage(event.usage.prompt_tokens, event.usage.completion_tokens)
        if event.error is not None or choice.finish_reason == "error":
            self._fail(event)

    def _fail(self, event: _Event) -> None:
        told = event.error if event.error is not None else event.message
        if isinstance(told, dict):
            told = told.get("message", told)
        self.error = GenerationFailedError(f"{self._who} failed while it answered: {told}")

    def _end(self, chunk: Chunk | None) -> Chunk | None:
        text, thinking = (chunk.text, chunk.thinking) if chunk is not None else ("", "")
        if self._finish is None:  # how Ollama's /v1 hides an error: no success, whatever it says
            return Chunk(text, thinking) if text or thinking else None
        self.done = True
        try:
            calls = tuple(self._tool_call(parts) for parts in self._calls)
        except ProtocolError as error:
            self.done, self.error, calls = False, error, ()
        return Chunk(text, thinking, calls, self._usage, self._finish, self._model)

    def _tool_call(self, parts: _CallParts) -> ToolCall:
        raw = "".join(parts.arguments)
        try:
            arguments = msgspec.json.decode(raw or "{}", type=dict[str, Any])
        except (ValueError, RecursionError):
            why = " (it was cut off by its length)" if self._finish == "length" else ""
            raise ProtocolError(
                f"{self._who} sent a call of tool {parts.name!r} whose arguments are no JSON "
                f"object{why}: {excerpt(raw.encode('utf-8', 'replace'))}"
            ) from None
        return ToolCall(parts.name, arguments, parts.id)


def payloads_of(who: str) -> PayloadDecoder[_Event]:
    """What decodes the events of one server, for any number of answers.

    Args:
        who: What messages call the server.
    """
    return PayloadDecoder(_Event, who)
