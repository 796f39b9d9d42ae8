"""Fixtures for pytest: sessions with scripted answers, virtual time, recordings.

Installed with the package, and loaded by pytest itself. An `async def` test that takes the fixture
`virtual_time` runs in virtual time; no other async test is touched.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mellea_rx.backends.scripted import Answer, ScriptedBackend
from mellea_rx.core.backend import Backend
from mellea_rx.stdlib.session import MelleaSession
from mellea_rx.testing.recorder import Recorder
from mellea_rx.testing.replay import replay
from mellea_rx.testing.virtual_time import VirtualTime

__all__ = [
    "pytest_addoption",
    "pytest_pyfunc_call",
    "recorded",
    "scripted",
    "virtual_time",
]

RECORD = "--mellea-rx-record"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--mellea-rx-record`: the fixture `recorded` asks the real backends, and saves."""
    parser.getgroup("mellea_rx").addoption(
        RECORD, action="store_true", help="ask the real backends, and save their answers anew"
    )


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Run an async test that takes `virtual_time` in it."""
    test = pyfuncitem.obj
    time = pyfuncitem.funcargs.get("virtual_time")
    if isinstance(time, VirtualTime) and inspect.iscoroutinefunction(test):

        def run(**arguments: Any) -> None:
            time.run(test(**arguments))

        pyfuncitem.obj = run
        try:
            return (yield)
        finally:
            pyfuncitem.obj = test
    return (yield)


@pytest.fixture
def virtual_time() -> Iterator[VirtualTime]:
    """The clock of an async test, which then runs on it: `virtual_time.now` is its seconds.

    In a sync test it is the place to run code on: `virtual_time.run(main())`.
    """
    with VirtualTime() as time:
        yield time


@pytest.fixture
def scripted() -> Iterator[Callable[..., MelleaSession]]:
    """Makes sessions whose answers are scripted; closed after the test.

    `scripted("Hello.", delay=1)` takes what `ScriptedBackend` takes; the session's `backend` has
    the `requests`.
    """
    with ExitStack() as sessions:

        def make(*answers: Answer, **how: Any) -> MelleaSession:
            return _closing(MelleaSession(ScriptedBackend(*answers, **how)), sessions)

        yield make


@pytest.fixture
def recorded(request: pytest.FixtureRequest) -> Iterator[Callable[..., MelleaSession]]:
    """Makes sessions that play what a real backend once said to this test; closed after it.

    `recorded(lambda: OllamaBackend("llama3.2"))` plays `recordings/<test file>/<test>.jsonl`, which
    lies beside the test's file. With `--mellea-rx-record` it makes the backend, asks it, and saves
    that file. More arguments go to `replay`: `speed=0` leaves the pauses out.
    """
    test = re.sub(r"[^\w.-]+", "_", request.node.name).strip("_")
    folder = request.path.parent / "recordings" / request.path.stem
    with ExitStack() as sessions:
        made: list[Path] = []

        def make(backend: Callable[[], Backend], **how: Any) -> MelleaSession:
            path = folder / f"{test}{f'-{len(made) + 1}' if made else ''}.jsonl"
            made.append(path)
            if not request.config.getoption(RECORD):
                return _closing(MelleaSession(replay(path, **how)), sessions)
            folder.mkdir(parents=True, exist_ok=True)
            recorder = Recorder(backend(), path)
            sessions.callback(_require_whole, recorder)
            return _closing(MelleaSession(recorder), sessions)

        yield make


def _require_whole(recorder: Recorder) -> None:
    """A test that records less than it asked has an error."""
    if recorder.failure is not None:
        raise recorder.failure


def _closing(session: MelleaSession, stack: ExitStack) -> MelleaSession:
    # Closed, but not entered: an async test has a context of its own.
    stack.callback(session.close)
    return session
