"""Work over a stream of inputs, so much at once: a state machine on the subscriber's event loop.

Each end of some work hands out the result that is due and starts the next input there and then, by
callbacks: a row has no task, lock, event or acknowledgement of its own.
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

from mellea_rx.core.chunk import Chunk
from mellea_rx.core.consumers import ObserverSubscription
from mellea_rx.core.emitter import AckChannel
from mellea_rx.core.home import home_for
from mellea_rx.core.observers import finish, give
from mellea_rx.core.outlet import loop_outlet, running_loop
from mellea_rx.core.stream import Stream
from mellea_rx.core.waits import RUNNING
from mellea_rx.core.worker_threads import is_given_up, started_in_worker_thread
from mellea_rx.errors import GenerationCancelledError
from mellea_rx.operators.from_async_iterable import Inputs
from mellea_rx.operators.input_feeds import feed_of
from mellea_rx.operators.tagged import Tagged

__all__ = ["ConcurrentMap", "Operation", "Row"]

R = TypeVar("R")

JOINABLE = (str, Chunk, Tagged)
"""Results that a slow reader gets joined; see `to_async_iterator`."""

READERS_TURNS = 4
"""Turns of the loop in which a reader that waits takes its item for sure (it needs three)."""

STARTS_A_TURN = 32
"""So many inputs are asked for, and started, in one turn of the loop; then others have theirs."""


class Operation(Protocol):
    """The work of one subscription. Called on its event loop."""

    def pause(self) -> float:
        """Seconds until the next input may be asked for, as far as it is known; 0.0 for at once."""
        ...

    def count_start(self) -> None:
        """One more input is asked for."""
        ...

    def start(self, row: Row) -> None:
        """Start the work on an input; it ends with `row.complete`, `row.finish` or `row.fail`.

        Raises:
            Exception: It cannot be started: the stream fails with it.
        """
        ...

    def count_end(self, row: Row) -> None:
        """The work on an input is finished, and its result was taken."""
        ...


class ConcurrentMap(Stream[R]):
    """The results of some work for each input.

    An input is pulled when there is room for its work, and there is room again when its work is
    done and its result taken. So no more inputs are on their way than may be worked at, however
    slow the work or the subscriber.

    It runs on the subscriber's event loop; without one (sync code, or a scheduler of another kind)
    on one of its own, in a thread. Disposing the subscription ends all work.

    Args:
        inputs: Pulled from, anew for each subscription.
        begin: Makes the work of one subscription; called on its loop.
        max_concurrent: How many inputs are worked at.
        ordered: Whether results come in the order of their inputs.
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
        home = home_for(scheduler)
        delivery: Delivery
        if home.loop is not None:
            delivery = direct = _DirectDelivery(observer, home.loop)
            subscription = Disposable(direct.dispose)
        else:
            delivery = emitter = AckChannel[R]()
            subscriber = ObserverSubscription(
                emitter, observer, home.outlet, emitter.buffer, keep=self
            )
            subscription = Disposable(subscriber.dispose)
        delivery.runs(home.spawn(partial(self._run, delivery)))
        return subscription

    async def _run(self, delivery: Delivery) -> None:
        run: _Run[R] = _Run(self._begin(), delivery, self._max_concurrent, self._ordered)
        try:
            delivery.end(await run.until_over(self._inputs))
        except Exception as error:  # of closing the inputs
            delivery.end(error)
        except asyncio.CancelledError:
            delivery.end(GenerationCancelledError("the source was cancelled"))
            raise


class Delivery(Protocol):
    """Hands results to one subscriber."""

    @property
    def is_left(self) -> bool:
        """Whether the subscriber has gone."""
        ...

    def runs(self, work: Future[None]) -> None:
        """Cancel this work when the subscriber has gone."""
        ...

    def post(self, item: Any, told: Callable[[], object], /) -> None:
        """Hand over an item; `told` is called, on any thread, when the subscriber takes it."""
        ...

    def end(self, error: Exception | None) -> object:
        """No more items. Once."""
        ...


class _DirectDelivery:
    """Calls an observer there and then: for one whose place is the event loop that calls this."""

    def __init__(self, observer: abc.ObserverBase[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._observer = observer
        self._loop = loop
        self._work: Future[None] | None = None
        self.is_left = False

    def runs(self, work: Future[None]) -> None:
        self._work = work
        if self.is_left:
            self.dispose()

    def post(self, item: Any, told: Callable[[], object]) -> None:
        # A call whose function made this subscription does not wait for what its observer does.
        token = RUNNING.set(None)
        try:
            is_well = give(self._observer, item)
        except BaseException:
            self.dispose()
            raise
        finally:
            RUNNING.reset(token)
        if is_well:
            told()
        else:
            self.dispose()

    def end(self, error: Exception | None) -> None:
        if not self.is_left:
            self.is_left = True
            finish(self._observer, error)

    def dispose(self) -> None:
        """Hand over nothing any more, and end the work. Idempotent, from any thread."""
        self.is_left = True
        if self._work is not None and not self._loop.is_closed():
            self._work.cancel()


class Row:
    """One input, and the work on it.

    Args:
        run: Whose row it is.
        index: The input's number, from 0.
        input: The input.
    """

    __slots__ = ("_cancel", "_is_finished", "_is_taken", "index", "input", "run", "work")

    def __init__(self, run: _Run[Any], index: int, input: Any) -> None:
        self.run = run
        self.index = index
        self.input = input
        self.work: Any = None
        """Whatever the operation keeps of its work."""
        self._cancel: Callable[[], object] | None = None
        self._is_finished = False
        self._is_taken = False

    def call(self, function: Callable[[Any], Any], then: Callable[[Any], object]) -> None:
        """Call a function with the input: an async one here, a sync one in a worker thread.

        Args:
            function: What a sync one returns is awaited, where it can be. (Not an Observable,
                which can be awaited, but here is a result.)
            then: Gets what comes of it, unless the row is cancelled before.
        """
        if iscoroutinefunction(function):
            self._wait(function(self.input), then)
            return

        def returned(future: asyncio.Future[Any]) -> None:
            result = self._result_of(future)
            if isawaitable(result) and not isinstance(result, Observable):
                self._wait(_awaited(result), then)
            elif result is not _NO_RESULT:
                self._go_on(then, result)

        future = started_in_worker_thread(_called, function, self.input)
        self._cancel = future.cancel
        future.add_done_callback(returned)

    def ends_by(self, cancel: Callable[[], object]) -> None:
        """Say what ends the work, where the stream is left or fails."""
        self._cancel = cancel

    def complete(self, result: Any) -> None:
        """The work is done, and this is its result."""
        self._is_finished = True
        self.run.hand_out(self, result)

    def give(self, result: Any) -> None:
        """Hand out the result, ahead of the end of the work."""
        self.run.hand_out(self, result)

    def finish(self) -> None:
        """The work is done, and its result was given."""
        self._is_finished = True
        self._settle()

    def taken(self) -> None:
        """The subscriber has taken the result."""
        self._is_taken = True
        self._settle()

    def fail(self, error: Exception) -> None:
        """The work failed, and the stream with it."""
        self.run.fail(error)

    def cancel(self) -> None:
        """End the work."""
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
                self._go_on(then, result)

        task = asyncio.get_running_loop().create_task(coroutine)
        self.run.tasks.add(task)
        self._cancel = task.cancel
        task.add_done_callback(ended)

    def _result_of(self, future: asyncio.Future[Any]) -> Any:
        """What came of it; `_NO_RESULT` when the stream has failed by it, or is over."""
        if future.cancelled():
            if not self.run.is_stopped:
                self.fail(
                    GenerationCancelledError(
                        f"the work for input {self.index} was cancelled, from within"
                    )
                )
            return _NO_RESULT
        error = future.exception()
        if error is None:
            return _NO_RESULT if self.run.is_stopped else future.result()
        # The loop itself raises what is no Exception (Ctrl-C); the stream cannot go on either.
        self.fail(error if isinstance(error, Exception) else RuntimeError(f"{error!r} was raised"))
        return _NO_RESULT

    def _go_on(self, then: Callable[[Any], object], result: Any) -> None:
        self._cancel = None
        try:
            then(result)
        except Exception as error:
            self.fail(error)


_NO_RESULT: Any = object()


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def _called(function: Callable[[Any], Any], item: Any) -> Any:
    """What a function returns; a coroutine that nobody will await any more is closed."""
    result = function(item)
    if iscoroutine(result) and is_given_up():
        result.close()
        return None
    return result


class _Run(Generic[R]):
    """One subscription's work. All of it happens on one event loop."""

    def __init__(
        self, operation: Operation, delivery: Delivery, max_concurrent: int, ordered: bool
    ) -> None:
        self._operation = operation
        self._delivery = delivery
        self._max_concurrent = max_concurrent
        self._ordered = ordered
        self._loop = asyncio.get_running_loop()
        # Callbacks come in whatever context woke them; work starts in the subscriber's.
        self._context = copy_context()
        # Why it failed, as a result: raised, it would keep all of this in its traceback, and this
        # would keep it.
        self._over: asyncio.Future[Exception | None] = self._loop.create_future()
        self._rows: set[Row] = set()
        self._index = 0  # of the next input
        self._asked = 0  # inputs that were asked for and have not come
        self._came: deque[Any] = deque()  # those that came and are not started
        self._is_exhausted = False
        self._results: dict[int, tuple[Row, Any]] = {}  # by their turn
        self._turn_of = 0  # whose turn it is
        self._last = 0  # the last turn that was given, where they come as they end
        self._is_resting = False  # whether a text was handed out a few turns ago
        self._is_in_turn = False
        self._is_due = False  # whether something happened during a turn
        self._later: asyncio.Handle | None = None
        self.outlet = loop_outlet(self._loop)
        self.tasks: set[asyncio.Future[Any]] = set()
        self.is_stopped = False

    async def until_over(self, inputs: Inputs[Any]) -> Exception | None:
        """Do all the work.

        Returns:
            What the inputs, or the work on one of them, raised; None when it is complete.
        """
        self._feed = feed_of(inputs, self)
        try:
            self.turn()
            return await self._over
        finally:
            await self._stop()

    # What happens.

    def input_came(self, item: Any) -> None:
        """An input that was asked for."""
        if self.is_stopped:
            return
        self._asked -= 1
        self._came.append(item)
        self.turn()

    def inputs_ended(self) -> None:
        """There are no more inputs."""
        self._asked = 0
        self._is_exhausted = True
        self.turn()

    def hand_out(self, row: Row, result: R) -> None:
        """A row has its result."""
        if self.is_stopped:
            return
        if self._ordered:
            self._results[row.index] = row, result
        else:
            self._results[self._last] = row, result
            self._last += 1
        self.turn()

    def row_ended(self, row: Row) -> None:
        """A row is finished, and its result was taken."""
        self._rows.discard(row)
        self._operation.count_end(row)
        self.turn()

    def fail(self, error: Exception) -> None:
        """The stream ends with an error."""
        self.is_stopped = True
        if not self._over.done():
            self._over.set_result(error)

    def abandon(self) -> None:
        """The loop is gone, so nothing can go on. On any thread."""
        self.is_stopped = True
        for row in list(self._rows):
            with suppress(RuntimeError):  # a task's loop is closed
                row.cancel()

    # What is done then.

    def turn(self) -> None:
        """Hand out what is due, and start what there is room for.

        What happens meanwhile (a subscriber takes its item, work ends at once) is seen to by the
        turn that runs, in a loop, so that no number of rows makes the stack deeper.
        """
        if self._is_in_turn:
            self._is_due = True
            return
        self._is_in_turn = True
        left = STARTS_A_TURN
        try:
            self._is_due = True
            while self._is_due and self._may_go_on():
                self._hand_out_due()
                left -= self._context.run(self._start_rows, left)
        finally:
            self._is_in_turn = False
        if self._is_exhausted and not (self._rows or self._came or self._over.done()):
            self._over.set_result(None)

    def _may_go_on(self) -> bool:
        return not (self.is_stopped or self._delivery.is_left)

    def _hand_out_due(self) -> None:
        while not self._is_resting and self._may_go_on():
            due = self._results.pop(self._turn_of, None)
            if due is None:
                return
            self._turn_of += 1
            row, result = due
            if isinstance(result, JOINABLE):
                self._rest(READERS_TURNS)
            self._delivery.post(result, partial(self._taken, row))

    def _rest(self, turns: int) -> None:
        """Hand out nothing for some turns of the loop, in which a waiting reader takes its text.

        (It joins the texts that wait for it; those of two rows are no longer told apart then.)
        """
        self._is_resting = turns > 0
        if self._is_resting:
            self._loop.call_soon(self._rest, turns - 1)
        else:
            self.turn()

    def _taken(self, row: Row) -> None:
        if running_loop() is self._loop:
            row.taken()
            return
        with suppress(RuntimeError):  # the loop is closed, and all has ended
            self._loop.call_soon_threadsafe(row.taken)

    def _start_rows(self, most: int) -> int:
        """Ask for inputs and start those that came; returns how many were started."""
        self._ask(most - len(self._came))
        self._is_due = False  # all that happened up to here is seen to
        started = 0
        while self._came and started < most and self._may_go_on():
            started += 1
            row = Row(self, self._index, self._came.popleft())
            self._index += 1
            self._rows.add(row)
            try:
                self._operation.start(row)
            except Exception as error:
                self.fail(error)
        if self._came:
            self._go_on_later(0.0)
        return started

    def _ask(self, most: int) -> None:
        room = self._max_concurrent - len(self._rows) - len(self._came) - self._asked
        if self._is_exhausted or room <= 0:
            return
        count = 0
        while count < min(room, most):
            pause = self._operation.pause()
            if pause > 0:
                self._go_on_later(pause)
                break
            self._operation.count_start()
            count += 1
        else:
            if count < room:
                self._go_on_later(0.0)
        if count:
            self._asked += count
            self._feed.ask(count)

    def _go_on_later(self, pause: float) -> None:
        if self._later is not None:
            self._later.cancel()
        self._later = self._loop.call_later(pause, self.turn)

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
        self._came.clear()
        await self._feed.close()
