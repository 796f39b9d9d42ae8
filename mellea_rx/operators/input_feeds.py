"""Feeds of inputs for a concurrent map: each delivers as many inputs as it is requested to.

There is one feed for each kind of input: in-memory collections, other iterables, async iterables
and Observables.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from typing import Any, Generic, Protocol, TypeVar

from reactivex import Observable
from reactivex.disposable import SingleAssignmentDisposable

from mellea_rx.core.runtime.user_functions import returned, started_in_worker_thread
from mellea_rx.errors import GenerationCancelledError
from mellea_rx.operators.bridges import Inputs, pull

__all__ = ["InputFeed", "InputTaker", "feed_of"]

A = TypeVar("A")
A_contra = TypeVar("A_contra", contravariant=True)

IN_PLACE = (list, tuple, range, set, frozenset, dict)
"""Types of iterables whose steps never block, and run no code of the user."""

_END: Any = object()


class InputTaker(Protocol[A_contra]):
    """The receiver of inputs. Called on its event loop."""

    def on_input(self, item: A_contra, /) -> None:
        """Take an input that was requested."""
        ...

    def on_inputs_completed(self) -> None:
        """Take the end of the inputs; requests without an input are void."""
        ...

    def fail(self, error: Exception, /) -> None:
        """Take the failure of the inputs."""
        ...


class InputFeed(Protocol):
    """A source of inputs that delivers only what was requested. Used on one event loop."""

    def request(self, count: int) -> None:
        """Request more inputs. The taker may be called before this returns."""
        ...

    async def close(self) -> None:
        """Deliver nothing more, and close the iterator. Idempotent."""
        ...


def feed_of(inputs: Inputs[A], taker: InputTaker[A]) -> InputFeed:
    """Make the feed of a stream of inputs.

    Args:
        inputs: An in-memory collection is stepped on the loop. Any other iterable is stepped in a
            worker thread, since its steps may block; an async iterable in a task. An Observable
            pushes: its items wait in a queue until they are requested.
        taker: The receiver of the inputs.
    """
    if isinstance(inputs, Observable):
        return _PushFeed(inputs, taker)
    if isinstance(inputs, AsyncIterable):
        return _TaskFeed(inputs, taker)
    if type(inputs) in IN_PLACE:
        return _InPlaceFeed(inputs, taker)
    return _ThreadFeed(inputs, taker)


class _InPlaceFeed(Generic[A]):
    """Steps an in-memory collection on the loop."""

    def __init__(self, inputs: Iterable[A], taker: InputTaker[A]) -> None:
        self._iterator = iter(inputs)
        self._taker = taker

    def request(self, count: int) -> None:
        for _ in range(count):
            try:
                item = next(self._iterator, _END)
            except RuntimeError as error:  # a set or dict that was changed meanwhile
                self._taker.fail(error)
                return
            _deliver(item, self._taker)
            if item is _END:
                return

    async def close(self) -> None:
        """There is nothing to close."""


class _Failure:
    """An error in a queue of inputs."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _deliver(item: Any, taker: InputTaker[Any]) -> None:
    if isinstance(item, _Failure):
        taker.fail(item.error)
    elif item is _END:
        taker.on_inputs_completed()
    else:
        taker.on_input(item)


class _Arrivals:
    """A queue from other threads to the running event loop, with one wake-up for several items.

    Args:
        on_wake: Called on the loop after items were added.
    """

    def __init__(self, on_wake: Callable[[], object]) -> None:
        self.items: deque[Any] = deque()
        self._on_wake = on_wake
        self._loop = asyncio.get_running_loop()
        self._is_woken = False

    def add(self, item: Any) -> None:
        """Add an item, and wake the loop if no wake-up is pending. On any thread.

        Raises:
            RuntimeError: The loop is closed.
        """
        # The item is added before the flag is read, and `_wake` clears the flag before items are
        # taken. So an item that finds a pending wake-up is taken by that one. (Two threads that
        # both find none cause a second wake-up, which does no harm.)
        self.items.append(item)
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._is_woken = False
        self._on_wake()


class _ThreadFeed(Generic[A]):
    """Steps an iterable in a worker thread, as far as it is requested."""

    def __init__(self, inputs: Iterable[A], taker: InputTaker[A]) -> None:
        self._inputs = inputs
        self._taker = taker
        self._iterator: Iterator[A] | None = None
        # The lock makes one step of "nothing more is requested" and "the thread ends". Without it,
        # a `request` in between would rely on a thread that is about to end.
        self._lock = threading.Lock()
        self._requested = 0
        self._is_stepping = False
        self._has_ended = False
        self._is_closed = False
        self._arrivals = _Arrivals(self._deliver_all)

    def request(self, count: int) -> None:
        with self._lock:
            self._requested += count
            if self._is_stepping:
                return
            self._is_stepping = True
        try:
            started_in_worker_thread(self._step)
        except RuntimeError as error:  # no thread can be started
            self._taker.fail(error)

    async def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._is_stepping:
                return  # a running generator cannot be closed; its thread does it after the step
        self._close_iterator()

    # In the worker thread.

    def _step(self) -> None:
        while self._may_step():
            item: Any
            try:
                if self._iterator is None:
                    self._iterator = returned(iter, self._inputs)
                item = returned(next, self._iterator, _END)
            except Exception as error:
                item = _Failure(error)
            # Never stepped again, also where more was requested: a step after the end may wait for
            # ever, or take an item that nobody gets.
            self._has_ended = item is _END or isinstance(item, _Failure)
            try:
                self._arrivals.add(item)
            except RuntimeError:
                self._is_closed = True  # the loop is closed, so the inputs cannot be delivered

    def _may_step(self) -> bool:
        with self._lock:
            if self._requested and not self._has_ended and not self._is_closed:
                self._requested -= 1
                return True
            self._is_stepping = False
            closes = self._is_closed
        if closes:
            with suppress(Exception):  # the subscription has ended: there is no one to tell
                self._close_iterator()
        return False

    def _close_iterator(self) -> None:
        close = getattr(self._iterator, "close", None)
        if close is not None:
            with suppress(ValueError):  # a generator that runs in a thread of the user
                close()

    # On the loop.

    def _deliver_all(self) -> None:
        while self._arrivals.items and not self._is_closed:
            _deliver(self._arrivals.items.popleft(), self._taker)


class _PushFeed(Generic[A]):
    """Queues the items of an Observable, which may call on any thread, until they are requested."""

    def __init__(self, inputs: Observable[A], taker: InputTaker[A]) -> None:
        self._inputs = inputs
        self._taker = taker
        self._requested = 0
        self._arrivals = _Arrivals(self._deliver_requested)
        self._is_closed = False
        self._subscription: SingleAssignmentDisposable | None = None

    def request(self, count: int) -> None:
        self._requested += count
        if self._subscription is None:
            self._subscription = SingleAssignmentDisposable()
            self._subscription.disposable = self._inputs.subscribe(
                self._add, lambda error: self._add(_Failure(error)), lambda: self._add(_END)
            )
        self._deliver_requested()

    async def close(self) -> None:
        self._is_closed = True
        if self._subscription is not None:
            self._subscription.dispose()

    def _add(self, item: A | _Failure) -> None:
        with suppress(RuntimeError):  # the loop is closed, so the item cannot be delivered
            self._arrivals.add(item)

    def _deliver_requested(self) -> None:
        items = self._arrivals.items
        while self._requested and items and not self._is_closed:
            item = items.popleft()
            # The count is changed before the taker is called, which may request more.
            self._requested = 0 if item is _END else self._requested - 1
            _deliver(item, self._taker)


class _TaskFeed(Generic[A]):
    """Steps an async iterable in one task."""

    def __init__(self, inputs: AsyncIterable[A], taker: InputTaker[A]) -> None:
        self._inputs = inputs
        self._taker = taker
        self._requested = 0
        self._loop = asyncio.get_running_loop()
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def request(self, count: int) -> None:
        self._requested += count
        if self._task is None:
            self._task = self._loop.create_task(self._run())
        elif self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def close(self) -> None:
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.exception()  # retrieved, so that asyncio does not log it as never retrieved

    async def _run(self) -> None:
        try:
            async with aclosing(pull(self._inputs)) as items:
                async for item in items:
                    self._requested -= 1
                    self._taker.on_input(item)
                    await self._until_requested()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._taker.fail(
                GenerationCancelledError("the inputs were cancelled by their own code")
            )
        except Exception as error:
            self._taker.fail(error)
        except BaseException as error:  # the loop raises it (KeyboardInterrupt), or a test does
            self._taker.fail(RuntimeError(f"the inputs raised {type(error).__name__}: {error}"))
            raise
        else:
            self._taker.on_inputs_completed()

    async def _until_requested(self) -> None:
        while not self._requested:
            self._wake = self._loop.create_future()
            await self._wake
