"""Where a concurrent map gets its inputs from: one at a time, when it asks for one."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterable, Iterable, Iterator
from contextlib import aclosing, suppress
from typing import Any, Generic, Protocol, TypeVar

from reactivex import Observable
from reactivex.disposable import SingleAssignmentDisposable

from mellea_rx.core.worker_threads import returned, started_in_worker_thread
from mellea_rx.errors import GenerationCancelledError
from mellea_rx.operators.from_async_iterable import Inputs, pull

__all__ = ["InputFeed", "InputTaker", "feed_of"]

A = TypeVar("A")
A_contra = TypeVar("A_contra", contravariant=True)

IN_PLACE = (list, tuple, range, set, frozenset, dict)
"""Iterables whose steps never block, and run no code of the user's."""

_END: Any = object()


class InputTaker(Protocol[A_contra]):
    """Takes inputs, on its event loop."""

    def input_came(self, item: A_contra, /) -> None:
        """An input that was asked for."""
        ...

    def inputs_ended(self) -> None:
        """There are no more, also for those asked for that did not come."""
        ...

    def fail(self, error: Exception, /) -> None:
        """The inputs failed."""
        ...


class InputFeed(Protocol):
    """Inputs that come when they are asked for, never before. Used on one event loop."""

    def ask(self, count: int) -> None:
        """Ask for some more inputs; the taker may be called before this returns."""
        ...

    async def close(self) -> None:
        """Give no more, and close the iterator. Idempotent."""
        ...


def feed_of(inputs: Inputs[A], taker: InputTaker[A]) -> InputFeed:
    """The feed of a stream of inputs.

    Args:
        inputs: A list and its like is stepped in place. Another iterable is stepped in a worker
            thread, since its steps may block; an async iterable in a task. An Observable pushes:
            what it emits waits until it is asked for.
        taker: Gets the inputs.
    """
    if isinstance(inputs, Observable):
        return _PushFeed(inputs, taker)
    if isinstance(inputs, AsyncIterable):
        return _TaskFeed(inputs, taker)
    if type(inputs) in IN_PLACE:
        return _InPlaceFeed(inputs, taker)
    return _ThreadFeed(inputs, taker)


class _InPlaceFeed(Generic[A]):
    def __init__(self, inputs: Iterable[A], taker: InputTaker[A]) -> None:
        self._iterator = iter(inputs)
        self._taker = taker

    def ask(self, count: int) -> None:
        for _ in range(count):
            try:
                item = next(self._iterator, _END)
            except RuntimeError as error:  # a set or dict that changed meanwhile
                self._taker.fail(error)
                return
            if item is _END:
                self._taker.inputs_ended()
                return
            self._taker.input_came(item)

    async def close(self) -> None:
        """There is nothing to close."""


class _ThreadFeed(Generic[A]):
    """Steps an iterable in a worker thread: all that is asked for at a time in one go."""

    def __init__(self, inputs: Iterable[A], taker: InputTaker[A]) -> None:
        self._inputs = inputs
        self._taker = taker
        self._loop = asyncio.get_running_loop()
        self._iterator: Iterator[A] | None = None
        # The lock keeps "nothing more is asked for" and "the thread leaves" in one step, so that
        # no `ask` relies on a thread that is about to leave.
        self._lock = threading.Lock()
        self._asked = 0
        self._is_stepping = False
        self._is_closed = False
        self._came: deque[A | _Failure] = deque()
        self._is_telling = False

    def ask(self, count: int) -> None:
        with self._lock:
            self._asked += count
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
                return  # a generator that runs cannot be closed; its thread does it after the step
        self._close_iterator()

    # In the worker thread.

    def _step(self) -> None:
        while self._goes_on():
            try:
                if self._iterator is None:
                    self._iterator = returned(iter, self._inputs)
                item = returned(next, self._iterator, _END)
            except Exception as error:
                item = _Failure(error)
            self._came.append(item)
            self._tell()

    def _goes_on(self) -> bool:
        with self._lock:
            if self._asked and not self._is_closed:
                self._asked -= 1
                return True
            self._is_stepping = False
            closes = self._is_closed
        if closes:
            with suppress(Exception):  # the stream was left: nobody is told what closing raises
                self._close_iterator()
        return False

    def _close_iterator(self) -> None:
        close = getattr(self._iterator, "close", None)
        if close is not None:
            with suppress(ValueError):  # it runs, in a thread of the user's
                close()

    def _tell(self) -> None:
        # One wake-up for all that came since; the flag is cleared before they are taken.
        if self._is_telling:
            return
        self._is_telling = True
        try:
            self._loop.call_soon_threadsafe(self._told)
        except RuntimeError:
            self._is_closed = True  # the loop is closed: nobody takes them

    # On the loop.

    def _told(self) -> None:
        self._is_telling = False
        while self._came and not self._is_closed:
            item = self._came.popleft()
            if isinstance(item, _Failure):
                self._taker.fail(item.error)
            elif item is _END:
                self._taker.inputs_ended()
            else:
                self._taker.input_came(item)


class _Failure:
    def __init__(self, error: Exception) -> None:
        self.error = error


class _PushFeed(Generic[A]):
    """Keeps what an Observable emits, on any thread, until it is asked for."""

    def __init__(self, inputs: Observable[A], taker: InputTaker[A]) -> None:
        self._inputs = inputs
        self._taker = taker
        self._loop = asyncio.get_running_loop()
        self._asked = 0
        self._came: deque[A | _Failure] = deque()
        self._is_telling = False
        self._is_closed = False
        self._subscription: SingleAssignmentDisposable | None = None

    def ask(self, count: int) -> None:
        self._asked += count
        if self._subscription is None:
            self._subscription = SingleAssignmentDisposable()
            self._subscription.disposable = self._inputs.subscribe(
                self._add, lambda error: self._add(_Failure(error)), lambda: self._add(_END)
            )
        self._serve()

    async def close(self) -> None:
        self._is_closed = True
        if self._subscription is not None:
            self._subscription.dispose()

    def _add(self, item: A | _Failure) -> None:
        self._came.append(item)
        # One wake-up for all that came since; the flag is cleared before they are taken.
        if not self._is_telling:
            self._is_telling = True
            with suppress(RuntimeError):  # the loop is closed: nobody takes them
                self._loop.call_soon_threadsafe(self._told)

    def _told(self) -> None:
        self._is_telling = False
        self._serve()

    def _serve(self) -> None:
        while self._asked and self._came and not self._is_closed:
            item = self._came.popleft()
            if isinstance(item, _Failure):
                self._taker.fail(item.error)
            elif item is _END:
                self._asked = 0
                self._taker.inputs_ended()
            else:
                self._asked -= 1
                self._taker.input_came(item)


class _TaskFeed(Generic[A]):
    """Steps an async iterable in one task."""

    def __init__(self, inputs: AsyncIterable[A], taker: InputTaker[A]) -> None:
        self._inputs = inputs
        self._taker = taker
        self._asked = 0
        self._loop = asyncio.get_running_loop()
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def ask(self, count: int) -> None:
        self._asked += count
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
            self._task.exception()  # seen: what closing the iterator raises has nobody to go to

    async def _run(self) -> None:
        try:
            async with aclosing(pull(self._inputs)) as items:
                async for item in items:
                    self._asked -= 1
                    self._taker.input_came(item)
                    await self._until_asked()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._taker.fail(GenerationCancelledError("the inputs were cancelled, from within"))
        except Exception as error:
            self._taker.fail(error)
        else:
            self._taker.inputs_ended()

    async def _until_asked(self) -> None:
        while not self._asked:
            self._wake = self._loop.create_future()
            await self._wake
