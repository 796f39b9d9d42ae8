"""A running generation: one writer on the engine, any number of consumers anywhere.

It keeps the answer so far (a fold, not a list of chunks), hands every new chunk to the consumers
that are attached, and ends once: complete, failed or cancelled. Who attaches late gets the text so
far as one chunk.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import count
from typing import Any, Protocol

from mellea_rx.core.chunk import Chunk
from mellea_rx.core.engine import TaskHandle, engine
from mellea_rx.core.events import (
    AttemptStarted,
    Completed,
    Event,
    Failed,
    Retrying,
    events_of,
)
from mellea_rx.core.fold import Fold
from mellea_rx.core.hub import Consumer
from mellea_rx.core.journal import Journal
from mellea_rx.core.sampling_result import SamplingResult
from mellea_rx.core.waits import Waiter, runs_here
from mellea_rx.errors import (
    CallbackError,
    EngineStoppedError,
    GenerationCancelledError,
    InvalidInputError,
    MelleaRxError,
    StreamRestartedError,
    UnexpectedError,
)

__all__ = ["Generation", "Notice", "Pipeline", "as_ours"]

_UNPARSED: Any = object()
_numbers = count(1)
_LONGEST_NAME = 80


Pipeline = Callable[["Generation"], Awaitable[None]]
"""What a generation does: runs on the engine, calls `push` for every chunk, returns at the end."""


def as_ours(error: Exception) -> MelleaRxError:
    """What a generation fails with: an error of the tree as it is, any other as its cause."""
    if isinstance(error, MelleaRxError):
        return error
    wrapped = UnexpectedError(f"the generation failed: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def _settled(
    value: Chunk,
    error: MelleaRxError | None,
    parsed: Any,
    unparsable: MelleaRxError | None,
    sampling: SamplingResult | None,
    live: bool,
    name: str,
    ttft: float | None,
    duration: float,
) -> Generation:
    """A generation that ended elsewhere, from what was kept of it."""

    def parse(_: str) -> Any:
        if unparsable is not None:
            raise unparsable
        return parsed

    generation = Generation(live=live, parse=parse, about=name)
    generation.push(value)
    generation.sampling = sampling
    generation.settle(error, ttft, duration)
    return generation


class Notice(Consumer[Chunk], Protocol):
    """Tells a loop that a generation has ended.

    Attributes:
        outlet: Where it is told.
    """

    outlet: Any


class Generation:
    """The state behind a thunk.

    Args:
        live: Consumers get chunks as they come; else the whole, once, at the end.
        needs: Event loops that have to run for this generation to go on (they run callables of
            the user's), so a blocking wait on one of them could never end.
        dependencies: Generations that it waits for; while they run, it needs what they need.
        parse: The whole text into what it stands for; the text itself by default.
        about: What it is asked, for messages that have to name it.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_consumers",
        "_dependencies",
        "_ended_at",
        "_error",
        "_first_at",
        "_fold",
        "_handle",
        "_journal",
        "_loops",
        "_narrated",
        "_opening",
        "_parse",
        "_parsed",
        "_started_at",
        "_value",
        "about",
        "error_observed",
        "live",
        "lock",
        "loop",
        "notice",
        "number",
        "sampling",
        "seen",
        "waits_for",
        "witness",
    )

    def __init__(
        self,
        *,
        live: bool = False,
        needs: tuple[asyncio.AbstractEventLoop, ...] = (),
        dependencies: Iterable[Generation] = (),
        parse: Callable[[str], Any] = str,
        about: object = "a call",
    ) -> None:
        self._parse = parse
        self.about = about
        self.waits_for: tuple[Waiter, ...] = ()
        self.live = live
        self._loops = needs
        self._dependencies = tuple([each for each in dependencies if not each.has_ended])
        self.lock = threading.Lock()
        self.seen = False
        """Whether its end has reached somebody; see `ModelOutputThunk.is_computed`."""
        self.notice: Notice | None = None
        """Told of the end like a consumer, but it takes nothing: nobody watches through it."""
        self.witness: Consumer[Chunk] | None = None
        """As `notice`, for the log."""
        self.number = next(_numbers)
        """The call's number in this process: its name in the log."""
        self.error_observed = False
        """Whether its error has reached somebody."""
        self.sampling: SamplingResult | None = None
        self._fold = Fold()
        self._value: Chunk | None = None
        self._consumers: list[Consumer[Chunk]] = []
        self._error: MelleaRxError | None = None
        self._parsed: Any = _UNPARSED
        self._handle: TaskHandle | None = None
        running = engine()
        self._clock = running.clock
        self.loop = running.loop
        self._started_at = self._clock()
        self._first_at: float | None = None
        self._ended_at: float | None = None
        self._opening: AttemptStarted | None = None
        self._journal: Journal | None = None
        self._narrated = False

    # Copies and pickles.

    def require_ended(self) -> None:
        """Refuse to be copied.

        Raises:
            InvalidInputError: It still runs.
        """
        if self._ended_at is None:
            raise InvalidInputError(
                f"{self.name!r} still runs, and what runs cannot be copied or pickled: wait for "
                "its end first, with `await thunk.avalue()` or `thunk.wait()`"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        self.require_ended()
        parsed = unparsable = None
        if self._error is None:
            try:
                parsed = self.parsed
            except MelleaRxError as error:
                unparsable = error
        sampling = None if self.sampling is None else self.sampling.without_functions()
        settled = (self._value, self._error, parsed, unparsable, sampling)
        return _settled, (*settled, self.live, self.name, self.ttft, self.duration)

    def settle(self, error: MelleaRxError | None, ttft: float | None, duration: float) -> None:
        """Be an ended generation, with the times of another one."""
        self.end(error)
        self.seen = self.error_observed = True
        self._started_at, self._first_at, self._ended_at = 0.0, ttft, duration

    # The writer's side, on the engine.

    def start(self, pipeline: Pipeline) -> None:
        """Run `pipeline` on the engine, with the caller's contextvars."""
        self._handle = engine().spawn(partial(self._run, pipeline), owner=self, lost=self.end)

    def push(self, chunk: Chunk) -> None:
        """One more chunk of the answer. Ignored after the end."""
        with self.lock:
            if self._ended_at is not None:
                return
            if self._first_at is None and chunk:
                self._first_at = self._clock()
            self._fold.add(chunk)
            # One consumer is the common case: no list for it.
            woken: Consumer[Chunk] | None = None
            others: list[Consumer[Chunk]] | None = None
            if self.live:
                for consumer in self._consumers:
                    if consumer.add(chunk):
                        if woken is None:
                            woken = consumer
                        elif others is None:
                            others = [consumer]
                        else:
                            others.append(consumer)
            told = None if self._journal is None else self._record(chunk)
        if woken is not None:
            woken.wake()
        for consumer in others or ():
            consumer.wake()
        for listener in told or ():
            listener.wake()

    @property
    def text(self) -> str:
        """The text of the answer so far."""
        return self.answer().text

    @property
    def spoke(self) -> bool:
        """Whether anything of the answer has come."""
        return self._first_at is not None

    def retrying(self, error: MelleaRxError, pause: float, *, restarts: bool) -> None:
        """The answer of a plain call will be asked for again."""
        journal = self.journal()
        journal.add(Retrying(journal.now(), 0, str(error), pause, restarts))

    def restart(self, error: MelleaRxError) -> bool:
        """Take back what came. Consumers that have got any of it fail; the others go on."""
        void = StreamRestartedError(
            f"the answer broke off, and was begun again after text of it had been taken: {error}"
        )
        with self.lock:
            void.text = self._fold.peek().text
            self._fold = Fold()
            self._first_at = None
            failed = [each for each in self._consumers if each.restart(void)]
            self._consumers = [each for each in self._consumers if each not in failed]
        for consumer in failed:
            consumer.wake()
        return True

    def open(self, backend: str, prompt: str) -> None:
        """The one attempt of a plain call begins."""
        event = AttemptStarted(self.duration, 0, backend, prompt)
        with self.lock:
            self._opening = event
            told = [] if self._journal is None else self._journal.record((event,))
        for listener in told:
            listener.wake()

    def narrate(self) -> Journal:
        """The record, for a pipeline that tells of its attempts itself: `push` records nothing."""
        with self.lock:
            self._narrated = True
            if self._journal is None:
                self._journal = Journal(self.lock, self._clock, self._started_at)
            return self._journal

    def stands_for(self, value: Any) -> None:
        """Say what the text stands for, for a pipeline that knows it: it is not parsed then."""
        self._parsed = value

    def _record(self, chunk: Chunk) -> list[Consumer[Event]]:
        journal = self._journal
        if journal is None or self._narrated:
            return []
        return journal.record(tuple(events_of(0, journal.now(), chunk)))

    async def _run(self, pipeline: Pipeline) -> None:
        runs_here(self)
        try:
            await pipeline(self)
        except asyncio.CancelledError:
            self.end(GenerationCancelledError("the generation was cancelled"))
        except Exception as error:
            self.end(as_ours(error))
        else:
            self.end(None)

    def end(self, error: MelleaRxError | None) -> bool:
        """End it, once.

        Args:
            error: Why it failed; None when it is complete.

        Returns:
            Whether this call ended it.
        """
        with self.lock:
            if self._ended_at is not None:
                return False
            self._ended_at = self._clock()
            self._value = self._fold.peek()
            self._error = error
            self._dependencies = ()
            if error is not None:
                # Its frames are the pipeline's, and refer to this call and to what it is made of.
                error.__traceback__ = None
                if error.__suppress_context__:  # nobody is shown it, and it has frames as well
                    error.__context__ = None
                error.text = error.text or self._value.text
            consumers, self._consumers = self._consumers, []
            if self.notice is not None:
                consumers.append(self.notice)
                self.notice = None  # it refers to this generation: no circle
            if self.witness is not None:
                # First: who goes on after the end finds it in the log.
                consumers.insert(0, self.witness)
            woken = [consumer for consumer in consumers if self._finish(consumer, live=self.live)]
            told = [] if self._journal is None else self._journal.record((self._last_event(),))
        for consumer in woken:
            consumer.wake()
        for listener in told:
            listener.wake()
        return True

    def _last_event(self) -> Event:
        error = self._error
        if error is None:
            return Completed(self.duration, self._fold.peek().finish_reason)
        return Failed(self.duration, type(error).__name__, str(error))

    def _finish(self, consumer: Consumer[Chunk], *, live: bool) -> bool:
        """Give a consumer its terminal, and the whole before it where it did not get it live."""
        told = False
        value = self._value
        if not live and value is not None and (self._error is None or value):
            told = consumer.add(value)
        return consumer.end() or told

    # The consumers' side, from any thread.

    def attach(self, consumer: Consumer[Chunk]) -> None:
        """Hand over the answer so far as one chunk, then what comes."""
        with self.lock:
            if self._ended_at is not None:
                waiting = self._finish(consumer, live=False)
            else:
                waiting = self.live and bool(self._fold) and consumer.add(self._fold.peek())
                self._consumers.append(consumer)
        if waiting:
            consumer.wake()

    def detach(self, consumer: Consumer[Chunk]) -> None:
        """Forget a consumer. Idempotent."""
        with self.lock:
            if consumer in self._consumers:
                self._consumers.remove(consumer)

    def take_notice(self, outlet: object) -> Notice | None:
        """The notice for this outlet, for a wait there that gives it itself. None for another one.

        Returns:
            For `give_back`.
        """
        with self.lock:
            notice = self.notice
            if notice is None or notice.outlet is not outlet:
                return None
            self.notice = None
            return notice

    def give_back(self, notice: Notice | None) -> None:
        """The wait is over, perhaps before the end: the notice is given as if it had not been."""
        if notice is None:
            return
        with self.lock:
            if self._ended_at is None:
                self.notice = notice
            else:
                self.seen = True

    def leave(self, consumer: Consumer[Chunk], why: str) -> None:
        """Forget a consumer; end the generation when nobody else is attached.

        Args:
            consumer: Who leaves.
            why: What the `GenerationCancelledError` says.
        """
        self.detach(consumer)
        self.cancel_unless_watched(why)

    def cancel_unless_watched(self, why: str) -> None:
        """End the generation where no consumer wants it; `why` is what its error says."""
        if not self.is_watched:
            self.cancel(why)

    @property
    def is_watched(self) -> bool:
        """Whether anybody is attached who wants it."""
        with self.lock:
            return not all(each.is_idle for each in self._consumers)

    def cancel(self, why: str) -> None:
        """End it now, and its request on the server with it. Idempotent, from any thread."""
        if self.end(GenerationCancelledError(why)) and self._handle is not None:
            self._handle.cancel()

    async def work_ended(self) -> None:
        """Wait until nothing of its work runs any more, its request included. On the engine."""
        if self._handle is not None:
            await self._handle.ended()

    def abandon(self) -> None:
        """Nobody can read it any more: end its work.

        Takes no lock: it is called when a reference dies, and that may be anywhere, also in the
        middle of this very generation's `push`.
        """
        if self._ended_at is None and self._handle is not None:
            self._handle.cancel()

    def unbegun(self) -> None:
        """End: nobody wanted it any more before its work began."""
        self.end(GenerationCancelledError("the generation was cancelled before it began"))

    def orphaned(self) -> None:
        """End in a forked child, where the engine that ran it does not exist."""
        self.lock = threading.Lock()  # another thread of the parent may have held it
        if self._journal is not None:
            self._journal.lock = self.lock
        self.end(EngineStoppedError("this generation runs in the parent process, not in its fork"))

    def taken(self) -> None:
        """A consumer has got the end."""
        self.seen = self.error_observed = True

    # What can be read of it.

    def journal(self) -> Journal:
        """The record of its events; kept from the first look on, and begun with what was."""
        with self.lock:
            if self._journal is None:
                journal = self._journal = Journal(self.lock, self._clock, self._started_at)
                past: list[Event] = [] if self._opening is None else [self._opening]
                past += events_of(0, self.ttft or 0.0, self._value or self._fold.peek())
                if self._ended_at is not None:
                    past.append(self._last_event())
                journal.record(tuple(past))
            return self._journal

    def answer(self) -> Chunk:
        """The answer so far, as one chunk."""
        value = self._value
        if value is not None:
            return value
        with self.lock:
            return self._fold.peek()

    @property
    def name(self) -> str:
        """What a message calls it: what it is asked, cut short."""
        name = self.about if isinstance(self.about, str) else repr(self.about)
        return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"

    @property
    def needs(self) -> tuple[asyncio.AbstractEventLoop, ...]:
        """The event loops that have to run for it to go on: its own, and its dependencies'.

        Asked anew each time: once a dependency has ended, its loop may be gone.
        """
        loops: set[asyncio.AbstractEventLoop] = set()
        seen: set[Generation] = set()
        waiting: list[Generation] = [self]
        while waiting:
            each = waiting.pop()
            if each not in seen and not each.has_ended:
                seen.add(each)
                loops.update(each._loops)
                waiting += each._dependencies
        return tuple(loops)

    @property
    def has_ended(self) -> bool:
        """Whether it is complete, failed or cancelled."""
        return self._ended_at is not None

    @property
    def error(self) -> MelleaRxError | None:
        """Why it failed; None while it runs and when it is complete."""
        return self._error

    @property
    def was_cancelled(self) -> bool:
        """Whether it ended by being cancelled."""
        return isinstance(self._error, GenerationCancelledError)

    @property
    def parsed(self) -> Any:
        """What the whole text stands for. Parsed on the first look, in the thread that looks.

        Raises:
            CallbackError: The component cannot parse the text; `text` has it.
        """
        if self._parsed is _UNPARSED:
            text = self.answer().text
            try:
                self._parsed = self._parse(text)
            except MelleaRxError:
                raise
            except Exception as error:
                raise CallbackError(
                    f"the component cannot parse this answer: {type(error).__name__}: {error}",
                    text=text,
                ) from error
        return self._parsed

    @property
    def ttft(self) -> float | None:
        """Seconds from the call to the first content; None before it."""
        return None if self._first_at is None else self._first_at - self._started_at

    @property
    def duration(self) -> float:
        """Seconds from the call to the end, or to now while it runs."""
        ended = self._ended_at
        return (self._clock() if ended is None else ended) - self._started_at
