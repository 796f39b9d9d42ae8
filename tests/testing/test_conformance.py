"""The published laws: the smallest backend follows them, and each violation is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable, abc
from reactivex.disposable import Disposable

from mellea_rx import Chunk, InvalidInputError
from mellea_rx.backends import Backend, Options, Request
from mellea_rx.testing import conformance
from mellea_rx.testing.conformance import LAWS, BackendHarness, Bench, Law, check_backend

GOOD = [Chunk("Hello, "), Chunk("you."), Chunk(finish_reason="stop")]

Subscribe = Callable[[abc.ObserverBase[Chunk]], abc.DisposableBase]


class Own:
    """The smallest backend that a user can write."""

    name = "own"

    def __init__(self, stream: Callable[[Request], Observable[Chunk]]) -> None:
        self.model_options = Options()
        self._stream = stream

    def check(self, options: Options) -> None:
        """Accept every option."""

    def stream(self, request: Request) -> Observable[Chunk]:
        """Return the stream of the test."""
        return self._stream(request)

    def close(self) -> None:
        """Do nothing."""


class OwnHarness(BackendHarness):
    """A harness with the required method only."""

    def __init__(self, stream: Callable[[Request], Observable[Chunk]]) -> None:
        self._stream = stream

    def answering(self) -> Backend:
        return Own(self._stream)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_a_small_backend_keeps_each_law(law: Law) -> None:
    law(OwnHarness(lambda _: rx.from_iterable(GOOD)))


def test_all_laws_can_be_run_at_once() -> None:
    check_backend(OwnHarness(lambda _: rx.from_iterable(GOOD)))
    with pytest.raises(AssertionError, match="the_last_chunk_says_why_it_ended"):
        check_backend(OwnHarness(lambda _: rx.from_iterable(GOOD[:2])))


def by_hand(subscribe: Subscribe) -> Callable[[Request], Observable[Chunk]]:
    return lambda _: Observable(lambda observer, _=None: subscribe(observer))


def says_nothing(observer: abc.ObserverBase[Chunk]) -> abc.DisposableBase:
    observer.on_completed()
    return Disposable()


def used_up() -> Callable[[Request], Observable[Chunk]]:
    chunks = iter(GOOD)
    return lambda _: rx.from_iterable(chunks)


@pytest.mark.parametrize(
    ("stream", "law"),
    [
        (by_hand(says_nothing), "text_comes_as_chunks_one_after_another"),
        (lambda _: rx.of("a", "b"), "text_comes_as_chunks_one_after_another"),
        (used_up(), "two_subscriptions_are_two_requests"),
        (lambda _: rx.from_iterable(GOOD[:2]), "the_last_chunk_says_why_it_ended"),
        (lambda _: rx.from_iterable(GOOD[::-1]), "the_last_chunk_says_why_it_ended"),
        (lambda _: rx.throw(ValueError("no")), "two_subscriptions_are_two_requests"),
        (lambda _: GOOD, "it_is_a_backend"),
    ],
)
def test_a_backend_that_breaks_a_law_is_found_out(stream: Any, law: str) -> None:
    broken: Law = getattr(conformance, law)
    with pytest.raises(AssertionError):
        broken(OwnHarness(stream))


def test_a_bench_that_fails_has_to_say_what_was_said() -> None:
    class Failing(OwnHarness):
        def failing(self, after: int) -> Backend | None:
            return Own(lambda _: rx.throw(conformance.GenerationFailedError("the model crashed")))

    with pytest.raises(InvalidInputError, match="speaks"):
        conformance.a_failure_is_typed_and_keeps_the_chunks_before_it(Failing(lambda _: rx.never()))


def test_a_bench_has_to_say_who_answers() -> None:
    with pytest.raises(NotImplementedError, match=r"define answering\(\)"):
        BackendHarness().answering()


def test_the_former_name_of_a_harness_still_works() -> None:
    assert Bench is BackendHarness


def test_a_harness_may_count_its_requests_under_the_former_name() -> None:
    class Counting(OwnHarness):
        def asked(self) -> int:
            return 1

    with pytest.raises(AssertionError):
        conformance.nothing_is_asked_before_somebody_subscribes(
            Counting(lambda _: rx.from_iterable(GOOD))
        )
