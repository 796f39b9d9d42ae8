"""A backend that limits a model's thinking: requests to another backend, as one answer.

`BudgetForcing` asks it. A request whose thinking is cut off by its limit is followed by one that
goes on from that thinking, closed, to the answer; thinking that is too short is continued.
"""

from __future__ import annotations

import math
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from reactivex import Observable

from mellea_rx.core.interfaces.backend import (
    Backend,
    BaseBackend,
    Capabilities,
    capabilities_of,
    is_deferred,
    loops_of_backend,
    model_of,
    resolved,
)
from mellea_rx.core.streams.buffers import ChunkAccumulator, TextBuffer
from mellea_rx.core.streams.chunk_source import ChunkSource, Push, drain
from mellea_rx.core.text.thought_splitter import Thought, ThoughtSplitter
from mellea_rx.core.types.chunk import Chunk, Usage
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.request import Request, RequestMessage
from mellea_rx.errors import InvalidInputError

_CHARACTERS_A_TOKEN = 4
"""The estimate for servers that report no tokens."""


@dataclass(frozen=True, slots=True)
class ThinkingLimits:
    """The limits of an answer's thinking; see `BudgetForcing`."""

    think_tokens: int
    answer_tokens: int | None
    min_think_tokens: int | None
    extensions: int
    wait: str
    open: str
    close: str


class ForcedThinking(BaseBackend):
    """Another backend, whose thinking is limited.

    Args:
        inner: The other backend.
        limits: The limits.
        model_options: The options of a request that does not set them; those of `inner` by default.
    """

    def __init__(
        self, inner: Backend, limits: ThinkingLimits, model_options: Options | None = None
    ) -> None:
        self._inner = inner
        self._limits = limits
        self._options = inner.model_options if model_options is None else model_options

    @property
    def name(self) -> str:
        """The name of the other backend."""
        return self._inner.name

    @property
    def model_options(self) -> Options:
        """See `Backend`."""
        return self._options

    @property
    def model(self) -> str | None:
        """The model of the other backend."""
        return model_of(self._inner)

    @property
    def capabilities(self) -> Capabilities:
        """The features of the other backend."""
        return capabilities_of(self._inner)

    @property
    def loops(self) -> tuple[AbstractEventLoop, ...]:
        """The event loops that the other backend needs."""
        return loops_of_backend(self._inner)

    @property
    def resolve(self) -> Callable[[], Awaitable[Backend]] | None:
        """Decides which backend does the work, where the other one is deferred."""
        return self._resolved if is_deferred(self._inner) else None

    async def _resolved(self) -> Backend:
        return ForcedThinking(await resolved(self._inner), self._limits)

    def check(self, options: Options) -> None:
        """Refuse options that the other backend does not support."""
        self._inner.check(options)

    def stream(self, request: Request) -> Observable[Chunk]:
        """The answer, whose thinking is limited. It ends requests on the server as `inner` does."""
        if not capabilities_of(self._inner).prefill:
            raise InvalidInputError(
                "BudgetForcing needs a backend that goes on from an assistant's message, and "
                f"{self._inner.name!r} does not"
            )
        if request.prefill:  # the rest of an answer that was interrupted: its thinking is over
            return self._inner.stream(request)
        inner, limits = self._inner, self._limits
        return ChunkSource(lambda push: _ForcedAnswer(inner, request, limits, push).run())


class _ForcedAnswer:
    """One answer, of one request or several. Used on the engine only.

    Args:
        backend: Answers the requests.
        request: The request of the call.
        limits: The limits.
        push: Takes the chunks.
    """

    def __init__(
        self, backend: Backend, request: Request, limits: ThinkingLimits, push: Push
    ) -> None:
        self._backend = backend
        self._request = request
        self._limits = limits
        self._push = push
        self._thoughts = TextBuffer()
        self._usage: Usage | None = None

    @property
    def _thinking(self) -> str:
        """The thinking so far, of all requests."""
        return str(self._thoughts)

    async def run(self) -> None:
        """Think, answer, and push the tokens of all requests with the end."""
        stage = await self._think()
        if self._needs_more(stage):
            stage = await self._answer(stage.text)
        self._push(Chunk(usage=self._usage, finish_reason=stage.finish_reason, model=stage.model))

    async def _think(self) -> Chunk:
        """Have the model think within the limits.

        Returns:
            The last stage of its thinking, with the answer after it, where there is one.
        """
        limits = self._limits
        options: dict[ModelOption, Any] = {ModelOption.MAX_NEW_TOKENS: limits.think_tokens}
        if limits.min_think_tokens is None:
            splitter = ThoughtSplitter(limits.open, limits.close)
            return await self._stage(self._with(options), splitter, self._show)
        # The answer is only asked for when the model has thought long enough.
        options[ModelOption.STOP_SEQUENCES] = [*self._request.options.stop_sequences, limits.close]
        stage = await self._extended(options, limits.min_think_tokens)
        answer = Chunk(stage.text, tool_calls=stage.tool_calls)
        if answer:
            self._push(answer)
        return stage

    async def _extended(self, options: dict[ModelOption, Any], least: int) -> Chunk:
        """Have the model think at least so many tokens; the answer is held back."""
        limits = self._limits
        splitter = ThoughtSplitter(limits.open, limits.close)
        stage = await self._stage(self._with(options), splitter, self._show_thinking)
        used = _thinking_tokens(stage)
        for _ in range(limits.extensions):
            stopped = stage.finish_reason in ("stop", None)
            if not (self._thinking and stopped and used < least):
                break
            self._show_thinking(Chunk(thinking=f"\n{limits.wait}"))
            rest = options | {ModelOption.MAX_NEW_TOKENS: limits.think_tokens - used}
            prefill = f"{limits.open}\n{self._thinking.lstrip()}"
            splitter = ThoughtSplitter(limits.open, limits.close, is_inside=True)
            stage = await self._stage(self._with(rest, prefill), splitter, self._show_thinking)
            used += _thinking_tokens(stage)
        return stage

    def _needs_more(self, stage: Chunk) -> bool:
        """Whether the answer is missing after its thinking, or was cut off by the limit."""
        if stage.tool_calls or stage.finish_reason not in ("stop", "length", None):
            return False
        # Of thinking that is empty, or hidden by the server, only the limit or stop is known.
        was_limited = self._limits.min_think_tokens is not None or bool(self._thinking)
        return stage.finish_reason == "length" or (not stage.text and was_limited)

    async def _answer(self, begun: str) -> Chunk:
        """Ask for the answer after the thinking so far, or for its rest.

        Args:
            begun: The beginning of the answer, which was pushed.
        """
        limits, options = self._limits, {}
        if limits.answer_tokens is not None:
            options[ModelOption.MAX_NEW_TOKENS] = limits.answer_tokens
        thought = self._thinking.strip()
        closed = f"{limits.open}\n{thought}\n{limits.close}\n\n" if thought or not begun else ""
        request = self._with(options, closed + begun.rstrip(" \t"))  # tokens begin with a space
        if begun:  # a schema would hold from where the model goes on: from the JSON's middle
            request = replace(request, schema=None)
        is_at_seam = not begun or begun[-1].isspace()

        def show(chunk: Chunk) -> None:
            nonlocal is_at_seam
            text = chunk.text.lstrip() if is_at_seam else chunk.text
            is_at_seam = is_at_seam and not text
            self._push_some(msgspec.structs.replace(chunk, text=text, thinking=""))

        splitter = ThoughtSplitter(limits.open, limits.close)
        splitter.answer_begins()
        stage = await self._stage(request, splitter, show)
        if not stage.text:  # some servers take a text without tags, after closed ones, for thinking
            show(Chunk(stage.thinking))
        return stage

    def _with(self, options: Mapping[Any, Any], prefill: str = "") -> Request:
        """The call's request with further options, and with a text to go on from."""
        request = self._request
        known = Options(options).over(request.options)
        if not prefill:
            return replace(request, options=known)
        if known.get(ModelOption.THINKING) is True:  # the thinking is in the prefill
            known = Options({ModelOption.THINKING: False}).over(known)
        messages = (*request.messages, RequestMessage("assistant", prefill))
        return replace(request, messages=messages, options=known)

    async def _stage(
        self, request: Request, splitter: ThoughtSplitter, show: Callable[[Chunk], None]
    ) -> Chunk:
        """Make one request.

        Args:
            request: The request.
            splitter: Splits its text, where the server does not.
            show: Takes its chunks, with thinking and answer split.

        Returns:
            The whole, with thinking and answer split.
        """
        whole = ChunkAccumulator()

        def take(chunk: Chunk) -> None:
            if chunk.thinking:  # the server splits: its text is the answer
                splitter.answer_begins()
            add(chunk, splitter.feed(chunk.text))

        def add(chunk: Chunk, thought: Thought) -> None:
            thinking = chunk.thinking + thought.thinking
            split = msgspec.structs.replace(chunk, text=thought.answer, thinking=thinking)
            whole.add(split)
            show(split)

        try:
            await drain(self._backend.stream(request), take, self._backend.name)
            add(Chunk(), splitter.flush())
        finally:
            self._usage = _sum(self._usage, whole.snapshot().usage)
        return whole.snapshot()

    def _show(self, chunk: Chunk) -> None:
        self._thoughts.add(chunk.thinking)
        self._push_some(chunk)

    def _show_thinking(self, chunk: Chunk) -> None:
        self._show(Chunk(thinking=chunk.thinking))

    def _push_some(self, chunk: Chunk) -> None:
        """Push a chunk without the end of its request, if anything is left."""
        bare = msgspec.structs.replace(chunk, usage=None, finish_reason=None)
        if bare or bare.arguments_size:
            self._push(bare)


def _thinking_tokens(stage: Chunk) -> int:
    """The tokens of a stage's thinking: servers count them together with the answer's.

    Of a stage with both, the share by characters; without a count, an estimate.
    """
    size = len(stage.thinking) + len(stage.text)
    if not stage.thinking:
        return 0
    if stage.usage is None or not stage.usage.completion_tokens:
        return math.ceil(len(stage.thinking) / _CHARACTERS_A_TOKEN)
    return math.ceil(stage.usage.completion_tokens * len(stage.thinking) / size)


def _sum(one: Usage | None, other: Usage | None) -> Usage | None:
    if one is None or other is None:
        return one or other
    return Usage(
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
    )
