"""The caller's context variables travel into the pipeline."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

from mellea_rx import MelleaSession, ScriptedBackend
from mellea_rx.backends import Request
from mellea_rx.stdlib.requirements import req, simple_validate
from tests.core.hand import soon, started, until

who: ContextVar[str] = ContextVar("who", default="nobody")


def tell(_: Request) -> str:
    return who.get()


def test_a_backend_sees_the_callers() -> None:
    async def main() -> None:
        who.set("Ada")
        assert await (await MelleaSession(ScriptedBackend(tell)).ainstruct("Go.")) == "Ada"

    asyncio.run(main())


def test_each_call_has_those_of_its_own_task() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(tell))

        async def ask(name: str) -> str:
            who.set(name)
            return await (await m.ainstruct("Go."))

        names = [f"user {n}" for n in range(20)]
        assert await asyncio.gather(*map(ask, names)) == names

    asyncio.run(main())


def test_they_are_those_of_the_time_of_the_call() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(tell))
        who.set("before")
        thunk = await m.ainstruct("Go.")
        who.set("after")
        assert await thunk == "before"

    asyncio.run(main())


def test_validators_see_them_in_a_worker_thread_and_on_the_callers_loop() -> None:
    seen: list[tuple[str, str]] = []

    def sync(_: str) -> bool:
        seen.append(("sync", who.get()))
        return True

    async def on_loop(_: str) -> bool:
        seen.append(("async", who.get()))
        return True

    async def main() -> None:
        who.set("Ada")
        m = MelleaSession(ScriptedBackend("a"))
        checks = [req("s", simple_validate(sync)), req("a", simple_validate(on_loop))]
        await (await m.ainstruct("Go.", requirements=checks))
        assert sorted(seen) == [("async", "Ada"), ("sync", "Ada")]

    asyncio.run(main())


def test_a_sync_verb_carries_them_too() -> None:
    token = who.set("Ada")
    try:
        assert MelleaSession(ScriptedBackend(tell)).instruct("Go.").value == "Ada"
    finally:
        who.reset(token)


def test_what_a_pipeline_sets_stays_in_it() -> None:
    def set_it(_: Request) -> str:
        who.set("the pipeline")
        return "done"

    async def main() -> None:
        await (await MelleaSession(ScriptedBackend(set_it)).ainstruct("Go."))
        assert who.get() == "nobody"

    asyncio.run(main())


def test_a_subscriber_has_those_of_where_it_subscribed() -> None:
    async def main() -> None:
        thunk, answer = started()
        seen: list[tuple[str, str]] = []

        async def subscribe(name: str) -> None:
            who.set(name)
            thunk.subscribe(lambda chunk: seen.append((who.get(), str(chunk))))

        await asyncio.create_task(subscribe("Ada"))
        await asyncio.create_task(subscribe("Bob"))
        answer.say("a").end()
        await soon(thunk.avalue())
        await until(lambda: len(seen) == 2)
        assert seen == [("Ada", "a"), ("Bob", "a")]

    asyncio.run(main())
