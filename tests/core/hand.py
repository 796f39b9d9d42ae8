"""A backend that the test speaks itself, piece by piece, and bounded waits for what follows."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from mellea_rx import Chunk, MelleaSession, ModelOption, ModelOutputThunk
from mellea_rx.backends import Options, Request
from mellea_rx.core.runtime.engine import engine
from mellea_rx.testing import Probe

PATIENCE = 30.0
"""Seconds that a test waits for something that has to happen, on a busy machine too."""

STREAM = {ModelOption.STREAM: True}


class Answer:
    """One answer, in the test's hands. Its chunks come on the engine, as those of any server."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.closed = threading.Event()
        self._observer: abc.ObserverBase[Chunk]

    def begin(self, observer: abc.ObserverBase[Chunk]) -> abc.DisposableBase:
        """Somebody subscribed; disposing says that nobody wants it any more."""
        self._observer = observer
        self.asked.set()
        return Disposable(self.closed.set)

    def say(self, *pieces: str | Chunk) -> Answer:
        """Send these pieces."""
        assert self.asked.wait(PATIENCE)
        for piece in pieces:
            chunk = Chunk(piece) if isinstance(piece, str) else piece
            engine().call(self._observer.on_next, chunk)
        return self

    def end(self) -> None:
        """Complete the answer."""
        assert self.asked.wait(PATIENCE)
        engine().call(self._observer.on_completed)

    def fail(self, error: Exception) -> None:
        """Fail the answer."""
        assert self.asked.wait(PATIENCE)
        engine().call(self._observer.on_error, error)


class Hand:
    """A backend that plays its answers as the test says them; the smallest there can be."""

    name = "hand"

    def __init__(self, answers: int = 1) -> None:
        self.model_options = Options()
        self.answers = [Answer() for _ in range(answers)]
        self.requests: list[Request] = []

    def check(self, options: Options) -> None:
        """Every option is fine."""

    def stream(self, request: Request) -> Observable[Chunk]:
        """The next answer."""

        def subscribe(observer: abc.ObserverBase[Chunk], _: Any = None) -> abc.DisposableBase:
            answer = self.answers[len(self.requests)]
            self.requests.append(request)
            return answer.begin(observer)

        return Observable(subscribe)

    def close(self) -> None:
        """Nothing to let go of."""


def started(**options: Any) -> tuple[ModelOutputThunk[str], Answer]:
    """A running thunk with STREAM, and its answer. Needs a running loop or none."""
    (thunk,), hand = started_many(1, **options)
    return thunk, hand.answers[0]


def started_many(count: int, *, stream: bool = True) -> tuple[list[ModelOutputThunk[str]], Hand]:
    """So many running thunks, and the backend that has their answers, in the same order."""
    hand = Hand(count)
    session = MelleaSession(hand, model_options={ModelOption.STREAM: stream})
    thunks = []
    for index in range(count):
        thunks.append(_drive(session.ainstruct(f"Go {index}.")))
        assert hand.answers[index].asked.wait(PATIENCE)
    return thunks, hand


def _drive(coroutine: Any) -> Any:
    """The result of a coroutine that never waits (an a-verb that returns at once)."""
    try:
        coroutine.send(None)
    except StopIteration as returned:
        return returned.value
    raise AssertionError("it waited")


async def until(condition: Callable[[], Any], timeout: float = PATIENCE) -> Any:
    """Let the loop run until `condition()` is true; its value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.001)
    return value


def until_blocking(condition: Callable[[], Any], timeout: float = PATIENCE) -> Any:
    """Wait in this thread until `condition()` is true; its value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.001)
    return value


def engine_has_told() -> None:
    """Return when what the engine had to tell has been told to the loops, or could not be."""
    loop, done = engine().loop, threading.Event()

    def turn(left: int) -> None:
        if left:
            loop.call_soon(turn, left - 1)
        else:
            done.set()

    loop.call_soon_threadsafe(turn, 4)  # an dispatcher lets two turns pass
    assert done.wait(PATIENCE)


async def soon(awaitable: Any, timeout: float = PATIENCE) -> Any:
    """Its result, in bounded time."""
    return await asyncio.wait_for(awaitable, timeout)


class Recorder(Probe[Chunk]):
    """A probe of chunks."""

    @property
    def chunks(self) -> list[Chunk]:
        """The chunks."""
        return self.items

    @property
    def texts(self) -> list[str]:
        """Each chunk's text."""
        return [str(chunk) for chunk in self.items]
