"""Calls of the user's functions, apart from the library's own threads.

Sync functions run in worker threads that grow on demand, since a pool of a fixed size deadlocks
when its functions call a sync verb; async functions run on the caller's event loop. Pipelines
call validators, tools and renderers through `call_user_function`.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

from mellea_rx.errors import CallerLoopClosedError

P = ParamSpec("P")
T = TypeVar("T")

PROMPT = 32
"""Number of functions with a waiting caller that get a thread at once."""

PATIENCE = 0.01
"""Seconds that a function waits beyond that, until a thread is started for it all the same.

(A burst of thousands of quick functions is done by few threads; slow ones get one each in time.)
"""

IDLE = 10.0
"""Seconds after which a thread that has nothing to do ends."""


async def in_worker_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a worker thread, with this context's variables.

    Args:
        function: It may block, even for ever: once the wait for it is cancelled it counts no more,
            though its thread cannot be ended.
        args: Its arguments.
        kwargs: Its keyword arguments.

    Raises:
        RuntimeError: It raised an exception that must not reach an event loop; see `returned`.
            Or no thread can be started.
        Exception: The function's own.
    """
    return await started_in_worker_thread(function, *args, **kwargs)


def started_in_worker_thread(
    function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> asyncio.Future[T]:
    """Do as `in_worker_thread`, and return a future of the running loop.

    Raises:
        RuntimeError: No thread can be started.
    """
    context = contextvars.copy_context()

    def call() -> T:
        return context.run(lambda: returned(function, *args, **kwargs))

    # By the loop, so that one in virtual time knows of it.
    return asyncio.get_running_loop().run_in_executor(worker_threads, call)


def returned(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of a function.

    Raises:
        RuntimeError: It raised an exception that a future or a loop cannot carry: `StopIteration`
            would leave the waiter waiting, `CancelledError` would look as if the waiting task were
            cancelled, and `SystemExit` and its like would end the engine.
        Exception: Any other exception of the function.
    """
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, _ENDS):
            raise
        raise RuntimeError(f"the function raised {type(error).__name__}") from error
    finally:
        del function  # of a future's `result`: it has the error, whose traceback has this frame


_ENDS = (StopIteration, StopAsyncIteration)


def is_given_up() -> bool:
    """Whether this is a worker thread whose function has no waiting caller any more.

    (For functions that work in steps: a thread cannot be ended from outside.)
    """
    job: _Job | None = getattr(_here, "job", None)
    return job is not None and not job.counts


_here = threading.local()


class _Job(Future[Any]):
    """A function in a worker thread, as the future of its result."""

    def __init__(self, function: Callable[[], Any], threads: WorkerThreads) -> None:
        super().__init__()
        self._function: Callable[[], Any] | None = function
        self._threads = threads
        self.asked_at = time.monotonic()
        self.counts = False
        """Whether it runs, and a caller waits for it. Changed under the threads' lock."""

    def cancel(self) -> bool:
        """Give it up: a function that has begun goes on, but counts no more."""
        self._threads.give_up(self)
        return super().cancel()

    def work(self) -> None:
        """Call the function, in this thread."""
        function, self._function = self._function, None
        if function is None or not self.set_running_or_notify_cancel():
            return
        _here.job = self
        try:
            result = function()
        except BaseException as error:
            self.set_exception(error)
            # The error's traceback has this frame, and this frame the error: a circle, that only
            # the collector would end.
            del self
        else:
            self.set_result(result)
        finally:
            _here.job = None


class _Worker:
    """One thread's end of its jobs."""

    __slots__ = ("jobs",)

    def __init__(self) -> None:
        self.jobs: SimpleQueue[_Job] = SimpleQueue()


class WorkerThreads(Executor):
    """Daemon threads that are started on demand, used again while idle, and end after `IDLE`.

    Args:
        name: The threads'.
        prompt: Number of functions with a waiting caller that get a thread at once.
    """

    def __init__(self, name: str = "mellea-rx-worker", prompt: int = PROMPT) -> None:
        self._name = name
        self._prompt = prompt
        self.forget_all()

    def forget_all(self) -> None:
        """Start afresh in a forked child, where no thread runs, and the lock may be held."""
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._waiting: deque[_Job] = deque()
        self._at_work = 0
        self._has_starter = False

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in a thread.

        Raises:
            RuntimeError: No thread can be started: the process has as many as it may, or ends.
        """
        job = _Job(lambda: function(*args, **kwargs), self)
        # The lock keeps "is a worker idle?" and "it gets this job" in one step, so that no worker
        # goes to rest or ends between them. A thread is started outside of it: that blocks.
        with self._lock:
            if self._idle or self._at_work < self._prompt:
                worker, needs_starter = self._engaged(job), False
            else:
                self._waiting.append(job)
                worker, needs_starter = None, not self._has_starter
                self._has_starter = True
        if worker is not None:
            self._start(worker, job)
        elif needs_starter:
            self._start_starter(job)
        return job

    def _engaged(self, job: _Job) -> _Worker | None:
        """Give a job to the worker that went idle last: so the others end when there is less to do.

        Returns:
            A worker whose thread has to be started, where none was idle. The lock is held.
        """
        job.counts = True
        self._at_work += 1
        worker, is_new = (self._idle.pop(), False) if self._idle else (_Worker(), True)
        worker.jobs.put(job)
        return worker if is_new else None

    def _start(self, worker: _Worker, job: _Job) -> None:
        try:
            self._start_thread(self._serve, worker)
        except RuntimeError:
            self.give_up(job)
            raise

    def _start_starter(self, job: _Job) -> None:
        try:
            self._start_thread(self._serve_waiting)
        except RuntimeError:
            with self._lock:
                self._has_starter = False
                if job in self._waiting:
                    self._waiting.remove(job)
            raise

    def _start_thread(self, target: Callable[..., None], *args: Any) -> None:
        threading.Thread(target=target, args=args, name=self._name, daemon=True).start()

    def give_up(self, job: _Job) -> None:
        """Note that a job counts no more: it has ended, or its caller has stopped waiting."""
        with self._lock:
            if job.counts:
                job.counts = False
                self._at_work -= 1

    def _serve(self, worker: _Worker) -> None:
        while self._serve_one(worker):
            pass

    def _serve_one(self, worker: _Worker) -> bool:
        """Do one job. In a frame of its own, so that an idle thread keeps nothing of its last."""
        job = self._next(worker)
        if job is None:
            return False
        job.work()
        self.give_up(job)
        # The traceback of a job's error has this frame too, by the frame that it called.
        del job
        return True

    def _next(self, worker: _Worker) -> _Job | None:
        """Wait for a job; None when there is none for long."""
        with self._lock:
            # One that it was started with, or handed, goes first.
            if worker.jobs.empty():
                if self._waiting:
                    self._count(job := self._waiting.popleft())
                    return job
                self._idle.append(worker)
        try:
            return worker.jobs.get(timeout=IDLE)
        except Empty:
            pass
        with self._lock:
            if worker in self._idle:
                self._idle.remove(worker)
                return None
        return worker.jobs.get()  # it was handed one in this very moment

    def _count(self, job: _Job) -> None:
        job.counts = True
        self._at_work += 1

    def _serve_waiting(self) -> None:
        """Start one more thread whenever the oldest job that waits has waited for long enough."""
        while True:
            time.sleep(PATIENCE)
            with self._lock:
                if not self._waiting:
                    self._has_starter = False
                    return
                if time.monotonic() - self._waiting[0].asked_at < PATIENCE:
                    continue
                worker = self._engaged(job := self._waiting.popleft())
            try:
                if worker is not None:
                    self._start(worker, job)
            except RuntimeError as error:
                if job.set_running_or_notify_cancel():
                    job.set_exception(error)
            del job, worker


worker_threads = WorkerThreads()
"""The threads of all functions of users in this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=worker_threads.forget_all)


_CLOSED_LOOP_CHECK = 1.0
"""Seconds between two checks whether the caller's loop is closed."""


async def call_user_function(
    function: Callable[..., Any], *args: Any, loop: asyncio.AbstractEventLoop | None
) -> Any:
    """Call a function of the user's and return its result.

    Args:
        function: A sync one runs in a worker thread; an async one on `loop`.
        args: Its arguments.
        loop: The caller's event loop; None where the call came from sync code, and then an async
            function runs on an event loop of its own, in a worker thread.

    Raises:
        CallerLoopClosedError: `loop` is closed.
        Exception: The function's own.
    """
    if not is_async(function):
        result = await in_worker_thread(function, *args)
        if not inspect.isawaitable(result):
            return result
        return await _await_user(_awaiting(lambda: result), loop)
    return await _await_user(_awaiting(partial(function, *args)), loop)


def loops_required_by(
    functions: Iterable[Callable[..., Any]], loop: asyncio.AbstractEventLoop | None
) -> tuple[asyncio.AbstractEventLoop, ...]:
    """The event loops that functions need: the caller's, where one of them is async."""
    if loop is not None and any(map(is_async, functions)):
        return (loop,)
    return ()


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calls of a function, or of a class's objects, have to be awaited.

    (`inspect.iscoroutinefunction` misses objects with an async `__call__`.) An object may declare
    it, with an attribute `is_async`.
    """
    while isinstance(function, partial):
        function = function.func
    if inspect.iscoroutinefunction(function) or getattr(function, "is_async", False) is True:
        return True
    kind = function if isinstance(function, type) else type(function)
    return inspect.iscoroutinefunction(call_method(kind))


def call_method(kind: type) -> Any:
    """The method `__call__` of a class; None where its objects cannot be called."""
    return next((vars(c)["__call__"] for c in kind.__mro__ if "__call__" in vars(c)), None)


async def _awaiting(begin: Callable[[], Awaitable[Any]]) -> Any:
    """Await the result of `begin`.

    Raises:
        RuntimeError: It raised `CancelledError` though nobody cancelled this task.
    """
    try:
        return await begin()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise RuntimeError("the function raised CancelledError") from error


async def _await_user(
    coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop | None
) -> Any:
    if loop is None:
        return await _in_own_loop(coroutine)
    # A call that was made on the engine has the engine's loop, which outlives this task.
    here = loop is asyncio.get_running_loop()
    waiting = asyncio.ensure_future(coroutine) if here else _sent(coroutine, loop)
    try:
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=None if here else _CLOSED_LOOP_CHECK)
            if loop.is_closed() and not waiting.done():
                coroutine.close()
                raise _closed()
    finally:
        waiting.cancel()
    if waiting.cancelled():
        raise _closed()
    try:
        return returned(waiting.result)
    finally:
        del waiting  # it has the error, whose traceback has this frame


async def _in_own_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a worker thread; it is cancelled when the wait for it is."""
    own = _OwnLoop(coroutine)
    try:
        return await in_worker_thread(own.run)
    except asyncio.CancelledError:
        own.cancel()
        raise


class _OwnLoop:
    """A coroutine on an event loop of its own, in whichever thread runs it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._lock = threading.Lock()
        self._cancel: Callable[[], object] = coroutine.close  # until it begins

    def run(self) -> Any:
        return asyncio.run(self._main())

    async def _main(self) -> Any:
        # `cancel` comes from another thread. The lock makes "it begins" and "this is how it is
        # cancelled from now on" one step: a coroutine that was closed is not run, and one that
        # runs is cancelled instead of closed.
        with self._lock:
            task = asyncio.ensure_future(self._coroutine)
            self._cancel = lambda: task.get_loop().call_soon_threadsafe(task.cancel)
        return await task

    def cancel(self) -> None:
        """End it, from another thread. Does nothing where it has ended."""
        with self._lock, suppress(RuntimeError):  # its loop may be closed already
            self._cancel()


def _sent(
    coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop
) -> asyncio.Future[Any]:
    try:
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))
    except RuntimeError:
        coroutine.close()
        raise _closed() from None


def _closed() -> CallerLoopClosedError:
    return CallerLoopClosedError(
        "an async function of this call has to run on the event loop that made the call, "
        "and that loop was closed: await the thunk before its loop ends"
    )
