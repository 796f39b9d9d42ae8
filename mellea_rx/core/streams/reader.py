"""The reader of a thunk's text: pull-based, one at a time, on any event loop or thread."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar

from mellea_rx.core.runtime.engine import engine
from mellea_rx.core.runtime.stored_errors import raisable
from mellea_rx.core.runtime.wait_graph import Waiter, begin_wait, end_wait
from mellea_rx.core.runtime.waiting import LoopWait, Pending, ThreadWait
from mellea_rx.core.streams.buffers import TextBuffer
from mellea_rx.core.streams.generation import Generation
from mellea_rx.core.streams.retraction import Retraction
from mellea_rx.core.streams.subscriptions import refuse_deadlock
from mellea_rx.core.types.chunk import Chunk, Retracted
from mellea_rx.errors import ConcurrentReaderError, MelleaRxError

S = TypeVar("S")
T = TypeVar("T")


class PullReader(ABC, Generic[T]):
    """A buffer with one reader, which waits while the buffer is empty. A subclass has the buffer.

    Two things are decided under one lock: whether there is an item, and which wait is woken for
    one. So no wake-up is lost, and of two readers that begin together one is refused.
    """

    __slots__ = ("_pending",)

    REFUSAL: ClassVar[str]
    """Message of the `ConcurrentReaderError`."""

    def __init__(self) -> None:
        self._pending: Pending | None = None

    # The buffer. `_has_news` and `_take` are called with the lock held (`_has_news` also without).

    @property
    @abstractmethod
    def lock(self) -> AbstractContextManager[Any]:
        """Guards the buffer and the wait."""

    @abstractmethod
    def _has_news(self) -> bool:
        """Whether a read need not wait now: there is an item, or the end."""

    @abstractmethod
    def _take(self) -> T:
        """Remove the next item, for the reader; at the end, return or raise that."""

    def _event(self) -> threading.Event:
        """The event that a blocked reader waits for."""
        return engine().event()

    def _begin_wait(self, pending: Pending) -> Any:
        """Called before a reader waits; an exception refuses the wait.

        Returns:
            The argument of `_end_wait`; None where that need not be called.
        """

    def _end_wait(self, begun: Any) -> None:
        """Called when the wait is over."""

    # Its writer's side.

    @property
    def is_awaited(self) -> bool:
        """Whether a reader waits, and so has to be woken."""
        return self._pending is not None

    def wake(self) -> None:
        """Resume the reader, where one waits. Called without the lock."""
        pending = self._pending
        if pending is not None:
            pending.wake()

    # The reader's side.

    def read_blocking(self) -> T:
        """The next item; blocks this thread.

        Raises:
            ConcurrentReaderError: Another reader waits.
        """
        return self._blocking(self._take)

    def __await__(self) -> Generator[Any, Any, T]:
        """The next item, awaited on the running loop.

        Raises:
            ConcurrentReaderError: Another reader waits.
        """
        return self._read(self._take)

    def _blocking(self, take: Callable[[], S]) -> S:
        try:
            next(self._read(take, lambda: ThreadWait(self._event())))
        except StopIteration as end:
            taken: S = end.value
            return taken
        raise AssertionError("a wait that blocks its thread has ended when it returns")

    def _read(
        self, take: Callable[[], S], wait: Callable[[], Pending] = LoopWait
    ) -> Generator[Any, Any, S]:
        """The next item, as `take` gives it; by default awaited on the running loop."""
        mine: Pending | None = None
        # A wait is made without the lock: it calls the user's event loop, which may be of any kind.
        fresh = None if self._has_news() else wait()
        try:
            while True:
                with self.lock:
                    # A reader keeps its place from its first wait until it has taken an item, so
                    # that a second one cannot take the item that the first was woken for. Only a
                    # reader that was cancelled, or whose loop is closed, has lost its place.
                    other = self._pending
                    if other is not None and other is not mine and not other.is_void:
                        raise ConcurrentReaderError(self.REFUSAL)
                    if self._has_news():
                        self._pending = None
                        return take()
                    # Woken by all that is added from here on: the lock keeps writers out until
                    # the wait is in its place, so that no wake-up is lost.
                    if fresh is not None:
                        mine = self._pending = fresh
                if fresh is None:  # another reader has just taken the item
                    fresh = wait()
                    continue
                begun = self._begin_wait(fresh)
                try:
                    suspended = fresh.pause()
                    fresh = None
                    if suspended is not None:
                        yield suspended
                finally:
                    if begun is not None:
                        self._end_wait(begun)
        finally:
            # Without the lock: a coroutine that is dropped ends here, and that may be anywhere,
            # also where this thread holds the lock already.
            if mine is not None:
                mine.leave()


class TextReader(PullReader["str | None"]):
    """Reads the text of a generation: all text since the last read, as one piece.

    A read returns the next piece, or None at the end. Besides the errors of every `PullReader` it
    raises `DependencyCycleError` where it waits for the very call that it is made in, and the
    generation's error after all its text.

    Args:
        generation: The source of the text.

    Attributes:
        has_ended: Whether no more text comes.
        has_failed: Whether a reader was told by an error that its text is void.
        is_idle: Whether the reader was closed, and has not been read since.
    """

    __slots__ = (
        "_backlog",
        "_failure",
        "_generation",
        "_piece",
        "_retracted",
        "_taken",
        "has_ended",
        "has_failed",
        "is_idle",
    )

    REFUSAL = (
        "two readers wait in this thunk's single reader: give each its own with "
        "`thunk.subscribe`, or let one read and share what it gets"
    )

    def __init__(self, generation: Generation) -> None:
        super().__init__()
        self._generation = generation
        # The first piece as it is; only a reader that is slower than the model needs a buffer.
        self._piece = ""
        self._backlog: TextBuffer | None = None
        self.has_ended = False
        self.is_idle = False
        self._taken = False
        self.has_failed = False
        # Text that was taken is void: the item for a reader that takes retractions, and the error
        # for any other one. Both are set, or none.
        self._retracted: Retracted | None = None
        self._failure: MelleaRxError | None = None
        generation.attach(self)

    # Called with the generation's lock held.

    def add(self, chunk: Chunk) -> bool:
        """Keep a chunk's text. Returns whether a reader waits for it."""
        text = chunk.text
        if not text:
            return False
        if not self._piece:
            self._piece = text
        else:
            if self._backlog is None:
                self._backlog = TextBuffer()
            self._backlog.add(text)
        return self._pending is not None

    def end(self) -> bool:
        """Note the end. Returns whether a reader waits for it."""
        self.has_ended = True
        return self._pending is not None

    def retract(self, retraction: Retraction) -> bool:
        """Take back text. Returns whether a reader waits, and has to be told."""
        held = self._held()
        characters = retraction.item.characters - len(held)
        self._piece, self._backlog = held[: max(-characters, 0)], None
        if characters <= 0:
            return False
        reason = retraction.item.reason
        self._retracted = Retracted.joined(self._retracted, characters, reason)
        self._failure = retraction.error
        return self._pending is not None

    # The reader's buffer.

    @property
    def lock(self) -> threading.Lock:
        return self._generation.lock

    def _has_news(self) -> bool:
        return bool(self._piece) or self.has_ended or self._failure is not None

    def _held(self) -> str:
        """The text since the last read."""
        return self._piece if self._backlog is None else self._piece + str(self._backlog)

    def _take(self) -> str | None:
        if self._failure is not None:
            self.has_failed = True
            raise raisable(self._failure)
        piece = self._piece
        if piece:
            if self._backlog is not None:
                piece = self._held()
                self._backlog = None
            self._piece = ""
            self._taken = True
        if self.has_ended:
            return self._last(piece)
        return piece

    def _last(self, piece: str) -> str | None:
        generation = self._generation
        failure = generation.error
        if piece and failure is not None:
            return piece  # the next read raises the error
        generation.end_observed = True
        if failure is not None:
            generation.error_observed = True
            raise raisable(failure)
        return piece or None

    def _take_any(self) -> str | Retracted | None:
        """As `_take`, for a reader that takes retractions as items."""
        item = self._retracted
        if item is None:
            return self._take()
        self._retracted = self._failure = None
        return item

    def with_retractions(self) -> Generator[Any, Any, str | Retracted | None]:
        """The next piece or retraction, or None at the end; awaited on the running loop."""
        return self._read(self._take_any)

    def read_any_blocking(self) -> str | Retracted | None:
        """The same; blocks this thread."""
        return self._blocking(self._take_any)

    def _begin_wait(self, pending: Pending) -> Waiter | None:
        self.is_idle = False
        if pending.blocks:
            refuse_deadlock(self._generation)
        return begin_wait(self._generation)

    def _end_wait(self, begun: Waiter | None) -> None:
        end_wait(begun, self._generation)

    @property
    def has_all(self) -> bool:
        """Whether the reader has taken all text of a generation that is complete."""
        ended = self.has_ended and self._failure is None and self._generation.error is None
        return ended and self._taken and not self._piece

    def skip(self) -> None:
        """Leave out the text so far."""
        with self._generation.lock:
            self._piece, self._backlog = "", None

    def leave(self) -> None:
        """Stop reading. Ends the generation when it has no other reader.

        The buffer stays attached: a later read goes on where this one stopped, and gets the end.
        """
        with self.lock:
            pending = self._pending
            if pending is not None and not pending.is_void:
                return  # another reader waits here
            self.is_idle = True
        self._generation.cancel_unless_watched("its reader was closed before its end")


class _Stream(AsyncIterator[T]):
    """An async iterator and context manager over the thunk's single reader.

    As a context manager it ends the generation when it is left early, unless another subscriber
    reads it or a caller waits for it.

    Args:
        reader: The buffer of the thunk's single reader.
        keep: Kept alive as long as this reader is.
    """

    __slots__ = ("_keep", "_reader")

    def __init__(self, reader: TextReader, keep: object) -> None:
        self._reader = reader
        self._keep = keep

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop reading. Ends the generation when it has no other reader."""
        self._reader.leave()


class ThunkStream(_Stream[str]):
    """The reader that `astream()` gives: an async iterator, an awaitable, a context manager."""

    __slots__ = ()

    async def __anext__(self) -> str:
        piece = await self._reader
        if piece is None:
            raise StopAsyncIteration
        return piece

    def __await__(self) -> Generator[Any, None, str]:
        """The next piece; "" at the end."""
        piece = yield from self._reader.__await__()
        return piece or ""


class RetractableStream(_Stream["str | Retracted"]):
    """The reader that `astream(retractions=True)` gives: pieces of text, and retractions."""

    __slots__ = ()

    async def __anext__(self) -> str | Retracted:
        item = await self
        if item == "":
            raise StopAsyncIteration
        return item

    def __await__(self) -> Generator[Any, None, str | Retracted]:
        """The next piece or retraction; "" at the end."""
        item = yield from self._reader.with_retractions()
        return "" if item is None else item
