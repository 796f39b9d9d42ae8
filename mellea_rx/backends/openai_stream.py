"""The event stream of OpenAI's protocol as chunks; no I/O.

Tool calls arrive in pieces and are assembled here. Used by the OpenAI backend.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mellea_rx.backends.http import arguments_too_large
from mellea_rx.core.types.chunk import Chunk, ToolCall, Usage
from mellea_rx.errors import (
    BackendError,
    GenerationFailedError,
    ProtocolError,
    StreamInterruptedError,
)
from mellea_rx.wire.error_text import excerpt, message_of, printable
from mellea_rx.wire.json_payload import PayloadDecoder, as_count, as_text
from mellea_rx.wire.sse import SseDecoder
from mellea_rx.wire.transport import Limits


class _Function(msgspec.Struct):
    name: Any = None
    arguments: Any = None


class CallDelta(msgspec.Struct):
    """A piece of a tool call, as a server sends it. A field of a wrong type counts as absent."""

    index: Any = None
    id: Any = None
    function: _Function | None = None

    def __post_init__(self) -> None:
        self.index = as_count(self.index)
        self.id = str(self.id) if isinstance(self.id, (str, int)) else None

    @property
    def name(self) -> str:
        """The tool's name; "" if the piece has none."""
        return "" if self.function is None else as_text(self.function.name)

    @property
    def arguments(self) -> str:
        """The piece of the arguments' JSON text; the whole text if the server sent an object."""
        given = None if self.function is None else self.function.arguments
        return msgspec.json.encode(given).decode() if isinstance(given, dict) else as_text(given)


class _Call:
    """A tool call that is being assembled."""

    __slots__ = ("arguments", "id", "name", "size")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.size = 0

    def add(self, piece: CallDelta) -> int:
        arguments = piece.arguments
        self.id = piece.id or self.id
        self.name = self.name or piece.name
        self.arguments.append(arguments)
        self.size += len(arguments)
        return len(arguments)


class ToolCallAssembler:
    """Assembles the tool calls of one answer. To add a piece takes constant time."""

    __slots__ = ("_by_id", "_by_index", "_calls")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        # By index: the latest call. By index and id: each call. Some servers repeat an index for
        # several calls, which then differ in their ids only.
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[tuple[int, str], _Call] = {}

    def add(self, piece: CallDelta) -> tuple[int, int]:
        """Add a piece to its call, which is a known or a new one.

        Returns:
            The number of characters of arguments in the piece, and in the whole call so far.
        """
        call = self._call_of(piece)
        if call is None:
            call = _Call()
            self._calls.append(call)
            if piece.index is not None:
                self._by_index[piece.index] = call
        size = call.add(piece)
        if piece.index is not None and call.id:
            self._by_id[piece.index, call.id] = call
        return size, call.size

    def _call_of(self, piece: CallDelta) -> _Call | None:
        """The call that a piece belongs to; None for a new call.

        Servers may leave indexes out, repeat them, or begin above 0.
        """
        if piece.index is None:
            return self._calls[-1] if self._calls and not self._starts_call(piece) else None
        call = self._by_index.get(piece.index)
        if call is None or not piece.id or not call.id:
            return call
        return self._by_id.get((piece.index, piece.id))

    def _starts_call(self, piece: CallDelta) -> bool:
        """Whether a piece without an index begins a new call."""
        latest = self._calls[-1]
        if piece.id:
            return bool(piece.id != latest.id)
        return bool(piece.name and latest.name)

    def joined(self, who: str, finish_reason: str) -> tuple[ToolCall, ...]:
        """The complete calls, at the end of the answer.

        Args:
            who: The server's name in messages.
            finish_reason: The answer's finish reason.

        Raises:
            ProtocolError: The arguments of a call are not a JSON object.
        """
        return tuple(_joined(call, who, finish_reason) for call in self._calls)


_CUT_OFF = {
    "length": " (it was cut off by its length)",
    "content_filter": " (it was cut off by the server's content filter)",
}


def _joined(call: _Call, who: str, finish_reason: str) -> ToolCall:
    raw = "".join(call.arguments)
    try:
        arguments = msgspec.json.decode(raw or "{}", type=dict[str, Any])
    except (ValueError, RecursionError):
        why = _CUT_OFF.get(finish_reason, "")
        raise ProtocolError(
            f"{who} sent a call of tool {printable(call.name, 80)!r} whose arguments are no JSON "
            f"object{why}: {excerpt(raw.encode('utf-8', 'replace'))}"
        ) from None
    return ToolCall(call.name, arguments, call.id)


_LIMITS = Limits()


# Fields of type Any are optional: one with a value of a wrong type counts as absent.


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    refusal: Any = None
    tool_calls: list[CallDelta] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: Any = None
    index: Any = 0


class _Event(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None
    model: Any = None
    error: Any = None
    object: Any = None
    message: Any = None


class OpenAIDecoder:
    """Decodes the events of one answer; see `StreamDecoder`.

    Args:
        who: The server's name in messages.
        payloads: Decodes the events' data; shared by the answers of a server.
        limits: The size limits.
    """

    __slots__ = (
        "_calls",
        "_events",
        "_finish",
        "_limits",
        "_model",
        "_payloads",
        "_refused",
        "_usage",
        "_who",
        "_written",
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
        self._calls: ToolCallAssembler | None = None
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._model: str | None = None
        self._refused = False
        self._written: int | None = None
        self.done = False
        self.error: BackendError | None = None

    @property
    def stray(self) -> bytes:
        """The first bytes that are not events."""
        return self._events.stray

    def feed(self, data: bytes) -> Chunk | None:
        return self._chunk(self._events.feed(data))

    def flush(self) -> Chunk | None:
        chunk = self._chunk(self._events.flush())
        # Some servers close the connection after the finish_reason, without a [DONE].
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
                return self._end(self._gathered(texts, thoughts))
            try:
                event = decode(payload)
            except BackendError as error:
                self.error = error
                break
            choice = event.choices[0] if event.choices else None
            if choice is not None and choice.index:  # not 0: another answer, or a wrong type
                choice = _first_of(event.choices)
            if choice is None:
                self._without_choice(event)
                continue
            delta = choice.delta
            if delta is not None:
                if delta.content:
                    texts.append(delta.content)
                if (
                    delta.reasoning_content
                    or delta.reasoning
                    or delta.tool_calls
                    or delta.refusal
                    or delta.reasoning_details
                ):
                    self._beside_content(delta, texts, thoughts)
            if choice.finish_reason or event.usage is not None or event.error:
                self._note_end(event, choice)
        return self._gathered(texts, thoughts)

    def _gathered(self, texts: list[str], thoughts: list[str]) -> Chunk | None:
        """The content of a block as one chunk; None if it had neither content nor progress."""
        written, self._written = self._written, None
        if texts or thoughts or written is not None:
            return Chunk("".join(texts), "".join(thoughts), arguments_size=written or 0)
        return None

    def _beside_content(self, delta: _Delta, texts: list[str], thoughts: list[str]) -> None:
        # It counts as progress, also without text: a call's name, or hidden reasoning.
        self._written = self._written or 0
        thought = as_text(delta.reasoning_content) or as_text(delta.reasoning)
        if thought:
            thoughts.append(thought)
        refusal = as_text(delta.refusal)
        if refusal:
            self._refused = True
            texts.append(refusal)
        if delta.tool_calls:
            self._add_calls(delta.tool_calls)

    def _add_calls(self, pieces: list[CallDelta]) -> None:
        if self._calls is None:
            self._calls = ToolCallAssembler()
        for piece in pieces:
            size, whole = self._calls.add(piece)
            self._written = (self._written or 0) + size
            if whole > self._limits.tool_arguments:
                self.error = arguments_too_large(self._who, self._limits.tool_arguments)

    def _without_choice(self, event: _Event) -> None:
        if event.error or event.object == "error":
            self._fail(event)
        self._note_about(event)

    def _note_end(self, event: _Event, choice: _Choice) -> None:
        self._finish = _reason_of(choice.finish_reason) or self._finish
        self._note_about(event)
        if event.error or choice.finish_reason == "error":
            self._fail(event)

    def _note_about(self, event: _Event) -> None:
        self._usage = _usage_of(event.usage) or self._usage
        self._model = as_text(event.model) or self._model

    def _fail(self, event: _Event) -> None:
        why = event.error or event.message
        said = message_of(why) if why else "it gave no reason"
        self.error = GenerationFailedError(
            f"{self._who} failed while it answered: {said}", quotes=bool(why)
        )

    def _end(self, chunk: Chunk | None) -> Chunk | None:
        if self._finish is None:  # a [DONE] alone is no success
            self.error = StreamInterruptedError(
                f"the answer of {self._who} ended without a finish_reason: it stopped half-way"
            )
            return chunk
        self.done = True
        calls: tuple[ToolCall, ...] = ()
        try:
            if self._calls is not None:
                calls = self._calls.joined(self._who, self._finish)
        except ProtocolError as error:
            self.done, self.error = False, error
        return msgspec.structs.replace(
            Chunk() if chunk is None else chunk,
            tool_calls=calls,
            usage=self._usage,
            finish_reason="refusal" if self._refused else self._finish,
            model=self._model,
        )


def _first_of(choices: list[_Choice] | None) -> _Choice | None:
    """The choice with index 0, or without a valid index."""
    return next((each for each in choices or () if not as_count(each.index)), None)


def _reason_of(value: Any) -> str | None:
    """The finish reason; None if the answer has not ended. One of a wrong type is "unknown"."""
    return value if isinstance(value, str) else "unknown" if value else None


def _usage_of(value: Any) -> Usage | None:
    """The token counts; None if there is no valid one."""
    if not isinstance(value, dict):
        return None
    counts = [as_count(value.get(key)) for key in ("prompt_tokens", "completion_tokens")]
    if counts == [None, None]:
        return None
    prompt, completion = (count or 0 for count in counts)
    return Usage(prompt, completion)


def payloads_of(who: str) -> PayloadDecoder[_Event]:
    """The decoder of the events' data, shared by all answers of a server.

    Args:
        who: The server's name in messages.
    """
    return PayloadDecoder(_Event, who)
