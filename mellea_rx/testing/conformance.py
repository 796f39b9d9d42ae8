"""What every backend promises, as laws: run them over a backend of your own.

    class GreeterBench(Bench):
        def answering(self):
            return GreeterBackend()

    @pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
    def test_the_greeter_keeps_the_law(law):
        law(GreeterBench())

A law takes a bench and raises AssertionError where the backend breaks it. What a bench cannot show
(a backend that stalls, the number of running answers) is not asked for.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from reactivex import Observable

from mellea_rx.core.backend import Backend, is_backend
from mellea_rx.core.chunk import Chunk
from mellea_rx.core.options import ModelOption, Options
from mellea_rx.core.request import Request, WireMessage
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.errors import (
    FirstTokenTimeoutError,
    GenerationFailedError,
    IdleTimeoutError,
    InvalidInputError,
    MelleaRxError,
)
from mellea_rx.stdlib.session import MelleaSession
from mellea_rx.testing.outside import without_loop
from mellea_rx.testing.probe import Probe

__all__ = ["LAWS", "Bench", "check_backend", "request"]

T = TypeVar("T")

PATIENCE = 30.0
"""How long a law waits for what has to happen, in seconds."""

STREAM = {ModelOption.STREAM: True}


class Bench:
    """A backend, and ways to make it do things. Only `answering` has to be given.

    Attributes:
        limit: Options that end an answer soon, where only they can: names of `ModelOption`, values.
        speaks: The pieces that `answering`, `stalling` and `failing` say; None where nobody knows.
        tells_usage: Whether its last chunk has `usage`.
        tells_model: Whether its last chunk has the `model` that the backend has.
    """

    limit: dict[str, Any] = {}  # noqa: RUF012
    speaks: list[str] | None = None
    tells_usage: bool = False
    tells_model: bool = False

    def answering(self) -> Backend:
        """A backend that answers well, in more than one chunk."""
        raise NotImplementedError("a bench has to say which backend answers")

    def endless(self) -> Backend | None:
        """A backend whose answers go on and on; None where that cannot be."""
        return None

    def stalling(self, after: int) -> Backend | None:
        """A backend that is silent after so many pieces; None where that cannot be."""
        return None

    def failing(self, after: int) -> Backend | None:
        """A backend that fails ("the model crashed") after so many pieces; None likewise."""
        return None

    def running(self) -> int | None:
        """How many answers are being made now; None where nobody knows."""
        return None

    def asked(self) -> int | None:
        """How many requests it got; None where nobody knows."""
        return None


Law = Callable[[Bench], None]


def request(prompt: str = "Go.", **options: Any) -> Request:
    """A request with these options, by the names in `ModelOption` or any other.

    Example:
        >>> request("Hello.", SEED=7, top_k=1).options
        Options({'ModelOption.SEED': 7, 'top_k': 1})
    """
    named = {ModelOption[k] if k in ModelOption.__members__ else k: v for k, v in options.items()}
    return Request((WireMessage("user", prompt),), Options(named))


def check_backend(bench: Bench) -> None:
    """Run all laws over a bench.

    Raises:
        AssertionError: It breaks one; the message begins with the law's name.
    """
    for law in LAWS:
        try:
            law(bench)
        except AssertionError as broken:
            raise AssertionError(f"{law.__name__}: {broken}") from broken


def it_is_a_backend(bench: Bench) -> None:
    """It has a name, options, and a stream that is an Observable."""
    backend = bench.answering()
    assert is_backend(backend)
    assert isinstance(backend.model_options, Options)
    assert isinstance(backend.stream(request()), Observable)
    assert backend.name


def nothing_is_asked_before_somebody_subscribes(bench: Bench) -> None:
    """Making a stream starts nothing."""
    bench.answering().stream(request())
    assert bench.running() in (0, None)
    assert bench.asked() in (0, None)


def two_subscriptions_are_two_requests(bench: Bench) -> None:
    """It is cold: each subscription has an answer of its own."""
    for probe in _watched(bench.answering(), 2, **bench.limit):
        assert probe.terminals == ["completed"]
        assert probe.text
    assert bench.asked() in (2, None)


def text_comes_as_chunks_one_after_another(bench: Bench) -> None:
    """Its items are chunks, more than one of them with text."""
    (probe,) = _watched(bench.answering(), **bench.limit)
    assert all(isinstance(chunk, Chunk) for chunk in probe.items)
    assert sum(bool(chunk.text) for chunk in probe.items) > 1
    assert bench.speaks is None or probe.text == "".join(bench.speaks)


def one_call_at_a_time(bench: Bench) -> None:
    """Its notifications never overlap, and none comes after the terminal."""
    inside = threading.Lock()
    told: list[str] = []

    def note(what: str) -> None:
        told.append(what if inside.acquire(blocking=False) else "overlap")
        inside.release()

    bench.answering().stream(request(**bench.limit)).subscribe(
        lambda _: note("next"), lambda _: note("error"), lambda: note("completed")
    )
    _until(lambda: "completed" in told or "error" in told)
    assert told == ["next"] * (len(told) - 1) + ["completed"]


def the_last_chunk_says_why_it_ended(bench: Bench) -> None:
    """Only the last chunk has a finish reason; it has what was used, and who spoke, if told."""
    backend = bench.answering()
    (probe,) = _watched(backend, **bench.limit)
    last = probe.items[-1]
    assert last.finish_reason in ("stop", "length")
    assert [chunk.finish_reason for chunk in probe.items[:-1]] == [None] * (len(probe.items) - 1)
    if bench.tells_model:
        assert last.model == getattr(backend, "model")  # noqa: B009
    if bench.tells_usage:
        assert last.usage is not None
        assert last.usage.completion_tokens > 0


def disposing_ends_the_request(bench: Bench) -> None:
    """After a dispose the answer is made no more, and nothing of it comes."""
    backend = bench.endless()
    if backend is None:
        return
    probe: Probe[Chunk] = Probe()
    subscription = probe.to(backend.stream(request()))
    _until(lambda: probe.text)
    subscription.dispose()
    _until(lambda: not bench.running())
    had = len(probe.items)
    assert probe.terminals == []
    _watched(bench.answering(), **bench.limit)
    assert len(probe.items) == had


def disposing_at_once_or_twice_or_late_is_fine(bench: Bench) -> None:
    """Dispose is idempotent, at any moment."""
    stream = bench.answering().stream(request(**bench.limit))
    for _ in range(10):
        subscription = Probe[Chunk]().to(stream)
        subscription.dispose()
        subscription.dispose()
    late: Probe[Chunk] = Probe()
    subscription = late.to(stream)
    assert late.ended.wait(PATIENCE)
    subscription.dispose()
    assert late.terminals == ["completed"]
    _until(lambda: not bench.running())


def four_run_at_once(bench: Bench) -> None:
    """Answers are made side by side, and end when their thunks are cancelled."""
    backend = bench.endless()
    if backend is None:
        return

    async def main() -> None:
        m = MelleaSession(backend)
        thunks = [await m.ainstruct(f"{n}", model_options=STREAM) for n in range(4)]
        await _until_async(lambda: all(thunk.text for thunk in thunks))
        assert not any(thunk.is_computed() for thunk in thunks)
        for thunk in thunks:
            thunk.cancel()
        await _until_async(lambda: not bench.running())

    _run(main())


def many_more_than_run_at_once_all_complete(bench: Bench) -> None:
    """Sixteen requests at once all get their answers."""
    probes = _watched(bench.answering(), 16, **bench.limit)
    assert [probe.terminals for probe in probes] == [["completed"]] * 16


def a_failure_is_typed_and_keeps_the_chunks_before_it(bench: Bench) -> None:
    """A failure told in the answer is a `GenerationFailedError`, after the text before it."""
    for after in (0, 2):
        backend = bench.failing(after)
        if backend is None:
            return
        (probe,) = _watched(backend)
        assert probe.terminals == ["error"]
        assert probe.text == _said(bench, after)
        assert isinstance(probe.error, GenerationFailedError)
        assert "the model crashed" in str(probe.error)


def silence_is_a_timeout_of_its_own_kind(bench: Bench) -> None:
    """`STREAM_TIMEOUT` ends a silent answer; before and after the first token are told apart."""
    kinds: list[tuple[int, type[MelleaRxError]]] = [
        (0, FirstTokenTimeoutError),
        (2, IdleTimeoutError),
    ]
    for after, kind in kinds:
        backend = bench.stalling(after)
        if backend is None:
            return
        (probe,) = _watched(backend, STREAM_TIMEOUT=0.2)
        assert probe.terminals == ["error"]
        assert type(probe.error) is kind
        assert "STREAM_TIMEOUT" in str(probe.error)
        assert probe.text == _said(bench, after)
        _until(lambda: not bench.running())


def a_timeout_is_for_silence_not_for_the_whole(bench: Bench) -> None:
    """An answer may take longer than `STREAM_TIMEOUT`, as long as something comes."""
    backend = bench.endless()
    if backend is None:
        return

    async def main() -> None:
        options = {ModelOption.STREAM: True, ModelOption.STREAM_TIMEOUT: 0.5}
        thunk = await MelleaSession(backend).ainstruct("Go.", model_options=options)
        await _until_async(lambda: thunk.duration > 0.7 or thunk.finish_reason or thunk.error)
        assert thunk.error is None
        assert thunk.finish_reason is None, "the answer of `endless` ended: it has to go on"
        assert thunk.text
        thunk.cancel()

    _run(main())


def text_before_a_failure_stays_on_thunk_and_error(bench: Bench) -> None:
    """A failed thunk has the text so far, and so has its error."""
    backend = bench.failing(2)
    if backend is None:
        return

    async def main() -> ModelOutputThunk[str]:
        thunk = await MelleaSession(backend).ainstruct("Go.")
        await asyncio.wait({asyncio.ensure_future(_settled(thunk))}, timeout=PATIENCE)
        return thunk

    thunk = _run(main())
    assert isinstance(thunk.error, GenerationFailedError)
    assert thunk.error.text == thunk.text == _said(bench, 2)


def closing_is_idempotent_and_a_later_request_opens_again(bench: Bench) -> None:
    """A closed backend can be asked again."""
    backend = bench.answering()
    for _ in range(3):
        (probe,) = _watched(backend, **bench.limit)
        assert probe.terminals == ["completed"]
        backend.close()
        backend.close()


def it_lists_its_models(bench: Bench) -> None:
    """Where it can list models, its own is one of them."""
    backend: Any = bench.answering()
    if hasattr(backend, "models"):
        assert backend.model in _run(backend.models())


def a_session_on_it_works_sync_and_async(bench: Bench) -> None:
    """All of a thunk works on it: its value, its pieces, what it tells of itself."""
    limit = {ModelOption[name]: value for name, value in bench.limit.items()}
    m = MelleaSession(bench.answering(), model_options=limit)
    thunk = m.instruct("Go.")
    assert bench.speaks is None or thunk.value == "".join(bench.speaks)
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
"""All that a backend promises, in the order in which they are best looked at."""


def _watched(backend: Backend, count: int = 1, **options: Any) -> list[Probe[Chunk]]:
    """So many subscriptions to one stream, all to their end."""
    stream = backend.stream(request(**options))
    probes = [Probe[Chunk]() for _ in range(count)]
    for probe in probes:
        probe.to(stream)
    for probe in probes:
        assert probe.ended.wait(PATIENCE), "it did not end"
    return probes


def _said(bench: Bench, after: int) -> str:
    if bench.speaks is None:
        raise InvalidInputError("a bench that fails or stalls has to say what it `speaks`")
    return "".join(bench.speaks[:after])


async def _settled(thunk: ModelOutputThunk[Any]) -> None:
    await thunk.view().settled()


def _run(main: Coroutine[Any, Any, T]) -> T:
    return without_loop(lambda: asyncio.run(main))


def _until(condition: Callable[[], Any]) -> None:
    """Wait in this thread until it is true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.001)


async def _until_async(condition: Callable[[], Any]) -> None:
    """Let the loop run until it is true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.001)
