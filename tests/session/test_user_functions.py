"""Functions of the user's never run out of threads: side by side, nested, or never to return."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest

from mellea_rx import (
    Chunk,
    MelleaRxError,
    MelleaSession,
    ModelOption,
    ScriptedBackend,
    ToolCall,
    TotalTimeoutError,
    ValidatorError,
    tool,
)
from mellea_rx.operators import map_async, to_iterator
from mellea_rx.stdlib.requirements import Requirement, check, simple_validate
from mellea_rx.stdlib.tools import call_tools
from mellea_rx.testing import run_virtual
from tests.core.hand import soon, until_blocking
from tests.core.python import STRICT, runs_cleanly

MANY = 60
"""More than any pool of a fixed size that asyncio would make."""

BOUND = 60.0
"""Seconds after which a test takes what has not ended for something that never will."""


def checked(function: Callable[[str], Any]) -> list[Requirement]:
    return [check("checked", simple_validate(function))]


def in_bounds(function: Callable[[], Any]) -> Any:
    """A function's result; an error if it never returns."""
    result: Future[Any] = Future()

    def run() -> None:
        try:
            result.set_result(function())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return result.result(BOUND)


@contextmanager
def never() -> Iterator[Callable[..., bool]]:
    """A function that does not return before the end of the block."""
    over = threading.Event()

    def function(*_: Any) -> bool:
        return over.wait(BOUND)

    try:
        yield function
    finally:
        over.set()


def fine(_: str) -> bool:
    return True


# Side by side, and nested.


def test_many_sync_validators_at_once_may_each_ask_a_model() -> None:
    met = threading.Barrier(MANY)

    def ask(text: str) -> bool:
        met.wait(BOUND)  # none goes on before all have a thread
        inner = MelleaSession(ScriptedBackend("yes"))
        return inner.instruct("Is it?", requirements=checked(fine)).value == "yes"

    async def main() -> list[str]:
        m = MelleaSession(ScriptedBackend("a"))
        thunks = [await m.ainstruct("Go.", requirements=checked(ask)) for _ in range(MANY)]
        return await asyncio.gather(*(thunk.avalue() for thunk in thunks))

    assert in_bounds(lambda: asyncio.run(main())) == ["a"] * MANY


def test_sync_validators_may_be_nested_to_any_depth() -> None:
    m = MelleaSession(ScriptedBackend("a"))

    def ask(depth: int) -> bool:
        return depth == 0 or bool(
            m.instruct("Go.", requirements=checked(lambda _: ask(depth - 1))).sampling
        )

    assert in_bounds(lambda: ask(MANY)) is True


def test_many_sync_tools_at_once_may_each_ask_a_model() -> None:
    met = threading.Barrier(MANY)

    @tool
    def ask(number: int) -> str:
        """Ask a model.

        Args:
            number: Any.
        """
        met.wait(BOUND)
        inner = MelleaSession(ScriptedBackend(str(number)))
        return inner.instruct("Go.", requirements=checked(fine)).value or ""

    calls = tuple(ToolCall("ask", {"number": number}) for number in range(MANY))
    m = MelleaSession(ScriptedBackend([Chunk(tool_calls=calls)]))
    thunk = m.instruct("Go.", model_options={ModelOption.TOOLS: [ask]})
    results = in_bounds(lambda: call_tools(thunk))
    assert [result.content for result in results] == [str(number) for number in range(MANY)]


def test_many_values_of_prompts_may_each_ask_a_model_when_they_are_rendered() -> None:
    met = threading.Barrier(MANY)

    class Asks:
        def __str__(self) -> str:
            met.wait(BOUND)
            m = MelleaSession(ScriptedBackend("tea"))
            return str(m.instruct("Which?", requirements=checked(fine)))

    async def main() -> list[str]:
        m = MelleaSession(ScriptedBackend(lambda request: request.messages[-1].content))
        first = await m.ainstruct("Drink")
        variables = {"what": Asks(), "how": first}
        thunks = [
            await m.ainstruct("{{how}} {{what}}", user_variables=variables) for _ in range(MANY)
        ]
        return await asyncio.gather(*(thunk.avalue() for thunk in thunks))

    assert in_bounds(lambda: asyncio.run(main())) == ["Drink tea"] * MANY


def test_it_is_so_in_virtual_time_too() -> None:
    def ask(text: str) -> bool:
        m = MelleaSession(ScriptedBackend("yes", delay=60))
        return m.instruct("Is it?", requirements=checked(fine)).value == "yes"

    async def main() -> list[str]:
        m = MelleaSession(ScriptedBackend("a"))
        thunks = [await m.ainstruct("Go.", requirements=checked(ask)) for _ in range(MANY)]
        return await asyncio.gather(*(thunk.avalue() for thunk in thunks))

    assert in_bounds(lambda: run_virtual(main())) == ["a"] * MANY


# Given up.

BRIEF = {ModelOption.TOTAL_TIMEOUT: 0.05}


def test_functions_that_never_return_do_not_hold_up_others() -> None:
    m = MelleaSession(ScriptedBackend("a"))
    with never() as hang:

        async def main() -> None:
            thunks = [
                await m.ainstruct("Go.", requirements=checked(hang), model_options=BRIEF)
                for _ in range(2 * MANY)
            ]
            for thunk in thunks:
                with pytest.raises(TotalTimeoutError):
                    await soon(thunk.avalue())
            for _ in range(3):
                thunk = await m.ainstruct("Go.", requirements=checked(fine))
                assert await soon(thunk.avalue()) == "a"

        in_bounds(lambda: asyncio.run(main()))


def test_an_async_function_of_sync_code_is_cancelled_when_it_is_given_up() -> None:
    ended = threading.Event()

    async def hang(text: str) -> bool:
        try:
            await asyncio.sleep(BOUND)
        except asyncio.CancelledError:
            ended.set()
            raise
        return True

    m = MelleaSession(ScriptedBackend("a"))
    with pytest.raises(TotalTimeoutError):
        m.instruct("Go.", requirements=checked(hang), model_options=BRIEF)
    assert ended.wait(30)


def test_inputs_and_functions_of_operators_that_never_return_hold_up_nobody() -> None:
    def source() -> Iterator[int]:
        yield 1
        hang()

    async def main() -> None:
        streams = [map_async(hang, max_concurrent=1)([1, 2]) for _ in range(MANY)]
        streams += [map_async(fine, max_concurrent=1)(source()) for _ in range(MANY)]
        subscriptions = [stream.subscribe() for stream in streams]
        await asyncio.sleep(0)
        pairs = to_iterator(map_async(lambda n: n + 1, max_concurrent=1)([1, 2]))
        assert await asyncio.wait_for(asyncio.to_thread(list, pairs), BOUND) == [2, 3]
        for subscription in subscriptions:
            subscription.dispose()

    with never() as hang:
        in_bounds(lambda: asyncio.run(main()))


# Threads.


@pytest.mark.slow
def test_threads_are_used_again_and_end_when_they_are_idle() -> None:
    """In a program of its own, so that the threads are all its own."""
    code = """
    import asyncio, threading, time
    from mellea_rx import *
    from mellea_rx.core.runtime import user_functions
    from mellea_rx.stdlib.requirements import check, simple_validate
    user_functions.IDLE = 0.2
    seen = set()
    def look(text):
        seen.add(threading.current_thread())
        return True
    m = MelleaSession(ScriptedBackend("a"))
    checks = [check("x", simple_validate(look))]
    for _ in range(20):
        m.instruct("Go.", requirements=checks)
    print(len(seen))
    async def burst():
        thunks = [await m.ainstruct("Go.", requirements=checks) for _ in range(2000)]
        await wait_for_all_mots(thunks)
    from mellea_rx import wait_for_all_mots
    asyncio.run(burst())
    print(len(seen) <= 200)
    while any(each.is_alive() for each in seen):
        time.sleep(0.01)
    m.instruct("Go.", requirements=checks)
    print(sum(each.is_alive() for each in seen))
    """
    assert runs_cleanly(code, flags=STRICT, timeout=BOUND).splitlines() == ["1", "True", "1"]


def test_a_thread_keeps_nothing_of_what_it_has_done() -> None:
    class Value:
        pass

    kept: list[weakref.ref[Value]] = []

    def make(text: str) -> bool:
        value = Value()
        kept.append(weakref.ref(value))
        if len(kept) > 1:
            raise ValueError(value)
        return True

    m = MelleaSession(ScriptedBackend("a"))
    m.instruct("Go.", requirements=checked(make))
    with pytest.raises(ValidatorError):
        m.instruct("Go.", requirements=checked(make))
    del m  # its context has the turn that failed
    # The engine may still be at the end of the call, so the collector looks more than once.
    until_blocking(lambda: gc.collect() >= 0 and [each() for each in kept] == [None, None])


# Exit and fork.

HEAD = """
import asyncio, os, sys, threading, time
from mellea_rx import *
from mellea_rx.stdlib.requirements import check, simple_validate
m = MelleaSession(ScriptedBackend("a"))
begun = threading.Event()
def hang(text):
    begun.set()
    threading.Event().wait()
def checked(function):
    return [check("x", simple_validate(function))]
"""


@pytest.mark.parametrize("flags", [(), STRICT], ids=["plain", "strict"])
def test_the_interpreter_ends_beside_a_function_that_never_returns(flags: tuple[str, ...]) -> None:
    code = """
thunk = asyncio.run(m.ainstruct("Go.", requirements=checked(hang)))
begun.wait()
"""
    before = time.monotonic()
    runs_cleanly(HEAD + code, flags=flags)
    assert time.monotonic() - before < 50


def test_the_interpreter_ends_beside_an_operators_function_that_never_returns() -> None:
    code = """
from mellea_rx.operators import map_async
subscription = map_async(hang, max_concurrent=1)([1]).subscribe()
begun.wait()
"""
    runs_cleanly(HEAD + code, flags=STRICT)


def test_a_forked_child_has_threads_of_its_own() -> None:
    code = """
import signal, warnings
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
for _ in range(3):
    m.instruct("Go.", requirements=checked(lambda text: True))
thunk = asyncio.run(m.ainstruct("Go.", requirements=checked(hang)))
begun.wait()
sys.stdout.flush()
child = os.fork()
if child == 0:
    signal.alarm(60)
    print(m.instruct("Go.", requirements=checked(lambda text: True)), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(m.instruct("Go.", requirements=checked(lambda text: True)))
"""
    assert runs_cleanly(HEAD + code, flags=STRICT) == "a\na\n"


# What a function raises that no function should.


class Odd(BaseException):
    """No Exception."""


@pytest.mark.parametrize("kind", [StopIteration, SystemExit, asyncio.CancelledError, Odd])
def test_whatever_a_function_raises_ends_its_call(kind: type[BaseException]) -> None:
    def raises(*_: Any) -> Any:
        raise kind("odd")

    class Value:
        __str__ = raises

    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a"))
        variables = {"x": await m.ainstruct("Go."), "y": Value()}
        calls = [
            m.ainstruct("Go.", requirements=checked(raises)),
            m.ainstruct("Say {{x}} {{y}}.", user_variables=variables),
        ]
        for call in calls:
            thunk = await call
            with pytest.raises(MelleaRxError, match=kind.__name__):
                await soon(thunk.avalue())

    asyncio.run(main())


@pytest.mark.parametrize("kind", [StopIteration, asyncio.CancelledError])
def test_whatever_an_async_function_raises_ends_its_call(kind: type[BaseException]) -> None:
    async def raises(text: str) -> bool:
        raise kind("odd")

    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a"))
        thunk = await m.ainstruct("Go.", requirements=checked(raises))
        with pytest.raises(ValidatorError):
            await soon(thunk.avalue())

    asyncio.run(main())
