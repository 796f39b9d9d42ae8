"""The thunk, an Observable of chunks: every call returns it at once, with every way to read it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, cast, overload

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from mellea_rx.core.runtime.delivery import Dispatcher, dispatcher_for, running_loop
from mellea_rx.core.runtime.fork import ForkSafeLock
from mellea_rx.core.runtime.stored_errors import raisable
from mellea_rx.core.streams.broadcast import Queue
from mellea_rx.core.streams.buffers import ChunkBuffer
from mellea_rx.core.streams.generation import Generation, Pipeline, report_unseen
from mellea_rx.core.streams.generation_view import GenerationView
from mellea_rx.core.streams.observable import Stream
from mellea_rx.core.streams.reader import RetractableStream, TextReader, ThunkStream
from mellea_rx.core.streams.subscriptions import (
    CompletionCallback,
    CompletionNotice,
    CompletionWaiter,
    KeepAlive,
    ObserverSubscription,
)
from mellea_rx.core.types.chunk import Chunk, Retracted, ToolCall, Usage
from mellea_rx.core.types.events import Event
from mellea_rx.core.types.sampling_result import SamplingResult
from mellea_rx.core.types.tool import Tool
from mellea_rx.errors import InvalidInputError, MelleaRxError

T = TypeVar("T")

_making_a_reader = ForkSafeLock()


class ModelOutputThunk(Stream[Chunk], Generic[T]):
    """A running or ended generation: a hot, replaying `Observable[Chunk]`, and a value.

    The verbs of a session make thunks; `T` is the type of `parsed`.

        mot = await m.ainstruct("Write a haiku.")    the call is on its way
        text = await mot.avalue()                    one value
        async for piece in mot.astream(): ...        one reader
        mot.pipe(ops.map(str)).subscribe(print)      any number of subscribers

    A subscriber that comes late gets the text so far as one chunk, then the live ones::

        thunk:       --Once--upon---a--time|
        subscriber:           ^
                              Once upon-a--time|

    Dropping the last reference to a running thunk ends its request on the server.
    """

    _hint = (
        "its pieces are `async for piece in thunk.astream()` or `for piece in thunk.stream()`, its "
        "text is `str(thunk)` or `await thunk`, its chunks are `to_iterator(thunk)`"
    )

    tools: tuple[Tool[..., Any], ...]
    """The tools that the model was offered and that can be called."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        live: bool = False,
        needs: tuple[asyncio.AbstractEventLoop, ...] = (),
        dependencies: Iterable[GenerationView] = (),
        parse: Callable[[str], T] | None = None,
        description: object = "a call",
        tools: tuple[Tool[..., Any], ...] = (),
        needs_retractions: bool = False,
    ) -> None:
        """Start a generation. Users get thunks from a session's verbs.

        Args:
            pipeline: Generates; runs on the engine.
            live: Readers and subscribers get chunks as they come; else the whole, once.
            needs: Event loops on which the pipeline calls functions of the user's.
            dependencies: The generations that the pipeline waits for.
            parse: Turns the whole text into `parsed`; the text itself by default.
            description: The question, for messages that have to name the call.
            tools: The tools that the model was offered.
            needs_retractions: Whether a reader that cannot be told of retractions is refused.
        """
        super().__init__()
        self.tools = tools
        self._generation = Generation(
            live=live,
            needs=needs,
            dependencies=[each.generation for each in dependencies],
            parse=parse or str,
            description=description,
            needs_retractions=needs_retractions,
        )
        self._text_reader: TextReader | None = None
        loop = running_loop()
        if loop is not None and not live:
            CompletionNotice(self._generation, loop)
        self._generation.start(pipeline)

    # One reader.

    @overload
    def astream(self, *, retractions: Literal[False] = False) -> ThunkStream: ...

    @overload
    def astream(self, *, retractions: Literal[True]) -> RetractableStream: ...

    def astream(self, *, retractions: bool = False) -> ThunkStream | RetractableStream:
        """The thunk's single reader: iterate it, or await it for the next piece.

        A piece is all text that came since the last one, so nothing is lost when the reader is
        slower than the model; the pieces' join is the whole. Without `ModelOption.STREAM`
        there is one piece, the whole. On a computed thunk: the full value, once.

        Example:
            >>> async for piece in thunk.astream():      # doctest: +SKIP
            ...     print(piece, end="")

        Args:
            retractions: Whether text that was rejected after it was read is reported by a
                `Retracted` item between the pieces. Otherwise the reader fails.

        Raises:
            InvalidInputError: The call may retract text, and has `require=True`: it needs a reader
                with `retractions=True`.
            ConcurrentReaderError: (on reading) Another coroutine waits in it already.
            RetractedError: (on reading) Text that was read is void. `astream()` called once more
                begins anew, with the text that stands.
            MelleaRxError: (on reading) The generation failed.
        """
        if retractions:
            return RetractableStream(self._reader(), keep=self)
        self._require_plain_readers()
        return ThunkStream(self._reader(), keep=self)

    @overload
    def stream(self, *, retractions: Literal[False] = False) -> Iterator[str]: ...

    @overload
    def stream(self, *, retractions: Literal[True]) -> Iterator[str | Retracted]: ...

    def stream(self, *, retractions: bool = False) -> Iterator[str] | Iterator[str | Retracted]:
        """The same reader as a plain iterator, for code without an event loop.

        Args:
            retractions: As for `astream`.

        Returns:
            An iterator of the pieces of text, as `astream`.

        Raises:
            InvalidInputError: As for `astream`.
            BlockingWaitError: (on reading) This thread's event loop has to run for the generation
                to go on.
            RetractedError: (on reading) As for `astream`.
            MelleaRxError: (on reading) The generation failed.
        """
        if retractions:
            return self._pieces_and_retractions()
        self._require_plain_readers()
        return self._pieces()

    def _pieces(self) -> Iterator[str]:
        reader = self._reader()
        while (piece := reader.read_blocking()) is not None:
            yield piece

    def _pieces_and_retractions(self) -> Iterator[str | Retracted]:
        reader = self._reader()
        while (item := reader.read_any_blocking()) is not None:
            yield item

    def _require_plain_readers(self) -> None:
        if self._generation.needs_retractions:
            raise InvalidInputError(
                "this call has release='live', on_reject='marker' and require=True: text that is "
                "read may be rejected, which a plain reader cannot be told of: read with "
                "retractions=True, or take on_reject='fail' or release='validated'"
            )

    def __aiter__(self) -> ThunkStream:
        """The pieces of `astream()`."""
        return self.astream()

    def _reader(self) -> TextReader:
        # Not `is_computed`: until the end has been delivered, this thunk's reader is to find it.
        if self._generation.has_ended and self._generation.end_observed:
            fresh = TextReader(self._generation)
            if self._generation.error is not None:
                fresh.skip()
            return fresh
        # Two threads may begin to read together: the lock lets both get the same reader.
        with _making_a_reader:
            reader = self._text_reader
            if reader is None or reader.has_failed:
                if reader is not None:
                    self._generation.detach(reader)
                reader = self._text_reader = TextReader(self._generation)
            return reader

    # One value.

    async def avalue(self) -> str:
        """Wait for the end.

        Returns:
            The whole text.

        Raises:
            MelleaRxError: The generation failed or was cancelled; the error has the text so far.
        """
        await CompletionWaiter(self._generation).wait()
        self._waited_for()
        return self.text

    async def aparsed(self) -> T:
        """Wait for the end.

        Returns:
            The typed object that the text stands for, as `parsed`.

        Raises:
            MelleaRxError: The generation failed, was cancelled, or its text cannot be parsed.
        """
        await CompletionWaiter(self._generation).wait()
        return self._waited_for().parsed

    def wait(self, timeout: float | None = None) -> ComputedThunk[T]:
        """Block until the end, also where an event loop runs.

        Args:
            timeout: Seconds; None for as long as it takes.

        Returns:
            This thunk, computed.

        Raises:
            WaitTimeoutError: The time ran out; the generation goes on.
            BlockingWaitError: This thread's event loop has to run for the generation to go on.
            MelleaRxError: The generation failed or was cancelled.
        """
        CompletionWaiter(self._generation).wait_blocking(timeout)
        return self._waited_for()

    def _waited_for(self) -> ComputedThunk[T]:
        """This thunk as a computed one: it has ended, and a wait for that has returned.

        The object changes its class: contexts, sets and callers hold this very thunk. The end never
        changes again, so a thread that still sees the other class reads the same values.
        """
        self._generation.end_observed = True
        self._result()
        self.__class__ = ComputedThunk  # pyright: ignore[reportAttributeAccessIssue]
        return cast("ComputedThunk[T]", self)

    def __await__(self) -> Generator[Any, None, str]:  # type: ignore[override]
        """Wait for the whole text, like `avalue` (a plain Observable gives its last item)."""
        return self.avalue().__await__()

    def __str__(self) -> str:
        """The whole text; waits for it. Raises the errors of `wait`."""
        return self.wait().value

    def __format__(self, spec: str) -> str:
        """The whole text, formatted; waits for it."""
        return format(str(self), spec)

    def _result(self) -> str:
        error = self._generation.error
        if error is not None:
            self._generation.error_observed = True
            raise raisable(error)
        return self._generation.answer().text

    # Without waiting.

    def is_computed(self) -> bool:
        """Whether it has ended and, with `ModelOption.STREAM`, whether the end has been delivered.

        It is False when an a-verb returns, even with a backend that answers at once. With STREAM
        it turns True when the reader has taken the last piece, or another wait has ended, so that
        `while not thunk.is_computed()` never loses the tail.
        """
        generation = self._generation
        if not generation.has_ended:
            return False
        if self._text_reader is not None and self._text_reader.has_all:
            generation.end_observed = True
        if generation.end_observed:
            return True
        # A caller that polls without ever running its loop gets its True on the next look.
        generation.end_observed = not generation.is_live
        return False

    @property
    def value(self) -> str | None:
        """The whole text when it is computed, else None. Raises the error of a failed thunk."""
        return self._result() if self.is_computed() else None

    @property
    def text(self) -> str:
        """The text so far. Never waits, never raises."""
        return self._generation.answer().text

    @property
    def thinking(self) -> str:
        """The model's reasoning so far ("" when it shows none)."""
        return self._generation.answer().thinking

    @property
    def parsed(self) -> T | None:
        """The typed object that the text stands for (a plain call: the text), when computed."""
        if not self.is_computed():
            return None
        self._result()
        return cast("T", self._generation.parsed)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls that the model asked for so far."""
        return self._generation.answer().tool_calls

    @property
    def usage(self) -> Usage | None:
        """Tokens of prompt and completion, once the server has sent them."""
        return self._generation.answer().usage

    @property
    def model(self) -> str | None:
        """The model's name as the server gives it."""
        return self._generation.answer().model

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped: "stop", "length", "tool_calls", …; None while it goes on."""
        return self._generation.answer().finish_reason

    @property
    def ttft(self) -> float | None:
        """Time to first token: seconds from the call to the first content; None before it."""
        return self._generation.ttft

    @property
    def duration(self) -> float:
        """Seconds from the call to the end, or to now while it runs."""
        return self._generation.duration

    @property
    def sampling(self) -> SamplingResult | None:
        """All attempts of the sampling strategy, once it is done; None without a strategy."""
        return self._generation.sampling

    @property
    def error(self) -> MelleaRxError | None:
        """Why it failed; None while it runs and when it is complete."""
        error = self._generation.error
        if error is not None:
            self._generation.error_observed = True
        return error

    # Ending it.

    def cancel(self, reason: str = "the generation was cancelled") -> None:
        """End the generation, on the server too. The text so far stays readable. Idempotent.

        Args:
            reason: Message of the `GenerationCancelledError` that its readers get.
        """
        self._generation.cancel(reason)

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled before its end."""
        return self._generation.was_cancelled

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cancel()

    def __del__(self) -> None:
        generation = getattr(self, "_generation", None)
        if generation is not None:
            generation.abandon()
            report_unseen(generation)

    def keep_alive(self) -> abc.DisposableBase:
        """Keep this generation running, without consuming it, until the result is disposed.

        Meanwhile no reader or subscriber that leaves ends it. Disposing ends it where nothing else
        reads it, subscribes to it or waits for it.

        Returns:
            A disposable; idempotent.
        """
        return Disposable(KeepAlive(self._generation, keep=self).dispose)

    def hold(self) -> abc.DisposableBase:
        """Keep this generation running: another name of `keep_alive`."""
        return self.keep_alive()

    @property
    def _needs(self) -> tuple[asyncio.AbstractEventLoop, ...]:
        """The event loops that have to run for this generation to go on."""
        return self._generation.needs

    def _view(self) -> GenerationView:
        """A view of the generation that does not keep it running."""
        return GenerationView(self._generation)

    # Any number of subscribers.

    def _subscribe_core(
        self, observer: abc.ObserverBase[Chunk], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        dispatcher = dispatcher_for(scheduler)
        subscriber = ObserverSubscription(
            self._generation,
            observer,
            dispatcher,
            ChunkBuffer(),
            keep=self,
            map_error=raisable,
        )
        return Disposable(subscriber.dispose)

    @property
    def events(self) -> EventStream:
        """All events of this call, rejected attempts included: an `Observable[Event]`.

        It replays the past events, goes on live, whatever `ModelOption.STREAM` says, and completes
        after a `Completed` or `Failed`.

        Example:
            >>> thunk.events.subscribe(print)      # doctest: +SKIP
        """
        return EventStream(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """The parts of a pickle or a deep copy.

        Raises:
            InvalidInputError: It still runs.
        """
        self._generation.require_ended()  # a shallow copy does not copy the generation
        return _restored, (type(self), self._generation, self.tools)

    def __dir__(self) -> list[str]:
        """The thunk's own names, then those of Rx, then the private ones; sorting keeps that."""
        return [_RankedName(name) for name in super().__dir__()]

    def __repr__(self) -> str:
        generation = self._generation
        if generation.error is not None:
            state = f"{type(generation.error).__name__}"
        else:
            state = "computed" if generation.has_ended else "running"
        text = self.text
        shown = repr(text if len(text) <= 40 else text[:39] + "…")
        return f"<{type(self).__name__} {state} {shown}>"


class ComputedThunk(ModelOutputThunk[T]):
    """A thunk whose generation is complete: `value` is a str, and `parsed` a `T`.

    The sync verbs return it, and so do a-verbs that wait. A running thunk becomes one, the same
    object, when `avalue()`, `aparsed()` or `wait()` returns; so a type checker asks for no check
    after a wait:

    Example:
        >>> thunk = await m.ainstruct("Name a river.")      # doctest: +SKIP
        >>> thunk.wait().value.upper()                      # doctest: +SKIP
        'THE RHINE'
    """

    @property
    def value(self) -> str:
        """The whole text."""
        return self._result()

    @property
    def parsed(self) -> T:
        """The typed object that the text stands for (a plain call: the text).

        Raises:
            CallbackError: The component cannot parse the text.
        """
        return cast("T", self._generation.parsed)


def _restored(
    kind: type[ModelOutputThunk[Any]], generation: Generation, tools: tuple[Tool[..., Any], ...]
) -> ModelOutputThunk[Any]:
    thunk = kind.__new__(kind)
    Observable.__init__(thunk)
    thunk.tools = tools
    thunk._generation = generation
    thunk._text_reader = None
    return thunk


class _RankedName(str):
    """A name in `dir(thunk)`: `dir` sorts, and Rx has some 150 names of its own."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return _rank(self) < _rank(other)


def _rank(name: str) -> tuple[int, str]:
    if name.startswith("_"):
        return 2, str(name)
    is_own = any(name in vars(kind) for kind in (ModelOutputThunk, ComputedThunk))
    return (0 if is_own or name == "tools" else 1), str(name)


def when_ended(
    thunk: ModelOutputThunk[Any],
    dispatcher: Dispatcher,
    ended: Callable[[], object],
    lost: Callable[[], object],
) -> CompletionCallback:
    """Have a function called when a thunk is computed or has failed; counts as a wait for it.

    Args:
        thunk: The thunk.
        dispatcher: Calls the function, after this one has returned.
        ended: The function.
        lost: Called instead, on any thread, when the dispatcher's place is gone.

    Returns:
        An object whose `dispose` cancels that.

    Raises:
        DependencyCycleError: The thunk waits for the very call that runs here.
    """
    generation = thunk._generation

    def call() -> None:
        if generation.error is None:
            thunk._waited_for()
        generation.end_observed = True
        ended()

    return CompletionCallback(generation, dispatcher, call, lost)


class EventStream(Stream[Event]):
    """A thunk's events; see `ModelOutputThunk.events`.

    Args:
        thunk: The thunk; kept alive by each subscription.
    """

    def __init__(self, thunk: ModelOutputThunk[Any]) -> None:
        super().__init__()
        self._thunk = thunk

    def _subscribe_core(
        self, observer: abc.ObserverBase[Event], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        thunk = self._thunk
        log = thunk._generation.event_log()
        dispatcher = dispatcher_for(scheduler)
        subscription = ObserverSubscription(log, observer, dispatcher, Queue(), keep=thunk)
        return Disposable(subscription.dispose)
