"""A running generation: one writer on the engine, any number of subscribers anywhere.

It is the state behind every thunk: a `Broadcast` of the answer's chunks, whose late subscribers get
the text so far as one chunk; the task that writes them; and the call's facts (`CallState`). It ends
once: complete, failed or cancelled.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from itertools import count
from typing import Any, Protocol

from mellea_rx.core.runtime.engine import TaskHandle, engine
from mellea_rx.core.runtime.logs import FailureUnseen, error_summary, log_later
from mellea_rx.core.runtime.wait_graph import Waiter, enter_call
from mellea_rx.core.streams.broadcast import Broadcast, Subscriber, wake_all
from mellea_rx.core.streams.call_state import CallState, Dependency
from mellea_rx.core.streams.chunk_broadcast import ChunkBroadcast
from mellea_rx.core.streams.event_log import EventLog
from mellea_rx.core.types.chunk import Chunk, Retracted
from mellea_rx.core.types.events import (
    AttemptStarted,
    Completed,
    Event,
    Failed,
    Retrying,
    events_of,
)
from mellea_rx.core.types.sampling_result import SamplingResult
from mellea_rx.errors import (
    EngineStoppedError,
    GenerationCancelledError,
    InvalidInputError,
    MelleaRxError,
    StreamRestartedError,
    UnexpectedError,
)

_numbers = count(1)


Pipeline = Callable[["Generation"], Awaitable[None]]
"""Generates: runs on the engine, calls `push` for every chunk, returns at the end."""


def as_ours(error: Exception) -> MelleaRxError:
    """The error that a generation fails with: one of this library's as it is, others wrapped."""
    if isinstance(error, MelleaRxError):
        return error
    wrapped = UnexpectedError(f"the generation failed: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def drop_frames(error: Exception) -> None:
    """Remove an error's frames, which refer to all that its raiser referred to."""
    error.__traceback__ = None
    if error.__suppress_context__:  # the context is never shown, and has frames as well
        error.__context__ = None


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
    """An ended generation, from a pickle or a copy."""

    def parse(_: str) -> Any:
        if unparsable is not None:
            raise unparsable
        return parsed

    generation = Generation(live=live, parse=parse, description=name)
    generation.push(value)
    generation.sampling = sampling
    generation.settle(error, ttft, duration)
    return generation


class Notice(Subscriber[Chunk], Protocol):
    """Tells an event loop that a generation has ended.

    Attributes:
        dispatcher: The dispatcher that calls it.
    """

    dispatcher: Any


class Generation(ChunkBroadcast):
    """The state behind a thunk.

    Args:
        live: Subscribers get chunks as they come; else the whole, once, at the end.
        needs: Event loops that have to run for this generation to go on (they run functions of
            the user's), so a blocking wait on one of them could never end.
        dependencies: Generations that it waits for; while they run, it needs what they need.
        parse: Turns the whole text into the call's typed value; the text itself by default.
        description: The question, for messages that have to name the call.
        needs_retractions: Whether a reader that cannot be told of retractions is refused.

    Attributes:
        end_observed: Whether the end has been delivered to a reader; see `is_computed` of thunks.
        error_observed: Whether the error has been delivered or read.
        notice: Notified of the end after all subscribers; it does not keep the generation running.
        witness: Notified of the end before all subscribers, for the log.
        number: The call's number in this process: its name in the log.
        sampling: All attempts of the sampling strategy, once it is done.
        waits_for: The calls whose end the pipeline waits for just now.
        loop: The event loop of the engine that runs the pipeline.
    """

    __slots__ = (
        "__weakref__",
        "_event_log",
        "_handle",
        "_opening",
        "_records_itself",
        "_state",
        "_value",
        "end_observed",
        "error_observed",
        "loop",
        "needs_retractions",
        "notice",
        "number",
        "sampling",
        "waits_for",
        "witness",
    )

    error: MelleaRxError | None

    def __init__(
        self,
        *,
        live: bool = False,
        needs: tuple[asyncio.AbstractEventLoop, ...] = (),
        dependencies: Iterable[Generation] = (),
        parse: Callable[[str], Any] = str,
        description: object = "a call",
        needs_retractions: bool = False,
    ) -> None:
        super().__init__(is_live=live)
        running = engine()
        self._state = CallState(running.clock, needs, dependencies, parse, description)
        self.loop = running.loop
        self.number = next(_numbers)
        self.waits_for: tuple[Waiter, ...] = ()
        self.needs_retractions = needs_retractions
        self.end_observed = False
        self.error_observed = False
        self.notice: Notice | None = None
        self.witness: Subscriber[Chunk] | None = None
        self.sampling: SamplingResult | None = None
        self._value: Chunk | None = None
        self._handle: TaskHandle | None = None
        self._opening: AttemptStarted | None = None
        self._event_log: EventLog | None = None
        self._records_itself = False
        self._set_tap()

    # Copies and pickles.

    def require_ended(self) -> None:
        """Refuse to be copied while it runs.

        Raises:
            InvalidInputError: It still runs.
        """
        if not self.has_ended:
            raise InvalidInputError(
                f"{self.name!r} still runs, and what runs cannot be copied or pickled: wait for "
                "its end first, with `await thunk.avalue()` or `thunk.wait()`"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        self.require_ended()
        parsed = unparsable = None
        if self.error is None:
            try:
                parsed = self.parsed
            except MelleaRxError as error:
                unparsable = error
        sampling = None if self.sampling is None else self.sampling.without_functions()
        settled = (self._value, self.error, parsed, unparsable, sampling)
        return _settled, (*settled, self.is_live, self.name, self.ttft, self.duration)

    def settle(self, error: MelleaRxError | None, ttft: float | None, duration: float) -> None:
        """End it with the times of another generation.

        Args:
            error: Why that one failed.
            ttft: Seconds from its call to its first content.
            duration: Seconds from its call to its end.
        """
        self.end(error)
        self.end_observed = self.error_observed = True
        state = self._state
        state.started_at, state.first_at, state.ended_at = 0.0, ttft, duration

    # The writer's side, on the engine.

    def start(self, pipeline: Pipeline) -> None:
        """Run `pipeline` on the engine, with the caller's contextvars."""
        self._handle = engine().spawn(partial(self._run, pipeline), owner=self, lost=self.end)

    push = Broadcast[Chunk].write
    """Add one more chunk of the answer. Ignored after the end."""

    def _set_tap(self) -> None:
        """Look at each chunk as long as anything but the answer depends on it."""
        records = self._event_log is not None and not self._records_itself
        is_needed = (self._state.first_at is None or records) and not self.has_ended
        self._tap = self._note if is_needed else None

    def _note(self, chunk: Chunk) -> Sequence[Subscriber[Any]]:
        """Note the time of the first content, and record a chunk's events. Holds the lock."""
        if self._state.first_at is None and self._state.note_first(chunk):
            self._set_tap()
        log = self._event_log
        if log is None or self._records_itself:
            return ()
        return log.record(tuple(events_of(0, log.now(), chunk)))

    @property
    def text(self) -> str:
        """The text of the answer so far."""
        return self.answer().text

    @property
    def has_content(self) -> bool:
        """Whether any content of the answer has come."""
        return self._state.first_at is not None

    def retrying(self, error: MelleaRxError, pause: float, *, restarts: bool) -> None:
        """Record that the request of a plain call will be repeated.

        Args:
            error: Why.
            pause: Seconds until then.
            restarts: Whether the text so far is void.
        """
        log = self.event_log()
        log.add(Retrying(log.now(), 0, str(error), pause, restarts))

    def restart(self, error: MelleaRxError) -> bool:
        """Take back the text so far. Subscribers that have got any of it fail; the others go on.

        Returns:
            True: a generation can always be restarted.
        """
        void = StreamRestartedError(
            f"the answer broke off, and was begun again after text of it had been taken: {error}"
        )
        size = len(self.answer().text)
        self.retract(Retracted(characters=size, reason=str(error)), void, is_marked=False)
        with self.lock:
            self._state.first_at = None
            self._set_tap()
        return True

    def attempt_started(self, backend: str, prompt: str) -> None:
        """Record that the one attempt of a plain call begins.

        Args:
            backend: The backend's name.
            prompt: The prompt as text.
        """
        event = AttemptStarted(self.duration, 0, backend, prompt)
        with self.lock:
            self._opening = event
            woken = () if self._event_log is None else self._event_log.record((event,))
        wake_all(woken)

    def record_events(self) -> EventLog:
        """The log of events, for a pipeline that records its attempts: `push` records nothing."""
        with self.lock:
            self._records_itself = True
            if self._event_log is None:
                self._event_log = self._new_log()
            self._set_tap()
            return self._event_log

    def set_parsed(self, value: Any) -> None:
        """Set the typed value, for a pipeline that knows it: the text is not parsed then."""
        self._state.set_parsed(value)

    async def _run(self, pipeline: Pipeline) -> None:
        enter_call(self)
        try:
            await pipeline(self)
        except asyncio.CancelledError:
            self.end(GenerationCancelledError("the generation was cancelled"))
        except Exception as error:
            self.end(as_ours(error))
        else:
            self.end(None)

    def _close(self, error: Exception | None) -> Sequence[Subscriber[Any]]:
        state = self._state
        state.note_end()
        self._value = self._history.snapshot()
        if isinstance(error, MelleaRxError):
            drop_frames(error)
            error.text = error.text or self._value.text
        witness, notice = self.witness, self.notice
        self.notice = None  # it refers to this generation: no circle
        woken = list(super()._close(error))
        # The log comes first: a caller that goes on after the end finds it there.
        if witness is not None and witness.end():
            woken.insert(0, witness)
        if notice is not None and notice.end():
            woken.append(notice)
        if self._event_log is not None:
            woken += self._event_log.record_end(self._last_event())
        return woken

    def _last_event(self) -> Completed | Failed:
        error = self.error
        if error is None:
            return Completed(self.duration, self._history.snapshot().finish_reason)
        return Failed(self.duration, type(error).__name__, str(error))

    def _replay(self) -> Iterable[Chunk]:
        value = self._value
        if value is None:
            return self._history.replay()
        # An answer that is complete is a chunk, also where it is empty.
        return (value,) if self.error is None or value else ()

    # The subscribers' side, from any thread.

    def take_notice(self, dispatcher: object) -> Notice | None:
        """Take over the notice for this dispatcher's loop, for a wait there that gives it itself.

        Returns:
            The notice, for `give_back`; None where there is none, or it is another loop's.
        """
        with self.lock:
            notice = self.notice
            if notice is None or notice.dispatcher is not dispatcher:
                return None
            self.notice = None
            return notice

    def give_back(self, notice: Notice | None) -> None:
        """Put a notice back: the wait that took it is over, perhaps before the end."""
        if notice is None:
            return
        with self.lock:
            if not self.has_ended:
                self.notice = notice
            else:
                self.end_observed = True

    def leave(self, subscriber: Subscriber[Chunk], why: str) -> None:
        """Detach a subscriber; end the generation when no other one reads it.

        Args:
            subscriber: The one that leaves.
            why: Message of the `GenerationCancelledError`.
        """
        self.detach(subscriber)
        self.cancel_unless_watched(why)

    def cancel_unless_watched(self, why: str) -> None:
        """End the generation where no subscriber reads it; `why` is its error's message."""
        if not self.is_watched:
            self.cancel(why)

    @property
    def is_watched(self) -> bool:
        """Whether any subscriber is attached that reads."""
        with self.lock:
            return not all(each.is_idle for each in self._subscribers)

    def cancel(self, why: str) -> None:
        """End it now, and its request on the server with it. Idempotent, from any thread."""
        if self.end(GenerationCancelledError(why)) and self._handle is not None:
            self._handle.cancel()

    async def work_ended(self) -> None:
        """Wait until the pipeline has ended, its request included. On the engine."""
        if self._handle is not None:
            await self._handle.ended()

    def abandon(self) -> None:
        """Cancel the pipeline: the last reference to the thunk is gone.

        Takes no lock: a finalizer may run anywhere, also in the middle of this very generation's
        `push`, in a thread that holds the lock already.
        """
        if not self.has_ended and self._handle is not None:
            self._handle.cancel()

    def never_began(self) -> None:
        """End it: it was cancelled before its pipeline began."""
        self.end(GenerationCancelledError("the generation was cancelled before it began"))

    def after_fork_in_child(self) -> None:
        """End in a forked child, where the engine that ran it does not exist."""
        self.lock = threading.Lock()  # another thread of the parent may have held it
        if self._event_log is not None:
            self._event_log.lock = self.lock
        self.end(EngineStoppedError("this generation runs in the parent process, not in its fork"))

    def end_delivered(self) -> None:
        self.end_observed = self.error_observed = True

    # Reading it, from any thread.

    def event_log(self) -> EventLog:
        """The log of events; kept from the first call on, and begun with the events so far."""
        with self.lock:
            if self._event_log is None:
                log = self._event_log = self._new_log()
                past: list[Event] = [] if self._opening is None else [self._opening]
                past += events_of(0, self.ttft or 0.0, self._value or self._history.snapshot())
                log.record(past)
                if self.has_ended:
                    log.record_end(self._last_event())
                self._set_tap()
            return self._event_log

    def _new_log(self) -> EventLog:
        return EventLog(self.lock, self._state.clock, self._state.started_at)

    def answer(self) -> Chunk:
        """The answer so far, as one chunk."""
        value = self._value
        if value is not None:
            return value
        with self.lock:
            return self._history.snapshot()

    @property
    def name(self) -> str:
        """The call's name in messages: its question, cut short."""
        return self._state.name

    @property
    def needs(self) -> tuple[asyncio.AbstractEventLoop, ...]:
        """The event loops that have to run for it to go on: its own, and its dependencies'.

        Computed anew each time: once a dependency has ended, its loop may be gone.
        """
        loops: set[asyncio.AbstractEventLoop] = set()
        visited: set[Dependency] = set()
        waiting: list[Dependency] = [self]
        while waiting:
            each = waiting.pop()
            if each not in visited and not each.has_ended:
                visited.add(each)
                loops.update(each.own_loops)
                waiting += each.dependencies
        return tuple(loops)

    @property
    def own_loops(self) -> tuple[asyncio.AbstractEventLoop, ...]:
        """The event loops that have to run for it to go on, those of its dependencies left out."""
        return self._state.loops

    @property
    def dependencies(self) -> tuple[Dependency, ...]:
        """The calls that it waits for; none after its end."""
        return self._state.dependencies

    @property
    def was_cancelled(self) -> bool:
        """Whether it ended by being cancelled."""
        return isinstance(self.error, GenerationCancelledError)

    @property
    def parsed(self) -> Any:
        """The typed value of the whole text. Parsed once, in the thread that asks first.

        Raises:
            CallbackError: The component cannot parse the text; `text` has it.
        """
        return self._state.parsed(self.answer().text)

    @property
    def ttft(self) -> float | None:
        """Seconds from the call to the first content; None before it."""
        return self._state.ttft

    @property
    def duration(self) -> float:
        """Seconds from the call to the end, or to now while it runs."""
        return self._state.duration


def report_unseen(generation: Generation) -> None:
    """Log an error that was never delivered or read. Takes no lock: a finalizer calls it.

    Cancellations are not logged, since they were wanted; nor that the engine has stopped.
    """
    error = generation.error
    if error is None or generation.error_observed:
        return
    if not isinstance(error, (GenerationCancelledError, EngineStoppedError)):
        log_later(FailureUnseen(generation.number, error_summary(error)), generation.loop)
