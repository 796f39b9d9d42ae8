"""Laws that every backend follows, as functions that check a backend of your own.

    class GreeterHarness(BackendHarness):
        def answering(self):
            return GreeterBackend()

    @pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
    def test_the_greeter_follows_the_law(law):
        law(GreeterHarness())

A law takes a harness, and raises AssertionError if the backend violates it. A harness need not
support everything (a backend that stalls, the number of running requests); laws skip the rest.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from reactivex import Observable

from mellea_rx.core.interfaces.backend import Backend, is_backend
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.request import Request, RequestMessage
from mellea_rx.errors import (
    FirstTokenTimeoutError,
    GenerationFailedError,
    IdleTimeoutError,
    InvalidInputError,
    MelleaRxError,
)
from mellea_rx.stdlib.session.session import MelleaSession
from mellea_rx.testing.probe import Probe
from mellea_rx.testing.virtual_time import run_off_loop

__all__ = ["LAWS", "BackendHarness", "Bench", "check_backend", "request"]

T = TypeVar("T")

PATIENCE = 30.0
"""The seconds that a law waits for something to happen."""

STREAM = {ModelOption.STREAM: True}


class BackendHarness:
    """A backend, and methods that make it behave in a certain way. Only `answering` is required.

    Attributes:
        limit: Options that end an answer early, if it would go on otherwise: values by the names of
            `ModelOption`.
        speaks: The texts of the chunks of `answering`, `stalling` and `failing`; None if unknown.
        tells_usage: Whether the last chunk has `usage`.
        tells_model: Whether the last chunk has the `model` of the backend.
    """

    limit: dict[str, Any] = {}  # noqa: RUF012
    speaks: list[str] | None = None
    tells_usage: bool = False
    tells_model: bool = False

    def answering(self) -> Backend:
        """A backend that answers in more than one chunk."""
        raise NotImplementedError("a harness has to define answering(), the backend that answers")

    def endless(self) -> Backend | None:
        """A backend whose answers do not end; None if that is not possible."""
        return None

    def stalling(self, after: int) -> Backend | None:
        """A backend that sends nothing more after so many chunks; None if that is not possible."""
        return None

    def failing(self, after: int) -> Backend | None:
        """A backend that fails after so many chunks; None if that is not possible.

        Its error message is "the model crashed".
        """
        return None

    def running(self) -> int | None:
        """The number of requests that run now; None if unknown."""
        return None

    def request_count(self) -> int | None:
        """The number of requests received so far; None if unknown."""
        return self.asked()

    def asked(self) -> int | None:
        """The former name of `request_count`, which a harness may still have."""
        return None


Bench = BackendHarness
"""The former name of `BackendHarness`."""

Law = Callable[[BackendHarness], None]
"""Checks one law; raises AssertionError if the backend violates it."""


def request(prompt: str = "Go.", **options: Any) -> Request:
    """Make a request for one prompt.

    Args:
        prompt: The text of the user message.
        options: Options, by their names in `ModelOption` or by any other name.


    Example:
        >>> request("Hello.", SEED=7, top_k=1).options
        Options({'ModelOption.SEED': 7, 'top_k': 1})
    """
    named = {ModelOption[k] if k in ModelOption.__members__ else k: v for k, v in options.items()}
    return Request((RequestMessage("user", prompt),), Options(named))


def check_backend(harness: BackendHarness) -> None:
    """Check all laws.

    Raises:
        AssertionError: The backend violates a law; the message starts with the law's name.
    """
    for law in LAWS:
        try:
            law(harness)
        except AssertionError as broken:
            raise AssertionError(f"{law.__name__}: {broken}") from broken


def it_is_a_backend(harness: BackendHarness) -> None:
    """It has a name, options, and a `stream` that returns an Observable."""
    backend = harness.answering()
    assert is_backend(backend)
    assert isinstance(backend.model_options, Options)
    assert isinstance(backend.stream(request()), Observable)
    assert backend.name


def nothing_is_asked_before_somebody_subscribes(harness: BackendHarness) -> None:
    """Creating a stream starts no request."""
    harness.answering().stream(request())
    assert harness.running() in (0, None)
    assert harness.request_count() in (0, None)


def two_subscriptions_are_two_requests(harness: BackendHarness) -> None:
    """The stream is cold: each subscription makes its own request."""
    for probe in _observed(harness.answering(), 2, **harness.limit):
        assert probe.terminals == ["completed"]
        assert probe.text
    assert harness.request_count() in (2, None)


def text_comes_as_chunks_one_after_another(harness: BackendHarness) -> None:
    """Its items are chunks, and more than one of them has text."""
    (probe,) = _observed(harness.answering(), **harness.limit)
    assert all(isinstance(chunk, Chunk) for chunk in probe.items)
    assert sum(bool(chunk.text) for chunk in probe.items) > 1
    assert harness.speaks is None or probe.text == "".join(harness.speaks)


def one_call_at_a_time(harness: BackendHarness) -> None:
    """Notifications never overlap, and none follows the terminal one."""
    inside = threading.Lock()
    notes: list[str] = []

    def note(kind: str) -> None:
        notes.append(kind if inside.acquire(blocking=False) else "overlap")
        inside.release()

    harness.answering().stream(request(**harness.limit)).subscribe(
        lambda _: note("next"), lambda _: note("error"), lambda: note("completed")
    )
    _until(lambda: "completed" in notes or "error" in notes)
    assert notes == ["next"] * (len(notes) - 1) + ["completed"]


def the_last_chunk_says_why_it_ended(harness: BackendHarness) -> None:
    """Only the last chunk has a finish reason; usage and model are on it, if they are known."""
    backend = harness.answering()
    (probe,) = _observed(backend, **harness.limit)
    last = probe.items[-1]
    assert last.finish_reason in ("stop", "length")
    assert [chunk.finish_reason for chunk in probe.items[:-1]] == [None] * (len(probe.items) - 1)
    if harness.tells_model:
        assert last.model == getattr(backend, "model")  # noqa: B009
    if harness.tells_usage:
        assert last.usage is not None
        assert last.usage.completion_tokens > 0


def disposing_ends_the_request(harness: BackendHarness) -> None:
    """Disposing cancels the request, and no chunk is delivered afterwards."""
    backend = harness.endless()
    if backend is None:
        return
    probe: Probe[Chunk] = Probe()
    subscription = probe.to(backend.stream(request()))
    _until(lambda: probe.text)
    subscription.dispose()
    _until(lambda: not harness.running())
    had = len(probe.items)
    assert probe.terminals == []
    _observed(harness.answering(), **harness.limit)
    assert len(probe.items) == had


def disposing_at_once_or_twice_or_late_is_fine(harness: BackendHarness) -> None:
    """Disposing is idempotent, and allowed at any time."""
    stream = harness.answering().stream(request(**harness.limit))
    for _ in range(10):
        subscription = Probe[Chunk]().to(stream)
        subscription.dispose()
        subscription.dispose()
    late: Probe[Chunk] = Probe()
    subscription = late.to(stream)
    assert late.ended.wait(PATIENCE)
    subscription.dispose()
    assert late.terminals == ["completed"]
    _until(lambda: not harness.running())


def four_run_at_once(harness: BackendHarness) -> None:
    """Four requests run concurrently, and end when their thunks are cancelled."""
    backend = harness.endless()
    if backend is None:
        return

    async def main() -> None:
        m = MelleaSession(backend)
        thunks = [await m.ainstruct(f"{n}", model_options=STREAM) for n in range(4)]
        await _until_async(lambda: all(thunk.text for thunk in thunks))
        assert not any(thunk.is_computed() for thunk in thunks)
        for thunk in thunks:
            thunk.cancel()
        await _until_async(lambda: not harness.running())

    _run(main())


def many_more_than_run_at_once_all_complete(harness: BackendHarness) -> None:
    """Sixteen concurrent requests are all answered."""
    probes = _observed(harness.answering(), 16, **harness.limit)
    assert [probe.terminals for probe in probes] == [["completed"]] * 16


def a_failure_is_typed_and_keeps_the_chunks_before_it(harness: BackendHarness) -> None:
    """An error in the answer is a `GenerationFailedError`, delivered after the text before it."""
    for after in (0, 2):
        backend = harness.failing(after)
        if backend is None:
            return
        (probe,) = _observed(backend)
        assert probe.terminals == ["error"]
        assert probe.text == _text_before(harness, after)
        assert isinstance(probe.error, GenerationFailedError)
        assert "the model crashed" in str(probe.error)


def silence_is_a_timeout_of_its_own_kind(harness: BackendHarness) -> None:
    """`STREAM_TIMEOUT` ends a silent stream; the error depends on whether text has arrived."""
    kinds: list[tuple[int, type[MelleaRxError]]] = [
        (0, FirstTokenTimeoutError),
        (2, IdleTimeoutError),
    ]
    for after, kind in kinds:
        backend = harness.stalling(after)
        if backend is None:
            return
        (probe,) = _observed(backend, STREAM_TIMEOUT=0.2)
        assert probe.terminals == ["error"]
        assert type(probe.error) is kind
        assert "STREAM_TIMEOUT" in str(probe.error)
        assert probe.text == _text_before(harness, after)
        _until(lambda: not harness.running())


def a_timeout_is_for_silence_not_for_the_whole(harness: BackendHarness) -> None:
    """An answer may take longer than `STREAM_TIMEOUT` in total, while chunks arrive."""
    backend = harness.endless()
    if backend is None:
        return

    async def main() -> None:
        options = {ModelOption.STREAM: True, ModelOption.STREAM_TIMEOUT: 1.0}
        thunk = await MelleaSession(backend).ainstruct("Go.", model_options=options)
        await _until_async(lambda: thunk.duration > 1.3 or thunk.finish_reason or thunk.error)
        assert thunk.error is None
        assert thunk.finish_reason is None, "the answer of `endless` ended"
        assert thunk.text
        thunk.cancel()

    _run(main())


def text_before_a_failure_stays_on_thunk_and_error(harness: BackendHarness) -> None:
    """A failed thunk and its error have the text received so far."""
    backend = harness.failing(2)
    if backend is None:
        return

    async def main() -> ModelOutputThunk[str]:
        thunk = await MelleaSession(backend).ainstruct("Go.")
        await asyncio.wait({asyncio.ensure_future(_settled(thunk))}, timeout=PATIENCE)
        return thunk

    thunk = _run(main())
    assert isinstance(thunk.error, GenerationFailedError)
    assert thunk.error.text == thunk.text == _text_before(harness, 2)


def closing_is_idempotent_and_a_later_request_opens_again(harness: BackendHarness) -> None:
    """A closed backend accepts new requests."""
    backend = harness.answering()
    for _ in range(3):
        (probe,) = _observed(backend, **harness.limit)
        assert probe.terminals == ["completed"]
        backend.close()
        backend.close()


def it_lists_its_models(harness: BackendHarness) -> None:
    """If it lists models, its own model is one of them."""
    backend: Any = harness.answering()
    if hasattr(backend, "models"):
        assert backend.model in _run(backend.models())


def a_session_on_it_works_sync_and_async(harness: BackendHarness) -> None:
    """A thunk's value, pieces and metadata work on it, from sync and async code."""
    limit = {ModelOption[name]: value for name, value in harness.limit.items()}
    m = MelleaSession(harness.answering(), model_options=limit)
    thunk = m.instruct("Go.")
    assert harness.speaks is None or thunk.value == "".join(harness.speaks)
    assert thunk.ttft is not None
    assert thunk.finish_reason in ("stop", "length")

    async def main() -> None:
        mot = await m.ainstruct("Go.", model_options=STREAM)
        assert not mot.is_computed()
        pieces = [piece async for piece in mot.astream()]
        assert "".join(pieces) == mot.value
        assert mot.value

    _run(main())


LAWS: tuple[Law, ...] = (
    it_is_a_backend,
    nothing_is_asked_before_somebody_subscribes,
    two_subscriptions_are_two_requests,
    text_comes_as_chunks_one_after_another,
    one_call_at_a_time,
    the_last_chunk_says_why_it_ended,
    disposing_ends_the_request,
    disposing_at_once_or_twice_or_late_is_fine,
    four_run_at_once,
    many_more_than_run_at_once_all_complete,
    a_failure_is_typed_and_keeps_the_chunks_before_it,
    silence_is_a_timeout_of_its_own_kind,
    a_timeout_is_for_silence_not_for_the_whole,
    text_before_a_failure_stays_on_thunk_and_error,
    closing_is_idempotent_and_a_later_request_opens_again,
    it_lists_its_models,
    a_session_on_it_works_sync_and_async,
)
"""The laws, each a function that takes a `BackendHarness` and raises an `AssertionError`."""
"""All laws; the most fundamental ones first."""


def _observed(backend: Backend, count: int = 1, **options: Any) -> list[Probe[Chunk]]:
    """Subscribe so many probes to one stream, and wait until all have ended."""
    stream = backend.stream(request(**options))
    probes = [Probe[Chunk]() for _ in range(count)]
    for probe in probes:
        probe.to(stream)
    for probe in probes:
        assert probe.ended.wait(PATIENCE), "the stream did not end"
    return probes


def _text_before(harness: BackendHarness, after: int) -> str:
    if harness.speaks is None:
        raise InvalidInputError("a harness with failing() or stalling() has to set `speaks`")
    return "".join(harness.speaks[:after])


async def _settled(thunk: ModelOutputThunk[Any]) -> None:
    await thunk._view().settled()


def _run(main: Coroutine[Any, Any, T]) -> T:
    return run_off_loop(lambda: asyncio.run(main))


def _until(condition: Callable[[], Any]) -> None:
    """Block until the condition is true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.001)


async def _until_async(condition: Callable[[], Any]) -> None:
    """Let the loop run until the condition is true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        await asyncio.sleep(0.001)
