"""A call that is cancelled at each of its await points in turn: nothing leaks."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Awaitable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mellea_rx import (
    BackendError,
    GenerationCancelledError,
    LocalBackend,
    MelleaSession,
    ModelOption,
    ModelOutputThunk,
    ScriptedBackend,
    TotalTimeoutError,
)
from mellea_rx.backends import Backend
from mellea_rx.core.streams.generation import Generation
from mellea_rx.stdlib.pipeline.call import CallPipeline
from mellea_rx.stdlib.pipeline.retries import generate_with_retries
from mellea_rx.stdlib.sampling import BestOfN, Budget, RepairTemplate
from mellea_rx.testing.conformance import request
from tests.chaos.trial import Trial, engine_tasks, logged
from tests.core.hand import PATIENCE, until_blocking
from tests.support.tiny_llama import write_tiny_llama

MOST = 200
"""An upper bound of the steps of these calls."""


class Stepped:
    """Awaits an object, counts the steps, and cancels the current task at one of them.

    Args:
        work: What to await.
        at: The step, from 1 on.
    """

    def __init__(self, work: Awaitable[None], at: int) -> None:
        self._work = work
        self._at = at
        self.reached = False

    def __await__(self) -> Generator[Any, Any, None]:
        inner = self._work.__await__()
        send: Any = lambda: next(inner)  # noqa: E731
        for step in range(1, MOST):
            try:
                waited = send()
            except StopIteration:
                return
            if step == self._at:
                self.reached = True
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                value = yield waited
            except BaseException as error:
                send = lambda raised=error: inner.throw(raised)  # noqa: E731
            else:
                send = lambda given=value: inner.send(given)  # noqa: E731


def cancelled_at(backend: Backend, step: int, **options: Any) -> bool:
    """Cancel one call at this step; returns whether it had that many."""
    stepped: list[Stepped] = []

    async def pipeline(generation: Generation) -> None:
        work = generate_with_retries(backend, request(RETRIES=0, **options), generation)
        stepped.append(Stepped(work, step))
        await stepped[0]

    thunk: ModelOutputThunk[str] = ModelOutputThunk(pipeline, live=True)
    try:
        thunk.wait(PATIENCE)
    except GenerationCancelledError:
        assert stepped[0].reached
    except BackendError:
        assert thunk.error is not None
    return stepped[0].reached


def at_every_step(backend: Backend, settled: Any, **options: Any) -> int:
    """Cancel at step 1, 2, …; returns the number of steps."""
    tasks = engine_tasks()
    with logged() as lines:
        step = 1
        while cancelled_at(backend, step, **options):
            until_blocking(settled)
            until_blocking(lambda: engine_tasks() <= tasks)
            step += 1
        gc.collect()
    assert not [line for line in lines if "never" in line or "unclosed" in line.lower()]
    return step - 1


@pytest.mark.parametrize("warm", [False, True], ids=["new connection", "used connection"])
def test_at_each_step_of_an_http_call(trial: Trial, warm: bool) -> None:
    server = trial.server
    server.script("m", chunks=["Once ", "upon ", "a time"], delay=0.005)
    backend = trial.backend()

    def settled() -> bool:
        """The server sees every end; the only open connection is an unused one."""
        ended = all(each["client_closed"] or each["ended"] for each in server.log("m"))
        if not warm:
            backend.close()
        return ended and server.connections() <= int(warm)

    steps = at_every_step(backend, settled)
    assert steps >= (1 if warm else 2)  # on a reused connection the request is written at once
    with MelleaSession(backend) as m:
        assert m.instruct("Go.").value == "Once upon a time"
    until_blocking(lambda: server.connections() == 0)


@pytest.mark.parametrize(
    "script",
    [
        {"status": 500, "body": "x" * 1000, "split": 200},
        {"chunks": ["a", "b"], "reset_after": 1},
        {"chunks": ["a"], "split": 20},
        {"chunks": ["a"], "framing": "close"},
    ],
    ids=["a status", "a reset", "in pieces", "no length"],
)
def test_at_each_step_of_a_call_that_goes_wrong(trial: Trial, script: dict[str, Any]) -> None:
    trial.server.script("m", **script)
    backend = trial.backend()

    def settled() -> bool:
        backend.close()
        return trial.server.connections() == 0

    tasks = engine_tasks()
    step = 1
    while cancelled_at(backend, step):
        until_blocking(settled)
        step += 1
    assert step > 2
    until_blocking(settled)
    until_blocking(lambda: engine_tasks() <= tasks)


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_at_random_moments_of_many_http_calls(trial: Trial, framing: str) -> None:
    """Between two blocks, in the turn of a block, and while a connection is being established."""
    chance = random.Random(7)
    trial.server.script(
        "m", chunks=["Once ", "upon ", "a time"], delay=0.001, split=9, framing=framing
    )
    backend = trial.backend()
    tasks = engine_tasks()

    async def one(m: MelleaSession) -> None:
        thunk = await m.ainstruct("Go.", model_options={ModelOption.STREAM: True})
        await asyncio.sleep(chance.random() * 0.06)
        thunk.cancel()
        with suppress(GenerationCancelledError):
            assert await thunk.avalue() == "Once upon a time"

    async def main() -> None:
        m = MelleaSession(backend)
        for _ in range(10):
            await asyncio.gather(*(one(m) for _ in range(10)))

    with logged() as lines:
        asyncio.run(main())
        until_blocking(lambda: engine_tasks() <= tasks)
        with MelleaSession(backend) as m:
            assert m.instruct("Go.").value == "Once upon a time"
        until_blocking(lambda: trial.server.connections() == 0)
        gc.collect()
    assert not [line for line in lines if "never" in line or "unclosed" in line.lower()]


def test_at_each_step_of_a_scripted_call() -> None:
    backend = ScriptedBackend(["a", "b", "c"], delay=0.001)
    assert at_every_step(backend, lambda: backend.running == 0) >= 3


def test_at_each_step_of_an_embedded_call(tmp_path: Path) -> None:
    model = write_tiny_llama(tmp_path / "tiny.gguf")
    backend = LocalBackend(model, parallel=1)
    with MelleaSession(backend, model_options={ModelOption.MAX_NEW_TOKENS: 3}) as m:
        assert m.instruct("Go.").value is not None
        steps = at_every_step(
            backend,
            lambda: not backend._lease._tasks,  # type: ignore[union-attr]
            MAX_NEW_TOKENS=3,
        )
        assert steps >= 1
        assert m.instruct("Go.").value is not None


def test_at_each_step_of_a_whole_pipeline(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt that waits for another thunk, attempts, a judge."""
    # Each await really waits: neither a head nor the text after it is there beforehand.
    trial.server.script("m", chunks=["yes"], first_delay=0.05, delay=0.05)
    backend = trial.backend()
    tasks = engine_tasks()
    whole = CallPipeline.run
    stepped: list[Stepped] = []

    async def run(call: CallPipeline, generation: Generation) -> None:
        if call.strategy is None:
            return await whole(call, generation)
        stepped.append(Stepped(whole(call, generation), len(stepped) + 1))
        return await stepped[-1]

    monkeypatch.setattr(CallPipeline, "run", run)
    m = MelleaSession(backend)
    while not stepped or stepped[-1].reached:
        first = asyncio.run(m.ainstruct("Go."))
        given = {"first": first}
        call = m.ainstruct("Go on: {{first}}.", user_variables=given, requirements=["short"])
        thunk = asyncio.run(call)
        try:
            assert thunk.wait(PATIENCE).value == "yes"
        except GenerationCancelledError:
            assert stepped[-1].reached
        assert first.wait(PATIENCE).value == "yes"
    assert len(stepped) >= 5
    backend.close()
    until_blocking(lambda: engine_tasks() <= tasks)
    until_blocking(lambda: trial.server.connections() == 0)


@pytest.mark.parametrize("strategy", [RepairTemplate, BestOfN])
def test_the_seconds_of_a_budget_end_the_requests_on_the_server(
    trial: Trial, strategy: Any
) -> None:
    trial.server.script("m", chunks=["once"] * 10_000, delay=0.01)
    backend = trial.backend()
    tasks = engine_tasks()
    m = MelleaSession(backend)
    sampling = strategy(6, max_concurrent=3, budget=Budget(seconds=4))
    with pytest.raises(TotalTimeoutError, match="budget") as caught:
        m.instruct("Go.", strategy=sampling)
    assert caught.value.text.startswith("once")
    # The strategy returns only when its requests have ended.
    assert engine_tasks() <= tasks
    until_blocking(lambda: all(each["client_closed"] for each in trial.server.log("m")))
    assert len(trial.server.log("m")) == 3
    backend.close()
    until_blocking(lambda: trial.server.connections() == 0)
