"""Every sync verb is its async twin plus a wait: same signature, same types."""

from __future__ import annotations

import asyncio
import inspect
from typing import get_type_hints

import pytest

from mellea_rx import MelleaSession, ScriptedBackend

VERBS = ["instruct", "chat", "act", "validate", "query", "transform"]


@pytest.mark.parametrize("verb", VERBS)
def test_signature_and_return_type_are_those_of_the_twin(verb: str) -> None:
    sync, twin = getattr(MelleaSession, verb), getattr(MelleaSession, f"a{verb}")
    assert inspect.signature(sync) == inspect.signature(twin)
    assert get_type_hints(sync) == get_type_hints(twin)


@pytest.mark.parametrize("verb", VERBS)
def test_one_is_a_coroutine_function_and_the_other_is_not(verb: str) -> None:
    assert inspect.iscoroutinefunction(getattr(MelleaSession, f"a{verb}"))
    assert not inspect.iscoroutinefunction(getattr(MelleaSession, verb))


@pytest.mark.parametrize("verb", VERBS)
def test_name_and_docstring_are_its_own(verb: str) -> None:
    sync = getattr(MelleaSession, verb)
    assert sync.__name__ == verb
    assert sync.__qualname__ == f"Verbs.{verb}"
    assert sync.__doc__


def test_a_subclass_that_overrides_an_a_verb_keeps_a_working_sync_verb() -> None:
    class Loud(MelleaSession):
        async def ainstruct(self, description: str, **more: object) -> object:  # type: ignore[override]
            return await super().ainstruct(description.upper(), **more)  # type: ignore[arg-type]

    backend = ScriptedBackend("a")
    m = Loud(backend)
    assert asyncio.run(_value(m)) == "a"
    assert backend.requests[0].messages[-1].content == "GO."
    assert m.instruct("Go.").value == "a"


async def _value(m: MelleaSession) -> str:
    return await (await m.ainstruct("Go."))
