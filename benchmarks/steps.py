"""The time of one default call, step by step: `python -m benchmarks.steps`.

Calls are made one after another. A step lies between two points that a call passes in one thread:
its time is the median of all calls (by the clock, so what waits for the other thread waits in it),
its functions are Python's own, counted, which no load of the machine changes. The last line of a
thread is its CPU time, with its event loop's turns, the wait and the wake-up.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from types import FrameType
from typing import Any, NamedTuple

from benchmarks.turns import server
from mellea_rx import MelleaSession, start_session
from mellea_rx.core.runtime.engine import Engine, TaskHandle, engine
from mellea_rx.core.streams.generation import Generation
from mellea_rx.stdlib.pipeline.call import CallPipeline
from mellea_rx.stdlib.session import session as sessions
from mellea_rx.wire.http1 import Connection

__all__ = ["ALL", "STEPS", "Step", "main", "measured"]


class Step(NamedTuple):
    """The code between two points.

    Attributes:
        thread: Whose it is.
        name: For the table.
        begins: The point at which it begins.
        ends: The point at which it ends.
    """

    thread: str
    name: str
    begins: str
    ends: str


class Cost(NamedTuple):
    """The cost of a step, or of a whole thread, in one call."""

    thread: str
    name: str
    microseconds: float
    functions: int


STEPS = (
    Step("caller", "the verb's arguments, the component", "verb", "_start >"),
    Step("caller", "options, strategy, checks", "_start >", "prompt_for >"),
    Step("caller", "the prompt rendered", "prompt_for >", "prompt_for <"),
    Step("caller", "thunk and generation", "prompt_for <", "spawn >"),
    Step("caller", "handed to the engine", "spawn >", "spawn <"),
    Step("caller", "context and session", "spawn <", "thunk"),
    Step("engine", "a task", "_begin >", "run >"),
    Step("engine", "the request", "run >", "_generate >"),
    Step("engine", "limits, body, connection", "_generate >", "begin >"),
    Step("engine", "written", "begin >", "begin <"),
    Step("engine", "the answer read, to its end", "data_received >", "end >"),
    Step("engine", "the end told", "end >", "end <"),
)
"""The steps of a call, in order."""

ALL = "all, CPU"
"""The line of a whole thread."""

_POINTS: tuple[tuple[Any, str, str], ...] = (
    (MelleaSession, "_start", "_start"),
    (sessions, "prompt_for", "prompt_for"),
    (Engine, "spawn", "spawn"),
    (TaskHandle, "_start", "_begin"),
    (CallPipeline, "run", "run"),
    (CallPipeline, "_generate", "_generate"),
    (Connection, "begin", "begin"),
    (Connection, "data_received", "data_received"),
    (Generation, "end", "end"),
)
"""Functions that a call enters and leaves, and what their points are called."""


class _Passed:
    """The points that one call has passed: when, and how many functions were called before."""

    def __init__(self) -> None:
        self.at: dict[str, tuple[float, int]] = {}
        self.functions = {"caller": 0, "engine": 0}

    def mark(self, point: str, thread: str) -> None:
        self.at[point] = (time.perf_counter(), self.functions[thread])

    def step(self, step: Step) -> tuple[float, int]:
        (began, before), (ended, after) = self.at[step.begins], self.at[step.ends]
        return (ended - began) * 1e6, after - before

    def counting(self, thread: str) -> Callable[[FrameType, str, Any], None]:
        """For `sys.setprofile`: counts Python functions, but for those of this file."""

        def count(frame: FrameType, event: str, _: Any) -> None:
            if event == "call" and frame.f_code.co_filename != __file__:
                self.functions[thread] += 1

        return count


@contextmanager
def _points(passed: Callable[[], _Passed]) -> Iterator[None]:
    """Have the functions of `_POINTS` mark when they are entered and left."""
    caller = threading.get_ident()

    def marking(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def marked(*args: Any, **more: Any) -> Any:
            thread = "caller" if threading.get_ident() == caller else "engine"
            passed().mark(f"{name} >", thread)
            result = function(*args, **more)
            passed().mark(f"{name} <", thread)
            return result

        return marked

    with ExitStack() as stack:
        for owner, attribute, name in _POINTS:
            function = getattr(owner, attribute)
            stack.callback(setattr, owner, attribute, function)
            setattr(owner, attribute, marking(function, name))
        yield


def _on_engine(function: Callable[[], object]) -> None:
    done = threading.Event()

    def call() -> None:
        function()
        done.set()

    engine().call(call)
    done.wait()


@contextmanager
def _counting(passed: _Passed) -> Iterator[None]:
    """Count the functions that both threads call."""
    _on_engine(lambda: sys.setprofile(passed.counting("engine")))
    sys.setprofile(passed.counting("caller"))
    try:
        yield
    finally:
        sys.setprofile(None)
        _on_engine(lambda: sys.setprofile(None))


def _cpu() -> dict[str, float]:
    """CPU seconds of both threads."""
    names = {"MainThread": "caller", "mellea-rx-engine": "engine"}
    return {
        names[each.name]: time.clock_gettime(time.pthread_getcpuclockid(each.ident))
        for each in threading.enumerate()
        if each.name in names and each.ident is not None
    }


async def _call(m: MelleaSession, passed: _Passed) -> None:
    passed.mark("verb", "caller")
    thunk = await m.ainstruct("x")
    passed.mark("thunk", "caller")
    await thunk.avalue()


async def _warm_session(url: str) -> MelleaSession:
    m = start_session("ollama", model_id="burst-10", base_url=url)
    for _ in range(100):
        await _call(m, _Passed())
    return m


async def measured(url: str, calls: int) -> list[Cost]:
    """Make calls, and measure their steps.

    Args:
        url: The benchmarks' server.
        calls: How many calls are timed.
    """
    latest = _Passed()
    m = await _warm_session(url)
    before = _cpu()
    for _ in range(calls):
        await _call(m, latest)
    cpu = {name: (now - before[name]) / calls * 1e6 for name, now in _cpu().items()}
    timed: list[_Passed] = []
    with _points(lambda: latest):
        m = await _warm_session(url)  # uvloop looks a connection's functions up when it is made
        for _ in range(calls):
            latest = _Passed()
            await _call(m, latest)
            timed.append(latest)
        counted = latest = _Passed()
        with _counting(counted):
            await _call(m, latest)
    costs: list[Cost] = []
    for thread in ("caller", "engine"):
        steps = [
            Cost(
                thread,
                each.name,
                median(one.step(each)[0] for one in timed),
                counted.step(each)[1],
            )
            for each in STEPS
            if each.thread == thread
        ]
        costs += [*steps, Cost(thread, ALL, cpu[thread], counted.functions[thread])]
    return costs


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    calls = parser.parse_args().calls
    with server() as url:
        costs = asyncio.run(measured(url, calls))
    print("| thread | step | us | functions |\n|---|---|---|---|")
    for each in costs:
        print(f"| {each.thread} | {each.name} | {each.microseconds:.1f} | {each.functions} |")


if __name__ == "__main__":
    main()
