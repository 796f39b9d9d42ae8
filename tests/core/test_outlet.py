"""When a consumer is called: at once where it is alone, gathered where there is a crowd."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mellea_rx.core.engine import engine
from mellea_rx.core.outlet import Outlet

PAUSE = 3600.0
"""Longer than any test: whoever waits for it is not called."""


class Counted:
    def __init__(self) -> None:
        self.calls = 0
        self.has_ended = False

    def deliver(self) -> None:
        self.calls += 1

    def undeliverable(self) -> None:
        raise AssertionError("its place is there")


def on_engine(work: Callable[[], object]) -> None:
    """Do it, and all that follows from it at once."""

    async def run() -> None:
        work()
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(engine().run(run))


def test_a_lone_consumer_never_waits_for_the_pause() -> None:
    posted: list[Callable[[], None]] = []
    consumer = Counted()
    outlet = Outlet(posted.append, PAUSE)
    for count in range(1, 5):
        on_engine(lambda: outlet.wake(consumer))
        assert len(posted) == 1
        posted.pop()()
        assert consumer.calls == count


def test_a_crowd_is_gathered_until_the_pause_is_over() -> None:
    posted: list[Callable[[], None]] = []
    first, second = Counted(), Counted()
    outlet = Outlet(posted.append, PAUSE)

    def both() -> None:
        outlet.wake(first)
        outlet.wake(second)

    on_engine(both)
    posted.pop()()
    assert (first.calls, second.calls) == (1, 1)
    on_engine(both)
    assert posted == []
    assert (first.calls, second.calls) == (1, 1)


def test_what_follows_a_turn_later_is_delivered_with_it() -> None:
    posted: list[Callable[[], None]] = []
    consumer = Counted()
    outlet = Outlet(posted.append, PAUSE)

    def text_then_end() -> None:
        outlet.wake(consumer)
        asyncio.get_running_loop().call_soon(outlet.wake, consumer)

    on_engine(text_then_end)
    assert len(posted) == 1
    posted.pop()()
    assert consumer.calls == 1
    assert posted == []


def test_the_last_word_for_a_lone_consumer_does_not_wait_for_a_turn() -> None:
    posted: list[Callable[[], None]] = []
    consumer = Counted()
    outlet = Outlet(posted.append, PAUSE)

    def text_then_end() -> None:
        outlet.wake(consumer)
        assert posted == []
        consumer.has_ended = True
        outlet.wake(consumer)
        assert len(posted) == 1

    on_engine(text_then_end)
    assert len(posted) == 1
    posted.pop()()
    assert consumer.calls == 1

    def end_alone() -> None:
        outlet.wake(consumer)
        assert len(posted) == 1

    on_engine(end_alone)
    assert len(posted) == 1


def test_the_last_word_is_not_posted_twice() -> None:
    posted: list[Callable[[], None]] = []
    consumer = Counted()
    outlet = Outlet(posted.append, PAUSE)
    on_engine(lambda: outlet.wake(consumer))
    consumer.has_ended = True
    on_engine(lambda: outlet.wake(consumer))  # nobody has come by yet for what was posted
    assert len(posted) == 1


def test_of_many_that_end_in_one_turn_only_the_first_is_told_at_once() -> None:
    posted: list[Callable[[], None]] = []
    consumers = [Counted() for _ in range(50)]
    outlet = Outlet(posted.append, 0.0)
    told: list[int] = []

    def all_end() -> None:
        for consumer in consumers:
            consumer.has_ended = True
            outlet.wake(consumer)
            if len(posted) > len(told):
                told.append(1)
                posted[-1]()  # its loop is quick: it has come by before the next one ends

    on_engine(all_end)
    assert len(posted) == 2
    posted[-1]()
    assert [consumer.calls for consumer in consumers] == [1] * 50


def test_the_ends_of_several_are_gathered() -> None:
    posted: list[Callable[[], None]] = []
    first, second = Counted(), Counted()
    first.has_ended = second.has_ended = True
    outlet = Outlet(posted.append, PAUSE)

    def text_of_one_then_both_ends() -> None:
        first.has_ended = False
        outlet.wake(first)
        outlet.wake(second)
        first.has_ended = True
        outlet.wake(first)
        assert posted == []

    on_engine(text_of_one_then_both_ends)
    assert len(posted) == 1
    posted.pop()()
    # Woken after `second`, so told again: it finds nothing there.
    assert (first.calls, second.calls) == (2, 1)
