"""Eight threads at once: subscribing, disposing, reading and cancelling at random."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import Any

import pytest

from mellea_rx import (
    ConcurrentReaderError,
    GenerationCancelledError,
    MelleaSession,
    ModelOutputThunk,
    ScriptedBackend,
)
from tests.core.hand import PATIENCE, STREAM

WORDS = [f"{n} " for n in range(20)]
WHOLE = "".join(WORDS)


class Strict:
    """An observer that notices two threads in it at once, and anything after its terminal."""

    def __init__(self) -> None:
        self.text = ""
        self.terminals = 0
        self.faults: list[str] = []
        self._inside = threading.Lock()

    def on_next(self, chunk: Any) -> None:
        """Take a chunk."""
        self._enter("on_next")
        self.text += str(chunk)
        self._inside.release()

    def on_error(self, error: Exception) -> None:
        """Take the failure."""
        self._enter("on_error")
        if not isinstance(error, GenerationCancelledError):
            self.faults.append(repr(error))
        self.terminals += 1
        self._inside.release()

    def on_completed(self) -> None:
        """Take the end."""
        self._enter("on_completed")
        if self.text != WHOLE:
            self.faults.append(f"completed with {self.text!r}")
        self.terminals += 1
        self._inside.release()

    def _enter(self, what: str) -> None:
        if not self._inside.acquire(blocking=False):
            self.faults.append(f"{what} while another call was inside")
            self._inside.acquire()
        if self.terminals:
            self.faults.append(f"{what} after the terminal")


def play(thunks: list[ModelOutputThunk[str]], seed: int, observers: list[Strict]) -> None:
    chance = random.Random(seed)
    subscriptions = []
    for thunk in chance.sample(thunks, len(thunks)):
        match chance.randrange(8):
            case 0 | 1 | 2 | 3:
                observer = Strict()
                observers.append(observer)
                subscriptions.append(
                    thunk.subscribe(observer.on_next, observer.on_error, observer.on_completed)
                )
            case 4 if subscriptions:
                chance.choice(subscriptions).dispose()
            case 5:
                thunk.cancel()
            case 6:
                assert WHOLE.startswith(thunk.text)
            case 7:
                read_some(thunk)


def read_some(thunk: ModelOutputThunk[str]) -> None:
    try:
        assert next(thunk.stream(), "") in WHOLE
    except (ConcurrentReaderError, GenerationCancelledError):
        pass


@pytest.mark.parametrize("seed", range(3))
def test_200_thunks_under_8_threads_stay_serialized_with_one_terminal(seed: int) -> None:
    async def start() -> list[ModelOutputThunk[str]]:
        m = MelleaSession(ScriptedBackend(WORDS, delay=0.0005))
        return [await m.ainstruct(f"Go {n}.", model_options=STREAM) for n in range(200)]

    thunks = asyncio.run(start())
    observers: list[Strict] = []
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            play(thunks, seed * 100 + number, observers)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    for thunk in thunks:
        try:
            assert thunk.wait(PATIENCE).value == WHOLE
        except GenerationCancelledError:
            assert WHOLE.startswith(thunk.text)
    _until_all_is_told(observers)
    assert [fault for each in observers for fault in each.faults] == []
    assert len(observers) > 200
    assert all(each.terminals <= 1 for each in observers)


def _until_all_is_told(observers: list[Strict]) -> None:
    # Each subscription has its own place, and some are disposed: they never hear of an end.
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and not all(each.terminals for each in observers):
        time.sleep(0.1)
        told = [(each.text, each.terminals) for each in observers]
        time.sleep(0.1)
        if told == [(each.text, each.terminals) for each in observers]:
            return


def test_the_end_and_a_cancellation_at_once_give_one_terminal() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(["a"]))
        for _ in range(100):
            thunk = await m.ainstruct("Go.", model_options=STREAM)
            strict = Strict()
            thunk.subscribe(strict.on_next, lambda _, s=strict: s.on_error(_), lambda: None)
            thread = threading.Thread(target=thunk.cancel)
            thread.start()
            try:
                assert await thunk.avalue() == "a"
            except GenerationCancelledError:
                assert thunk.cancelled
            thread.join()
            assert strict.terminals <= 1

    asyncio.run(main())


def test_many_threads_may_wait_for_one_thunk() -> None:
    thunk = asyncio.run(
        MelleaSession(ScriptedBackend(WORDS, delay=0.001)).ainstruct("Go.", model_options=STREAM)
    )
    values: list[str] = []
    threads = [threading.Thread(target=lambda: values.append(str(thunk))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert values == [WHOLE] * 16
