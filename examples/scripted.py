"""Testing a program without a model: a backend that returns answers that you give it."""

import asyncio

from mellea_rx import MelleaSession, ScriptedBackend, StreamInterruptedError
from mellea_rx.stdlib.requirements import req, simple_validate


async def title_for(session: MelleaSession, text: str) -> str:
    """The program under test."""
    thunk = await session.ainstruct(
        "A title for: {{text}}",
        user_variables={"text": text},
        requirements=[req("Upper case.", simple_validate(str.isupper))],
    )
    return await thunk.avalue()


async def test_a_title_that_is_refused_is_asked_for_again() -> None:
    backend = ScriptedBackend("the sea", "THE SEA")
    assert await title_for(MelleaSession(backend), "Water, far and wide.") == "THE SEA"
    assert len(backend.requests) == 2
    assert "Water, far and wide." in backend.requests[0].messages[-1].content


async def test_what_came_before_the_line_broke_is_kept() -> None:
    broken = StreamInterruptedError("the line broke")
    session = MelleaSession(ScriptedBackend(["THE ", "SEA", broken]))
    try:
        await title_for(session, "Water.")
    except StreamInterruptedError as error:
        told = error
    assert str(told) == "the line broke"


for test in (
    test_a_title_that_is_refused_is_asked_for_again,
    test_what_came_before_the_line_broke_is_kept,
):
    asyncio.run(test())
    print(f"passed: {test.__name__}")
