"""The engine on the program's own loop: calls cross no thread, and blocking is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

import mellea_rx
from mellea_rx import (
    BlockingWaitError,
    EngineStoppedError,
    GenerationCancelledError,
    InvalidInputError,
    MelleaSession,
    ModelOption,
    OllamaBackend,
    ScriptedBackend,
)
from mellea_rx.stdlib.requirements import req, simple_validate
from tests.core.python import runs_cleanly
from tests.core.test_fork import FORK
from tests.support.server_process import ServerProcess


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess() as server:
        server.script("poet", chunks=["Roses ", "are ", "red"])
        server.script("slow", chunks=["Roses ", "are ", "red"], delay=30)
        yield server


def engine_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "mellea-rx-engine"]


def test_a_program_runs_without_the_engines_thread(server: ServerProcess) -> None:
    code = f"""
    import threading, mellea_rx

    async def main():
        m = mellea_rx.start_session("ollama", model_id="poet", base_url={server.url!r})
        print(await (await m.ainstruct("Go.")).avalue())
        print([each.name for each in threading.enumerate() if "engine" in each.name])
        m.backend.close()

    mellea_rx.run(main())
    """
    assert runs_cleanly(code).splitlines() == ["Roses are red", "[]"]


def test_calls_streams_and_checks_work_as_ever(server: ServerProcess) -> None:
    async def main() -> None:
        m = MelleaSession(OllamaBackend("poet", base_url=server.url))
        streamed = await m.ainstruct("Go.", model_options={ModelOption.STREAM: True})
        assert not streamed.is_computed()
        assert "".join([piece async for piece in streamed.astream()]) == "Roses are red"

        async def has_red(text: str) -> bool:
            return "red" in text

        checks = [
            req("Long.", simple_validate(lambda text: len(text) > 3)),
            req("Red.", simple_validate(lambda text: "red" in text)),
        ]
        checked = await m.ainstruct("Go.", requirements=checks)
        assert await checked.avalue() == "Roses are red"
        assert checked.sampling is not None
        assert checked.sampling.success
        several = [await m.ainstruct("Go.") for _ in range(20)]
        assert await asyncio.gather(*(each.avalue() for each in several)) == ["Roses are red"] * 20
        m.backend.close()

    mellea_rx.run(main())


def test_a_check_in_a_worker_thread_may_call_a_sync_verb(server: ServerProcess) -> None:
    async def main() -> str:
        m = MelleaSession(OllamaBackend("poet", base_url=server.url))
        check = req("Agreed.", simple_validate(lambda text: str(m.instruct("Go.")) == text))
        thunk = await m.ainstruct("Go.", requirements=[check])
        value = await thunk.avalue()
        m.backend.close()
        return value

    assert mellea_rx.run(main()) == "Roses are red"


def test_a_blocking_wait_on_that_loop_is_refused() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a b c", delay=0.01))
        with pytest.raises(BlockingWaitError, match="await thunk"):
            m.instruct("Go.")

    mellea_rx.run(main())


def test_what_still_runs_at_the_end_is_cancelled(server: ServerProcess) -> None:
    async def main() -> mellea_rx.ModelOutputThunk[str]:
        m = MelleaSession(OllamaBackend("slow", base_url=server.url))
        return await m.ainstruct("Go.")

    thunk = mellea_rx.run(main())
    with pytest.raises((GenerationCancelledError, EngineStoppedError)):
        str(thunk)


def test_one_session_serves_both_engines_in_turn_and_at_once(server: ServerProcess) -> None:
    m = MelleaSession(OllamaBackend("poet", base_url=server.url))
    assert str(m.instruct("Go.")) == "Roses are red"

    async def main() -> str:
        from_a_thread: list[str] = []
        other = threading.Thread(target=lambda: from_a_thread.append(str(m.instruct("Go."))))
        other.start()
        texts = [await (await m.ainstruct("Go.")).avalue() for _ in range(3)]
        await asyncio.to_thread(other.join)
        return "|".join({*texts, *from_a_thread})

    assert mellea_rx.run(main()) == "Roses are red"
    assert mellea_rx.run(main()) == "Roses are red"
    assert str(m.instruct("Go.")) == "Roses are red"
    m.backend.close()


def test_within_another_one_it_changes_nothing() -> None:
    async def main() -> str:
        m = MelleaSession(ScriptedBackend("a b c"))
        async with mellea_rx.engine_here():
            thunk = await m.ainstruct("Go.")
        return await thunk.avalue()

    assert mellea_rx.run(main()) == "a b c"


def test_in_a_running_loop_it_is_entered_and_left() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a b c"))
        before = engine_threads()
        async with mellea_rx.engine_here():
            assert await (await m.ainstruct("Go.")).avalue() == "a b c"
            assert engine_threads() == before
        assert await (await m.ainstruct("Go.")).avalue() == "a b c"

    asyncio.run(main())


@pytest.mark.parametrize("main", [None, lambda: None, 3])
def test_what_is_no_coroutine_is_refused(main: object) -> None:
    with pytest.raises(InvalidInputError, match=r"run\(main\(\)\)"):
        mellea_rx.run(main)  # type: ignore[arg-type]


def test_a_second_loop_in_a_thread_is_refused_in_words() -> None:
    async def main() -> None: ...

    async def within_a_loop() -> None:
        with pytest.raises(InvalidInputError, match="engine_here"):
            mellea_rx.run(main())

    asyncio.run(within_a_loop())


def test_a_forked_child_has_an_engine_of_its_own() -> None:
    code = """
async def main():
    m = MelleaSession(ScriptedBackend("a b c"))
    print(await (await m.ainstruct("Go.")).avalue())
    in_child(lambda: print(m.instruct("Go.")))
    print(await (await m.ainstruct("Go.")).avalue())

import mellea_rx
mellea_rx.run(main())
"""
    assert runs_cleanly(FORK + code).splitlines() == ["a b c"] * 3


def test_it_may_be_left_in_another_task_and_later_calls_use_the_process_engine() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("Hello."))
        block = mellea_rx.engine_here()
        await block.__aenter__()
        assert await (await m.ainstruct("Go.")).avalue() == "Hello."
        await asyncio.create_task(block.__aexit__(None, None, None))
        assert await (await m.ainstruct("Go.")).avalue() == "Hello."

    asyncio.run(main())


def test_a_task_that_outlives_it_goes_on_with_the_process_engine() -> None:
    async def later(left: asyncio.Event) -> str:
        await left.wait()
        async with mellea_rx.engine_here():
            pass
        thunk = await MelleaSession(ScriptedBackend("Hello.")).ainstruct("Go.")
        return await thunk.avalue()

    async def main() -> None:
        left = asyncio.Event()
        async with mellea_rx.engine_here():
            task = asyncio.create_task(later(left))
            await asyncio.sleep(0)
        left.set()
        assert await asyncio.wait_for(task, 30) == "Hello."

    asyncio.run(main())
