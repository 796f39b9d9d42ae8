"""The summaries of one session, and the part of its history that a prompt contains.

A context's compactor decides what to summarize; the session's model writes the summaries in the
background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mellea_rx.core.interfaces.backend import Backend
from mellea_rx.core.interfaces.component import Template
from mellea_rx.core.interfaces.context import Compactor, Context, Exchange, Summary
from mellea_rx.core.runtime.logs import SummaryFailed, error_summary, log
from mellea_rx.core.runtime.user_functions import in_worker_thread
from mellea_rx.core.streams.chunk_source import CollectingSink
from mellea_rx.core.streams.generation import Generation
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.request import Request, RequestMessage
from mellea_rx.core.types.validation import name_of
from mellea_rx.errors import CallbackError, GenerationFailedError, MelleaRxError
from mellea_rx.stdlib.pipeline.call_log import log_call
from mellea_rx.stdlib.pipeline.generate import resolve
from mellea_rx.stdlib.pipeline.retries import generate_with_retries
from mellea_rx.stdlib.prompts import renderer as template
from mellea_rx.stdlib.prompts.renderer import Sources

SUMMARY = Template(
    """\
Sum up this conversation in a few sentences, for somebody who has to go on with it. Keep names, \
facts, numbers and decisions.

{% for message in messages %}{{ message.role }}: {{ message.content }}
{% endfor %}""",
    name="summary",
)

_RECALLED = "What was said before, in short: "

_OF_THE_CALL = {
    ModelOption.SYSTEM_PROMPT,
    ModelOption.STOP_SEQUENCES,
    ModelOption.TOOLS,
    ModelOption.TOOL_CHOICE,
    ModelOption.STREAM,
}
"""Options that say how to answer a call, and so do not apply to summaries."""


@dataclass(frozen=True, slots=True)
class _Written:
    """A summary, complete or running."""

    of: tuple[Exchange, ...]
    thunk: ModelOutputThunk[str]

    @property
    def is_running(self) -> bool:
        return self.thunk._view().is_running

    @property
    def is_complete(self) -> bool:
        return self.thunk._view().is_complete

    def fits(self, exchanges: tuple[Exchange, ...]) -> bool:
        """Whether these begin with the exchanges that it summarizes."""
        return exchanges[: len(self.of)] == self.of

    @property
    def exchange(self) -> Exchange:
        text = _RECALLED + self.thunk.text.strip()
        return Exchange((RequestMessage("system", text),))


class SummaryCache:
    """The summaries of one session: those that its latest prompt used, and the one being written.

    It never waits for a summary. Used on the engine only, except for `close` and `copy`.

    Args:
        backend: The session's backend, which writes the summaries.
        sources: The user's templates by name, which replace the library's own.
        written: The summaries so far.
    """

    def __init__(
        self, backend: Backend, sources: Sources, written: tuple[_Written, ...] = ()
    ) -> None:
        self._backend = backend
        self._sources = sources
        self._written = written
        self._closed = False

    def copy(self) -> SummaryCache:
        """An independent copy with the complete summaries."""
        there = tuple(each for each in self._written if each.is_complete)
        return SummaryCache(self._backend, self._sources, there)

    def close(self) -> None:
        """Cancel the running summary, and start no more. May be called from any thread."""
        self._closed = True
        for each in self._written:
            each.thunk.cancel("its session was closed before its end")

    async def recall(
        self, ctx: Context, options: Options, history: tuple[Exchange, ...]
    ) -> tuple[Exchange, ...]:
        """The part of a history that a prompt contains, as shortened by its context.

        Raises:
            CallbackError: The context's compactor raised, or did not return a history.
        """
        items: Sequence[Exchange | Summary] = history
        if ctx.compactor is not None:
            items = await _compacted(ctx.compactor, history)
        used: list[_Written] = []
        exchanges: list[Exchange] = []
        for item in items:
            if isinstance(item, Summary):
                exchanges += self._resolved(item, options, used)
            else:
                exchanges.append(item)
        self._written = tuple(used)
        # Another thread may call `close` meanwhile: it sets the flag, then cancels the stored
        # summaries. Here they are stored first, then the flag is read. In these orders one of the
        # two cancels a summary that was just started; in any other it could go on running.
        if self._closed:
            self.close()
        return _last(exchanges, ctx.window_size)

    def _resolved(
        self, summary: Summary, options: Options, used: list[_Written]
    ) -> Sequence[Exchange]:
        """The summary, if complete; else the latest one before, and the exchanges since."""
        fitting = [each for each in self._written if each.fits(summary.of)]
        best = max(
            (each for each in fitting if each.is_complete),
            key=lambda each: len(each.of),
            default=None,
        )
        used += [
            each for each in fitting if each is best or each.is_running or each.of == summary.of
        ]
        exchanges = summary.of if best is None else (best.exchange, *summary.of[len(best.of) :])
        was_tried = any(each.of == summary.of for each in used)
        is_busy = any(each.is_running for each in (*self._written, *used))
        if not was_tried and not is_busy and not self._closed:
            used.append(_Written(summary.of, self._start(summary, exchanges, options)))
        return exchanges

    def _start(
        self, summary: Summary, exchanges: Sequence[Exchange], options: Options
    ) -> ModelOutputThunk[str]:
        messages = [message for exchange in exchanges for message in exchange.messages]
        prompt = template.render(SUMMARY.given(messages=messages), self._sources)
        own = Options({ModelOption.MAX_NEW_TOKENS: summary.max_tokens})
        given = own.over(options.without(*_OF_THE_CALL))
        request = Request((RequestMessage("user", prompt),), given)
        return ModelOutputThunk(partial(_write, self._backend, request), live=True)


async def _write(backend: Backend, request: Request, generation: Generation) -> None:
    log_call(generation, backend)
    gathered = CollectingSink()
    try:
        await generate_with_retries(*await resolve(backend, request), gathered)
        if not gathered.text.strip():
            raise GenerationFailedError("the model said nothing")
        generation.push(gathered.answer)
    except MelleaRxError as error:
        generation.error_observed = True  # the log reports it
        log(SummaryFailed(error_summary(error)))
        raise


async def _compacted(
    compactor: Compactor, history: tuple[Exchange, ...]
) -> Sequence[Exchange | Summary]:
    name = name_of(compactor)
    try:
        items: Any = await in_worker_thread(compactor, history)
    except Exception as error:
        raise CallbackError(
            f"the compactor {name!r} raised {type(error).__name__}: {error}"
        ) from error
    if not isinstance(items, (list, tuple)) or not all(
        isinstance(item, (Exchange, Summary)) for item in items
    ):
        raise CallbackError(
            f"the compactor {name!r} has to return a list or tuple of Exchange and Summary, "
            f"not {items!r:.200}"
        )
    return items


def _last(exchanges: list[Exchange], count: int | None) -> tuple[Exchange, ...]:
    """The last `count` exchanges, and every summary."""
    kept: list[Exchange] = []
    left = len(exchanges) if count is None else count
    for exchange in reversed(exchanges):
        is_spoken = any(message.role != "system" for message in exchange.messages)
        if left or not is_spoken:
            kept.append(exchange)
            left -= is_spoken
    return tuple(reversed(kept))
