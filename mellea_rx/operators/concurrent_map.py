"""Concurrent work over a stream of inputs, with a limit: what `map_async` and `map_generate` share.

It is a state machine on the subscriber's event loop. The end of one input's work emits the results
that are due and starts the next inputs, by callbacks: there is no task, lock or event per input.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from typing import Any, Generic, Protocol, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from mellea_rx.core.runtime.delivery import delivery_target_for, loop_dispatcher, running_loop
from mellea_rx.core.runtime.user_functions import is_given_up, started_in_worker_thread
from mellea_rx.core.runtime.wait_graph import current_call
from mellea_rx.core.streams.coroutine_source import AckChannel
from mellea_rx.core.streams.observable import Stream, safe_on_next, safe_terminate
from mellea_rx.core.streams.subscriptions import ObserverSubscription
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.errors import GenerationCancelledError
from mellea_rx.operators.bridges import Inputs
from mellea_rx.operators.input_feeds import feed_of
from mellea_rx.operators.items import Tagged

__all__ = ["ConcurrentMap", "Operation", "Row"]

R = TypeVar("R")

JOINABLE = (str, Chunk, Tagged)
"""The result types that `to_async_iterator` joins for a slow reader."""

READER_ITERATIONS = 4
"""Loop iterations within which a waiting reader certainly takes its item (it needs three)."""

STARTS_PER_ITERATION = 32
"""The largest number of inputs started in one loop iteration; then other callbacks run."""


class Operation(Protocol):
    """The work of one subscription on its inputs. All methods are called on its event loop."""

    def pause(self) -> float:
        """Return the seconds until the next input may be requested; 0.0 for now."""
        ...

    def count_start(self) -> None:
        """Count an input that is requested."""
        ...

    def start(self, row: Row) -> None:
        """Start the work on an input. It has to end with `row.complete`, `finish` or `fail`.

        Raises:
            Exception: The work cannot be started; the stream fails with this exception.
        """
        ...

    def count_end(self, row: Row) -> None:
        """Count an input whose work has finished, and whose result was taken."""
        ...


class ConcurrentMap(Stream[R]):
    """An Observable of the results of some work on each input.

    An input is pulled when fewer than `max_concurrent` are in progress: from the start of its work
    until that has finished and its result was taken, however slow the work or the subscriber.

    It runs on the subscriber's event loop; without one (sync code, or a scheduler of another kind)
    on a loop of its own, in a thread. Disposing the subscription cancels all work.

    Args:
        inputs: The inputs, pulled anew for each subscription.
        begin: Makes the operation of one subscription; called on its loop.
        max_concurrent: The largest number of inputs in progress.
        ordered: Whether results keep the order of their inputs.
    """

    def __init__(
        self,
        inputs: Inputs[Any],
        begin: Callable[[], Operation],
        *,
        max_concurrent: int,
        ordered: bool,
    ) -> None:
        super().__init__()
        self._inputs = inputs
        self._begin = begin
        self._max_concurrent = max_concurrent
        self._ordered = ordered

    def _subscribe_core(
        self, observer: abc.ObserverBase[R], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        target = delivery_target_for(scheduler)
        delivery: Delivery
        if target.loop is not None:
            delivery = direct = _DirectDelivery(observer, target.loop)
            subscription = Disposable(direct.dispose)
        else:
            delivery = emitter = AckChannel[R]()
            subscriber = ObserverSubscription(
                emitter, observer, target.dispatcher, emitter.buffer, keep=self
            )
            subscription = Disposable(subscriber.dispose)
        delivery.runs(target.spawn(partial(self._run, delivery)))
        return subscription

    async def _run(self, delivery: Delivery) -> None:
        run: _Run[R] = _Run(self._begin(), delivery, self._max_concurrent, self._ordered)
        try:
            delivery.end(await run.until_over(self._inputs))
        except Exception as error:  # raised while the inputs were closed
            delivery.end(error)
        except asyncio.CancelledError:
            delivery.end(GenerationCancelledError("the source was cancelled"))
            raise


class Delivery(Protocol):
    """Delivers results to one subscriber."""

    @property
    def is_left(self) -> bool:
        """Whether the subscription has ended on the subscriber's side."""
        ...

    def runs(self, work: Future[None]) -> None:
        """Cancel `work` when the subscription is disposed."""
        ...

    def post(self, item: Any, on_taken: Callable[[], object], /) -> None:
        """Deliver an item; call `on_taken`, on any thread, when the subscriber takes it."""
        ...

    def end(self, error: Exception | None) -> object:
        """Deliver the terminal. Called once."""
        ...


class _DirectDelivery:
    """Calls an observer directly, if it is to be called on the loop that the work runs on."""

    def __init__(self, observer: abc.ObserverBase[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._observer = observer
        self._loop = loop
        self._work: Future[None] | None = None
        self.is_left = False

    def runs(self, work: Future[None]) -> None:
        self._work = work
        # `dispose` may have been called, on another thread, before there was work to cancel.
        if self.is_left:
            self.dispose()

    def post(self, item: Any, on_taken: Callable[[], object], /) -> None:
        # The context may be that of a model call whose code made this subscription. Waits of the
        # observer are not waits of that call, so it is unset, or they would count as a cycle.
        token = current_call.set(None)
        try:
            is_well = safe_on_next(self._observer, item)
        except BaseException:
            self.dispose()
            raise
        finally:
            current_call.reset(token)
        if is_well:
            on_taken()
        else:
            self.dispose()

    def end(self, error: Exception | None) -> None:
        if not self.is_left:
            self.is_left = True
            safe_terminate(self._observer, error)

    def dispose(self) -> None:
        """Deliver nothing more, and cancel the work. Idempotent, from any thread."""
        self.is_left = True
        if self._work is not None and not self._loop.is_closed():
            self._work.cancel()


class Row:
    """One input and the work on it.

    Args:
        run: The subscription's work, of which the row is a part.
        index: The input's number, from 0.
        input: The input.
    """

    __slots__ = ("_cancel", "_is_finished", "_is_taken", "index", "input", "run", "work")

    def __init__(self, run: _Run[Any], index: int, input: Any) -> None:
        self.run = run
        self.index = index
        self.input = input
        self.work: Any = None
        """Set by the operation, for its own use."""
        self._cancel: Callable[[], object] | None = None
        self._is_finished = False
        self._is_taken = False

    def call(self, function: Callable[[Any], Any], then: Callable[[Any], object]) -> None:
        """Call a function with the input: an async one on this loop, a sync one in a worker thread.

        Args:
            function: The function. An awaitable that a sync one returns is awaited, unless it is an
                Observable: that is a result.
            then: Called with the result, unless the row is cancelled before.
        """
        if iscoroutinefunction(function):
            self._wait(function(self.input), then)
            return

        def returned(future: asyncio.Future[Any]) -> None:
            result = self._result_of(future)
            if isawaitable(result) and not isinstance(result, Observable):
                self._wait(_awaited(result), then)
            elif result is not _NO_RESULT:
                self._continue(then, result)

        future = started_in_worker_thread(_called, function, self.input)
        self._cancel = future.cancel
        future.add_done_callback(returned)

    def on_cancel(self, cancel: Callable[[], object]) -> None:
        """Set the function that cancels the work when the stream is disposed or fails."""
        self._cancel = cancel

    def complete(self, result: Any) -> None:
        """Emit the result, and finish the work."""
        self._is_finished = True
        self.run.add_result(self, result)

    def emit(self, result: Any) -> None:
        """Emit the result before the work has finished; `finish` has to follow."""
        self.run.add_result(self, result)

    def finish(self) -> None:
        """Finish the work, whose result was emitted before."""
        self._is_finished = True
        self._settle()

    def taken(self) -> None:
        """Note that the subscriber has taken the result."""
        self._is_taken = True
        self._settle()

    def fail(self, error: Exception) -> None:
        """Fail the whole stream."""
        self.run.fail(error)

    def cancel(self) -> None:
        """Cancel the work."""
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()

    def _settle(self) -> None:
        if self._is_finished and self._is_taken:
            self.run.row_ended(self)

    def _wait(self, coroutine: Any, then: Callable[[Any], object]) -> None:
        def ended(task: asyncio.Future[Any]) -> None:
            self.run.tasks.discard(task)
            result = self._result_of(task)
            if result is not _NO_RESULT:
                self._continue(then, result)

        task = asyncio.get_running_loop().create_task(coroutine)
        self.run.tasks.add(task)
        self._cancel = task.cancel
        task.add_done_callback(ended)

    def _result_of(self, future: asyncio.Future[Any]) -> Any:
        """Return a future's result; `_NO_RESULT` if the stream has failed with it, or has ended."""
        if future.cancelled():
            if not self.run.is_stopped:
                self.fail(
                    GenerationCancelledError(
                        f"the work for input {self.index} was cancelled by its own code"
                    )
                )
            return _NO_RESULT
        error = future.exception()
        if error is None:
            return _NO_RESULT if self.run.is_stopped else future.result()
        # The loop itself raises an exception that is not an Exception (such as KeyboardInterrupt);
        # the stream has to end as well.
        self.fail(error if isinstance(error, Exception) else RuntimeError(f"{error!r} was raised"))
        return _NO_RESULT

    def _continue(self, then: Callable[[Any], object], result: Any) -> None:
        self._cancel = None
        try:
            then(result)
        except Exception as error:
            self.fail(error)


_NO_RESULT: Any = object()


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def _called(function: Callable[[Any], Any], item: Any) -> Any:
    """Call a function in a worker thread; close its coroutine if the row is cancelled by then."""
    result = function(item)
    if iscoroutine(result) and is_given_up():
        result.close()
        return None
    return result


class _Run(Generic[R]):
    """The state of one subscription. All of its methods but `abandon` run on one event loop."""

    def __init__(
        self, operation: Operation, delivery: Delivery, max_concurrent: int, ordered: bool
    ) -> None:
        self._operation = operation
        self._delivery = delivery
        self._max_concurrent = max_concurrent
        self._ordered = ordered
        self._loop = asyncio.get_running_loop()
        # A callback runs in the context of whatever scheduled it; work has to start in the
        # subscriber's.
        self._context = copy_context()
        # The error is the future's result, not its exception: raised here, its traceback would
        # refer to this object, which refers to the error, and neither would be freed at once.
        self._over: asyncio.Future[Exception | None] = self._loop.create_future()
        self._rows: set[Row] = set()
        self._index = 0  # of the next input
        self._requested = 0  # inputs that were requested and have not arrived
        self._arrived: deque[Any] = deque()  # those that have arrived and are not started
        self._is_exhausted = False
        self._results: dict[int, tuple[Row, Any]] = {}  # not yet emitted, by position
        self._next_position = 0  # of the result to emit next
        self._end_position = 0  # the next one to assign, if results are not ordered
        self._is_resting = False  # whether a text was emitted a few loop iterations ago
        self._is_advancing = False
        self._is_due = False  # whether something changed while `advance` was running
        self._later: asyncio.Handle | None = None
        self.dispatcher = loop_dispatcher(self._loop)
        self.tasks: set[asyncio.Future[Any]] = set()
        self.is_stopped = False

    async def until_over(self, inputs: Inputs[Any]) -> Exception | None:
        """Run all the work.

        Returns:
            The exception of the inputs, or of the work on one of them; None on completion.
        """
        self._feed = feed_of(inputs, self)
        try:
            self.advance()
            return await self._over
        finally:
            await self._stop()

    # Events.

    def on_input(self, item: Any) -> None:
        """Take an input that was requested."""
        if self.is_stopped:
            return
        self._requested -= 1
        self._arrived.append(item)
        self.advance()

    def on_inputs_completed(self) -> None:
        """Take the end of the inputs."""
        self._requested = 0
        self._is_exhausted = True
        self.advance()

    def add_result(self, row: Row, result: R) -> None:
        """Take the result of a row."""
        if self.is_stopped:
            return
        if self._ordered:
            self._results[row.index] = row, result
        else:
            self._results[self._end_position] = row, result
            self._end_position += 1
        self.advance()

    def row_ended(self, row: Row) -> None:
        """Take the end of a row, whose work has finished and whose result was taken."""
        self._rows.discard(row)
        self._operation.count_end(row)
        self.advance()

    def fail(self, error: Exception) -> None:
        """End the stream with an error."""
        self.is_stopped = True
        if not self._over.done():
            self._over.set_result(error)

    def abandon(self) -> None:
        """Cancel all rows, since the loop is closed. Called on any thread."""
        self.is_stopped = True
        for row in list(self._rows):
            with suppress(RuntimeError):  # raised for a task of the closed loop
                row.cancel()

    # Reactions.

    def advance(self) -> None:
        """Emit the results that are due, and start as many inputs as may run.

        Events during that (a subscriber takes its item, work ends at once) call it again. Such a
        call only sets a flag for the loop of the running one, so that the depth of the stack does
        not grow with the number of rows.
        """
        if self._is_advancing:
            self._is_due = True
            return
        self._is_advancing = True
        left = STARTS_PER_ITERATION
        try:
            self._is_due = True
            while self._is_due and self._is_live():
                self._emit_due()
                left -= self._context.run(self._start_rows, left)
        finally:
            self._is_advancing = False
        if self._is_exhausted and not (self._rows or self._arrived or self._over.done()):
            self._over.set_result(None)

    def _is_live(self) -> bool:
        return not (self.is_stopped or self._delivery.is_left)

    def _emit_due(self) -> None:
        while not self._is_resting and self._is_live():
            due = self._results.pop(self._next_position, None)
            if due is None:
                return
            self._next_position += 1
            row, result = due
            if isinstance(result, JOINABLE):
                # Set before the item is delivered, since its delivery may call `advance`.
                self._rest(READER_ITERATIONS)
            self._delivery.post(result, partial(self._taken, row))

    def _rest(self, iterations: int) -> None:
        """Emit nothing for some loop iterations, in which a waiting reader takes its text.

        The reader joins the texts that wait for it, and could not tell those of two rows apart.
        """
        self._is_resting = iterations > 0
        if self._is_resting:
            self._loop.call_soon(self._rest, iterations - 1)
        else:
            self.advance()

    def _taken(self, row: Row) -> None:
        if running_loop() is self._loop:
            row.taken()
            return
        with suppress(RuntimeError):  # the loop is closed, and all work has ended
            self._loop.call_soon_threadsafe(row.taken)

    def _start_rows(self, most: int) -> int:
        """Request inputs, start those that have arrived, and return the number of starts."""
        self._request(most - len(self._arrived))
        # Cleared before the starts: an event during one of them has to be handled after it.
        self._is_due = False
        started = 0
        while self._arrived and started < most and self._is_live():
            started += 1
            row = Row(self, self._index, self._arrived.popleft())
            self._index += 1
            self._rows.add(row)
            try:
                self._operation.start(row)
            except Exception as error:
                self.fail(error)
        if self._arrived:
            self._advance_later(0.0)
        return started

    def _request(self, most: int) -> None:
        capacity = self._max_concurrent - len(self._rows) - len(self._arrived) - self._requested
        if self._is_exhausted or capacity <= 0:
            return
        count = 0
        while count < min(capacity, most):
            pause = self._operation.pause()
            if pause > 0:
                self._advance_later(pause)
                break
            self._operation.count_start()
            count += 1
        else:
            if count < capacity:
                self._advance_later(0.0)
        if count:
            self._requested += count
            self._feed.request(count)

    def _advance_later(self, pause: float) -> None:
        if self._later is not None:
            self._later.cancel()
        self._later = self._loop.call_later(pause, self.advance)

    async def _stop(self) -> None:
        self.is_stopped = True
        if self._later is not None:
            self._later.cancel()
        for row in list(self._rows):
            row.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)
        self._rows.clear()
        self._results.clear()
        self._arrived.clear()
        await self._feed.close()
