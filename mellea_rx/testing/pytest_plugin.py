"""Fixtures for pytest: virtual time, sessions with scripted answers, and recordings.

The package registers this plugin, and pytest loads it. An `async def` test with the fixture
`virtual_time` runs in virtual time; other async tests are not affected.
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
from mellea_rx.core.interfaces.backend import Backend
from mellea_rx.stdlib.session.session import MelleaSession
from mellea_rx.testing.recordings import Recorder, replay
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
    """Add `--mellea-rx-record`, with which the fixture `recorded` records real backends."""
    parser.getgroup("mellea_rx").addoption(
        RECORD, action="store_true", help="call the real backends, and save their answers again"
    )


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Run an async test with the fixture `virtual_time` in virtual time."""
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
    """Virtual time for an async test; `virtual_time.now` is the time in seconds.

    In a sync test, run code with `virtual_time.run(main())`.
    """
    with VirtualTime() as time:
        yield time


@pytest.fixture
def scripted() -> Iterator[Callable[..., MelleaSession]]:
    """Makes sessions with scripted answers, which are closed after the test.

    `scripted("Hello.", delay=1)` takes the arguments of `ScriptedBackend`. The `requests` are in
    the session's `backend`.
    """
    with ExitStack() as sessions:

        def make(*answers: Answer, **arguments: Any) -> MelleaSession:
            return _closing(MelleaSession(ScriptedBackend(*answers, **arguments)), sessions)

        yield make


@pytest.fixture
def recorded(request: pytest.FixtureRequest) -> Iterator[Callable[..., MelleaSession]]:
    """Makes sessions that play recorded answers of a real backend; closed after the test.

    `recorded(lambda: OllamaBackend("llama3.2"))` plays `recordings/<test file>/<test>.jsonl` in the
    folder of the test's file. With `--mellea-rx-record` it makes the backend, calls it, and saves
    that file. More arguments are passed to `replay`: `speed=0` leaves out the pauses.
    """
    test = re.sub(r"[^\w.-]+", "_", request.node.name).strip("_")
    folder = request.path.parent / "recordings" / request.path.stem
    with ExitStack() as sessions:
        made: list[Path] = []

        def make(backend: Callable[[], Backend], **arguments: Any) -> MelleaSession:
            path = folder / f"{test}{f'-{len(made) + 1}' if made else ''}.jsonl"
            made.append(path)
            if not request.config.getoption(RECORD):
                return _closing(MelleaSession(replay(path, **arguments)), sessions)
            folder.mkdir(parents=True, exist_ok=True)
            recorder = Recorder(backend(), path)
            sessions.callback(_check_complete, recorder)
            return _closing(MelleaSession(recorder), sessions)

        yield make


def _check_complete(recorder: Recorder) -> None:
    """Fail the test if not all of its calls were recorded."""
    if recorder.failure is not None:
        raise recorder.failure


def _closing(session: MelleaSession, stack: ExitStack) -> MelleaSession:
    # Closed, but not entered: the test may run in another context than its fixtures.
    stack.callback(session.close)
    return session
