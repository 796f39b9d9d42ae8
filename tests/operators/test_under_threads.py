"""Rx's contract when eight threads subscribe, dispose and cancel at random."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from typing import Any

import pytest
from reactivex import Observable
from reactivex.scheduler import NewThreadScheduler, ThreadPoolScheduler

from mellea_rx import GenerationCancelledError, MelleaSession, ModelOutputThunk, ScriptedBackend
from mellea_rx.core.runtime.delivery import delivery_target_for
from mellea_rx.errors import NoAnswerError
from mellea_rx.operators import as_completed, combine_latest, gather, hedge, merge, race, zip
from tests.core.hand import PATIENCE, STREAM, until_blocking

THREADS = 8
WORDS = [f"{n} " for n in range(8)]
COMBINE: list[Any] = [merge, as_completed, gather, zip, combine_latest, race]


class Contract:
    """An observer that records breaches of Rx's contract."""

    def __init__(self) -> None:
        self.terminals = 0
        self.disposed_on: int | None = None
        self.faults: list[str] = []
        self._inside = threading.Lock()

    def on_next(self, _: Any) -> None:
        """Take an item."""
        with self._call("on_next"):
            pass

    def on_error(self, error: Exception) -> None:
        """Take a failure; only those that a cancellation makes are expected."""
        with self._call("on_error"):
            if not isinstance(error, (GenerationCancelledError, NoAnswerError)):
                self.faults.append(repr(error))
            self.terminals += 1

    def on_completed(self) -> None:
        """Take the end."""
        with self._call("on_completed"):
            self.terminals += 1

    def _call(self, what: str) -> Any:
        if self._inside.locked():
            self.faults.append(f"{what} while another call is inside")
        if self.terminals:
            self.faults.append(f"{what} after the terminal")
        if self.disposed_on == threading.get_ident():
            self.faults.append(f"{what} after dispose returned on this thread")
        return self._inside

    def to(self, source: Observable[Any], scheduler: Any) -> Any:
        """Subscribe this; return the subscription."""
        return source.subscribe(self.on_next, self.on_error, self.on_completed, scheduler=scheduler)


def play(
    thunks: list[ModelOutputThunk[str]], seed: int, observers: list[Contract], pool: Any
) -> None:
    chance = random.Random(seed)
    subscribed: list[tuple[Contract, Any]] = []
    for thunk in chance.sample(thunks, len(thunks)):
        scheduler = chance.choice([None, None, pool])
        match chance.randrange(8):
            case 0 | 1 | 2:
                observer = Contract()
                observers.append(observer)
                subscribed.append((observer, observer.to(thunk, scheduler)))
            case 3 | 4:
                some = [thunk, *chance.sample(thunks, 3)]
                observer = Contract()
                observers.append(observer)
                combined = chance.choice(COMBINE)(*some)
                subscribed.append((observer, observer.to(combined, scheduler)))
            case 5 | 6 if subscribed:
                observer, subscription = subscribed.pop(chance.randrange(len(subscribed)))
                subscription.dispose()
                observer.disposed_on = threading.get_ident()
            case 7:
                thunk.cancel()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_1000_thunks_under_8_threads(seed: int) -> None:
    async def start() -> list[ModelOutputThunk[str]]:
        m = MelleaSession(ScriptedBackend(WORDS), model_options=STREAM)
        return [await m.ainstruct(f"Go {n}.") for n in range(1000)]

    thunks = asyncio.run(start())
    observers: list[Contract] = []
    failures: list[BaseException] = []
    pool = ThreadPoolScheduler(4)

    def work(number: int) -> None:
        try:
            play(thunks, seed * 100 + number, observers, pool)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "it hangs"
    assert failures == []
    for thunk in thunks:
        try:
            thunk.wait(PATIENCE)
        except GenerationCancelledError:
            assert "".join(WORDS).startswith(thunk.text)
    until_blocking(lambda: all(each.terminals or each.disposed_on for each in observers), 30)
    pool.executor.shutdown()
    assert [fault for each in observers for fault in each.faults] == []
    assert len(observers) > 1000
    assert all(each.terminals <= 1 for each in observers)


@pytest.mark.parametrize("combine", [merge, zip, race, lambda *s: hedge(*s, after=0.001)])
def test_sources_on_threads_of_their_own_reach_one_observer_in_turn(combine: Any) -> None:
    m = MelleaSession(ScriptedBackend(WORDS), model_options=STREAM)
    for _ in range(20):
        observer = Contract()
        calls = [m.cold.instruct("Go.") for _ in range(8)]
        observer.to(combine(*calls), NewThreadScheduler())
        until_blocking(lambda seen=observer: seen.terminals)
        assert observer.faults == []
        assert observer.terminals == 1


def test_what_a_thread_disposes_of_is_silent_on_that_thread() -> None:
    m = MelleaSession(ScriptedBackend(WORDS * 50), model_options=STREAM)
    for _ in range(20):
        observer = Contract()
        subscriptions: list[Any] = []

        def leave(item: Any, here: Contract = observer, subs: list[Any] = subscriptions) -> None:
            here.on_next(item)
            if subs:
                subs[0].dispose()
                here.disposed_on = threading.get_ident()

        merged = merge(*(m.cold.instruct("Go.") for _ in range(4)))
        subscriptions.append(merged.subscribe(leave, observer.on_error, observer.on_completed))
        until_blocking(lambda seen=observer: seen.disposed_on or seen.terminals)
        assert observer.faults == []


def test_a_subscription_without_a_loop_that_is_left_at_once_complains_of_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for number in range(300):
            running = delivery_target_for(None).spawn(forever)
            time.sleep(number % 7 * 1e-4)  # the loop of its thread is anywhere in its beginning
            running.cancel()
    finally:
        sys.setswitchinterval(interval)
    until_blocking(
        lambda: not any(each.name == "mellea-rx-subscription" for each in threading.enumerate())
    )
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
