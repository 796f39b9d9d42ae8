"""The backlog of a pulling reader, and how it waits for more.

A paced stream wakes its reader for every chunk, with all that it touches out of the cache. So the
inbox is its own future, its own awaitable and its own iterator: a wait makes no object, and the
reader's task goes on in the very turn in which its loop is told (figures: docs/decisions.md).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, Self, cast

from mellea_rx.core.chunk import Chunk
from mellea_rx.core.consumers import refuse_deadlock
from mellea_rx.core.engine import engine
from mellea_rx.core.fold import TextBuffer
from mellea_rx.core.generation import Generation
from mellea_rx.core.outlet import Outlet, loop_outlet
from mellea_rx.core.waits import Waiter, begin_wait, end_wait
from mellea_rx.errors import ConcurrentReaderError, MelleaRxError

__all__ = ["Inbox"]


class Inbox:
    """All text that came since its reader looked last, as one piece.

    Awaiting it gives the next piece, or None at the end. To asyncio's tasks it is a future: they
    know one by `_asyncio_future_blocking`, and call the methods under "The future".

    Args:
        generation: Where the text comes from.

    Attributes:
        has_ended: Whether nothing more will come.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_backlog",
        "_cancelled",
        "_context",
        "_event",
        "_failure",
        "_generation",
        "_loop",
        "_outlet",
        "_piece",
        "_resume",
        "_taken",
        "_waiter",
        "has_ended",
    )

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        # One piece as it came; only a reader that is slower than the model needs a buffer.
        self._piece = ""
        self._backlog: TextBuffer | None = None
        self.has_ended = False
        self._taken = False
        self._failure: MelleaRxError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outlet: Outlet | None = None
        self._event: threading.Event | None = None
        self._resume: Callable[[Inbox], None] | None = None
        self._context: Context | None = None
        self._cancelled: asyncio.CancelledError | None = None
        self._asyncio_future_blocking = False
        self._waiter: Waiter | None = None
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
        return self._resume is not None or self._event is not None

    def end(self) -> bool:
        """Note the end. Returns whether a reader waits for it."""
        self.has_ended = True
        return self._resume is not None or self._event is not None

    def restart(self, error: MelleaRxError) -> bool:
        """What came is void. Fails, where its reader has taken any of it."""
        self._piece, self._backlog = "", None
        if self._taken:
            self._failure = error
            self.has_ended = True
        return self._taken

    # Called on the engine, then on the reader's loop.

    def wake(self) -> None:
        """Have the reader go on, where it waits."""
        event, outlet = self._event, self._outlet
        if event is not None:
            event.set()
        elif outlet is not None:
            outlet.wake(self)

    def deliver(self) -> None:
        """Run the reader's task until it waits again."""
        resume, context = self._resume, self._context
        self._resume = self._context = None
        if resume is not None and context is not None:
            context.run(resume, self)

    def undeliverable(self) -> None:
        """The reader's loop is closed: it waits no more."""
        self._resume = self._context = None

    # The reader's side.

    def poll(self) -> str | None:
        """The next piece, "" when nothing is there yet, None at the end.

        Raises:
            MelleaRxError: The generation failed, and all its text was taken.
        """
        generation = self._generation
        with generation.lock:
            piece = self._piece
            if piece:
                if self._backlog is not None:
                    piece += str(self._backlog)
                    self._backlog = None
                self._piece = ""
                self._taken = True
            ended = self.has_ended
        if not ended:
            return piece
        failure = self._failure or generation.error
        if piece and failure is not None:
            return piece  # the error comes with the next look
        generation.seen = True
        if piece:
            return piece
        if failure is not None:
            raise failure.with_traceback(None)
        return None

    def reading(self) -> Self:
        """Itself, for a reader that is about to wait in it.

        Raises:
            ConcurrentReaderError: Another one waits in it already.
        """
        if self._resume is not None or self._event is not None:
            raise ConcurrentReaderError(
                "two readers wait in this thunk's single reader: give each its own with "
                "`thunk.subscribe`, or let one read and share what it gets"
            )
        return self

    def read_blocking(self) -> str | None:
        """The next piece, or None at the end; blocks this thread.

        Raises:
            ConcurrentReaderError: Another reader waits in it already.
            BlockingWaitError: It could never end.
            DependencyCycleError: It waits for the very call that this wait is made in.
            MelleaRxError: The generation failed, and all its text was taken.
        """
        self.reading()
        piece = self.poll()
        while piece == "":
            refuse_deadlock(self._generation)
            waiter = begin_wait(self._generation)
            event = engine().event()
            try:
                with self._generation.lock:
                    if self.has_ended or self._piece:
                        event.set()
                    self._event = event
                event.wait()
            finally:
                self._event = None
                end_wait(waiter, self._generation)
            piece = self.poll()
        return piece

    @property
    def has_all(self) -> bool:
        """Whether its reader has taken all text of a generation that ended well."""
        ended = self.has_ended and self._failure is None and self._generation.error is None
        return ended and self._taken and not self._piece

    def skip(self) -> None:
        """Leave out what came so far."""
        with self._generation.lock:
            self._piece, self._backlog = "", None

    # Not `close`, which Python calls where a coroutine that waits in it is closed.
    def leave(self) -> None:
        """Take nothing more. Ends the generation when nobody else takes it."""
        self._generation.leave(self, "its reader was closed before its end")

    # The awaitable and its iterator.

    def __await__(self) -> Generator[Any, Any, str | None]:
        return cast("Generator[Any, Any, str | None]", self)  # an iterator is all that is asked

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        # Without the lock: what comes just now is seen by `add_done_callback`, under it.
        if self._piece or self.has_ended:
            raise StopIteration(self.poll())
        self._waiter = begin_wait(self._generation)
        self._asyncio_future_blocking = True
        return self

    # The future. asyncio's tasks call these, on the reader's loop.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the task that waits."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._outlet = loop, loop_outlet(loop)
        return loop

    def add_done_callback(self, resume: Callable[[Inbox], None], *, context: Context) -> None:
        """A task waits: `resume` is its next step."""
        self._cancelled = None
        with self._generation.lock:
            self._resume, self._context = resume, context
            missed = self.has_ended or bool(self._piece)
        if missed:
            self.wake()

    def cancel(self, msg: object = None) -> bool:
        """The waiting task is cancelled: it goes on, to be told so by `result`."""
        resume, context, loop = self._resume, self._context, self._loop
        if resume is None or loop is None:
            return False
        self._resume = self._context = None
        # With its message: anyio knows the cancellations of its own scopes by theirs.
        self._cancelled = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        loop.call_soon(resume, self, context=context)
        return True

    def result(self) -> None:
        """What a task asks when it goes on."""
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            end_wait(waiter, self._generation)
        cancelled, self._cancelled = self._cancelled, None
        if cancelled is not None:
            raise cancelled
