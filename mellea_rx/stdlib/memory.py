"""What a session recalls of a long conversation, and the summaries that its model writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mellea_rx.core.arguments import name_of
from mellea_rx.core.backend import Backend
from mellea_rx.core.call_log import log_call
from mellea_rx.core.component import Template
from mellea_rx.core.context import Compactor, Context, Exchange, Summary
from mellea_rx.core.generation import Generation
from mellea_rx.core.logs import SummaryFailed, error_summary, log
from mellea_rx.core.options import ModelOption, Options
from mellea_rx.core.request import Request, WireMessage
from mellea_rx.core.sink import Gathered
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.core.worker_threads import in_worker_thread
from mellea_rx.errors import CallbackError, GenerationFailedError, MelleaRxError
from mellea_rx.formatters import template
from mellea_rx.formatters.template import Sources
from mellea_rx.stdlib.answers import resolve
from mellea_rx.stdlib.tries import generate_with_retries

__all__ = ["SUMMARY", "Memory"]

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
"""Options that say how to answer a call, and so not how to sum up."""


@dataclass(frozen=True, slots=True)
class _Written:
    """A summary, there or on its way."""

    of: tuple[Exchange, ...]
    thunk: ModelOutputThunk[str]

    @property
    def is_running(self) -> bool:
        return self.thunk.view().is_running

    @property
    def is_there(self) -> bool:
        return self.thunk.view().is_complete

    def fits(self, exchanges: tuple[Exchange, ...]) -> bool:
        """Whether these begin with what it sums up."""
        return exchanges[: len(self.of)] == self.of

    @property
    def exchange(self) -> Exchange:
        text = _RECALLED + self.thunk.text.strip()
        return Exchange((WireMessage("system", text),))


class Memory:
    """The summaries of one session: those that its latest prompt used, and the one being written.

    It never waits for one. Used on the engine only, but for `close` and `copy`.

    Args:
        backend: Who writes them.
        sources: What takes the place of templates, by their names.
        written: Those that are there already.
    """

    def __init__(
        self, backend: Backend, sources: Sources, written: tuple[_Written, ...] = ()
    ) -> None:
        self._backend = backend
        self._sources = sources
        self._written = written
        self._closed = False

    def copy(self) -> Memory:
        """A memory of its own with the summaries that are there."""
        there = tuple(each for each in self._written if each.is_there)
        return Memory(self._backend, self._sources, there)

    def close(self) -> None:
        """End the summary that is being written, and write no more. From any thread."""
        self._closed = True
        for each in self._written:
            each.thunk.cancel("its session was closed before its end")

    async def recall(
        self, ctx: Context, options: Options, history: tuple[Exchange, ...]
    ) -> tuple[Exchange, ...]:
        """What of a history to say again, as its context wants it.

        Raises:
            CallbackError: The context's compactor raised, or gave what is no history.
        """
        items: Sequence[Exchange | Summary] = history
        if ctx.compactor is not None:
            items = await _compacted(ctx.compactor, history)
        used: list[_Written] = []
        said: list[Exchange] = []
        for item in items:
            said += self._resolved(item, options, used) if isinstance(item, Summary) else [item]
        self._written = tuple(used)
        if self._closed:  # meanwhile, by another thread
            self.close()
        return _last(said, ctx.window_size)

    def _resolved(
        self, summary: Summary, options: Options, used: list[_Written]
    ) -> Sequence[Exchange]:
        """The summary, where it is there; else the latest one before it, and what came since."""
        fitting = [each for each in self._written if each.fits(summary.of)]
        best = max(
            (each for each in fitting if each.is_there), key=lambda each: len(each.of), default=None
        )
        used += [
            each for each in fitting if each is best or each.is_running or each.of == summary.of
        ]
        said = summary.of if best is None else (best.exchange, *summary.of[len(best.of) :])
        was_tried = any(each.of == summary.of for each in used)
        is_busy = any(each.is_running for each in (*self._written, *used))
        if not was_tried and not is_busy and not self._closed:
            used.append(_Written(summary.of, self._start(summary, said, options)))
        return said

    def _start(
        self, summary: Summary, said: Sequence[Exchange], options: Options
    ) -> ModelOutputThunk[str]:
        messages = [message for exchange in said for message in exchange.messages]
        prompt = template.render(SUMMARY.given(messages=messages), self._sources)
        own = Options({ModelOption.MAX_NEW_TOKENS: summary.max_tokens})
        given = own.over(options.without(*_OF_THE_CALL))
        request = Request((WireMessage("user", prompt),), given)
        return ModelOutputThunk(partial(_write, self._backend, request), live=True)


async def _write(backend: Backend, request: Request, generation: Generation) -> None:
    log_call(generation, backend)
    gathered = Gathered()
    try:
        await generate_with_retries(*await resolve(backend, request), gathered)
        if not gathered.text.strip():
            raise GenerationFailedError("the model said nothing")
        generation.push(gathered.answer)
    except MelleaRxError as error:
        generation.error_observed = True  # this is where it is told of
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


def _last(said: list[Exchange], count: int | None) -> tuple[Exchange, ...]:
    """The last so many exchanges, and every summary."""
    kept: list[Exchange] = []
    left = len(said) if count is None else count
    for exchange in reversed(said):
        is_spoken = any(message.role != "system" for message in exchange.messages)
        if left or not is_spoken:
            kept.append(exchange)
            left -= is_spoken
    return tuple(reversed(kept))
