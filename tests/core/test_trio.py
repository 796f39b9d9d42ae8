"""Under trio every await says that asyncio is needed; what waits in a thread works."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from mellea_rx import (
    AsyncioRequiredError,
    MelleaSession,
    ModelOption,
    OllamaBackend,
    ScriptedBackend,
    wait_for_all_mots,
)
from mellea_rx.operators import to_async_iterator


def session() -> MelleaSession:
    return MelleaSession(ScriptedBackend("a b", delay=0.01))


async def avalue() -> None:
    await (await session().ainstruct("Go.")).avalue()


async def a_computed_one() -> None:
    await (await session().ainstruct("Go.")).wait().avalue()


async def the_thunk_itself() -> None:
    await (await session().ainstruct("Go."))


async def astream() -> None:
    thunk = await session().ainstruct("Go.", model_options={ModelOption.STREAM: True})
    async for _ in thunk.astream():
        pass


async def a_piece() -> None:
    await (await session().ainstruct("Go.")).astream()


async def achat() -> None:
    await session().achat("Hello.")


async def avalidate() -> None:
    await session().avalidate("Anything.", output="a text")


async def the_models() -> None:
    await OllamaBackend("m").models()


async def an_iterator() -> None:
    async for _ in to_async_iterator(await session().ainstruct("Go.")):
        pass


async def all_of_them() -> None:
    await wait_for_all_mots([await session().ainstruct("Go.")])


@pytest.mark.parametrize(
    "wait",
    [
        *(avalue, a_computed_one, the_thunk_itself, astream, a_piece, achat, avalidate),
        *(the_models, an_iterator, all_of_them),
    ],
)
def test_an_await_says_that_asyncio_is_needed(wait: Callable[[], Awaitable[Any]]) -> None:
    with pytest.raises(AsyncioRequiredError, match=r"asyncio.*trio.to_thread.run_sync"):
        trio.run(wait)


def test_what_the_message_says_works() -> None:
    async def main() -> str:
        thunk = await session().ainstruct("Go.")
        computed = await trio.to_thread.run_sync(thunk.wait)
        return str(computed.value)

    assert trio.run(main) == "a b"


def test_a_coroutine_that_is_driven_by_hand_is_told_so_too() -> None:
    thunk = session().instruct("Go.")
    with pytest.raises(AsyncioRequiredError):
        thunk.avalue().send(None)
