"""Faults by name: stalls, failures, broken connections, slow answers."""

from __future__ import annotations

import pytest

from mellea_rx import (
    Chunk,
    FirstTokenTimeoutError,
    GenerationFailedError,
    IdleTimeoutError,
    InvalidInputError,
    MelleaRxError,
    MelleaSession,
    ModelOption,
    RateLimitError,
    ScriptedBackend,
    StreamInterruptedError,
)
from mellea_rx.backends import Request
from mellea_rx.backends.scripted import Answer
from mellea_rx.testing import STALL, breaking, dripping, failing, run_virtual, stalling

FOUR = "Once upon a time"


def outcome(answer: Answer, **options: object) -> tuple[str, MelleaRxError | None, float]:
    """The text, the error and the virtual seconds of two calls, which must agree."""

    async def main() -> tuple[str, MelleaRxError | None, float]:
        m = MelleaSession(ScriptedBackend(answer), model_options=options)
        thunks = [await m.ainstruct("Go.") for _ in range(2)]
        for thunk in thunks:
            await thunk._view().settled()
        first, second = thunks
        assert (first.text, type(first.error)) == (second.text, type(second.error))
        assert first.error is None or first.error is not second.error
        return first.text, first.error, first.duration

    return run_virtual(main())


@pytest.mark.parametrize(
    ("after", "kind", "text"),
    [(0, FirstTokenTimeoutError, ""), (2, IdleTimeoutError, "Once upon ")],
)
def test_a_stall_ends_in_the_timeout(after: int, kind: type[MelleaRxError], text: str) -> None:
    said, error, seconds = outcome(stalling(FOUR, after=after))
    assert (said, type(error), seconds) == (text, kind, 120.0)


def test_a_stall_may_stand_anywhere_in_an_answer() -> None:
    said, error, seconds = outcome(["a", STALL, "b"], **{ModelOption.STREAM_TIMEOUT: 5})
    assert (said, type(error), seconds) == ("a", IdleTimeoutError, 5.0)


def test_a_failure_comes_after_the_pieces_before_it_with_their_text() -> None:
    said, error, _ = outcome(failing(FOUR, after=2))
    assert said == "Once upon "
    assert isinstance(error, GenerationFailedError)
    assert error.text == said


def test_a_failure_may_be_any_error() -> None:
    _, error, _ = outcome(
        failing(FOUR, after=0, error=lambda: RateLimitError("slower", status=429))
    )
    assert isinstance(error, RateLimitError)


def test_a_broken_connection_keeps_the_text() -> None:
    said, error, _ = outcome(breaking(["a", Chunk("b"), "c"], after=2))
    assert said == "ab"
    assert isinstance(error, StreamInterruptedError)
    assert error.text == "ab"


def test_a_slow_answer_takes_its_time_for_each_piece() -> None:
    assert outcome(dripping(FOUR, every=100)) == (FOUR, None, 400.0)


def test_faults_combine_and_take_what_an_answer_may_be() -> None:
    def say(request: Request) -> str:
        return request.messages[-1].content

    said, error, seconds = outcome(failing(dripping(say, every=10), after=1))
    assert (said, type(error), seconds) == ("Go.", GenerationFailedError, 10.0)
    said, error, seconds = outcome(breaking(dripping(FOUR, every=10), after=3))
    assert (said, type(error), seconds) == ("Once upon a ", StreamInterruptedError, 30.0)
    assert outcome(stalling(FOUR, after=9))[0] == FOUR


def test_bad_numbers_are_refused() -> None:
    for made in (stalling, failing, breaking):
        with pytest.raises(InvalidInputError, match="after"):
            made("a", after=-1)  # type: ignore[operator]
    with pytest.raises(InvalidInputError, match="every"):
        dripping("a", every=-1)
