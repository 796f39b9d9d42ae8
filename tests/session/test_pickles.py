"""Contexts and computed thunks are pickled and copied; what still runs says what to do."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from mellea_rx import (
    ChatContext,
    Chunk,
    InvalidInputError,
    MelleaRxError,
    MelleaSession,
    ModelOption,
    ScriptedBackend,
    SimpleContext,
    Tool,
    ToolCall,
    Usage,
    errors,
)
from mellea_rx.errors import CallbackError, GenerationFailedError
from mellea_rx.stdlib.context import TokenThreshold
from mellea_rx.stdlib.requirements import req, simple_validate
from mellea_rx.stdlib.tools import tool
from tests.core.hand import soon

Way = Callable[[Any], Any]


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


WAYS = pytest.mark.parametrize("way", [pickled, copy.deepcopy, copy.copy])


@dataclass
class City:
    name: str


@tool
def area(width: float) -> float:
    """The area of a square."""
    return width * width


def plain(width: float) -> float:
    """The area of a square."""
    return width * width


def answer() -> ScriptedBackend:
    call = ToolCall("area", {"width": 2.0}, "c1")
    return ScriptedBackend([Chunk("Hel"), Chunk("lo", "hm", (call,), Usage(3, 5), "stop", "m")])


@WAYS
def test_a_computed_thunk_is_the_same_to_every_reader(way: Way) -> None:
    with MelleaSession(answer()) as m:
        thunk = m.instruct("Greet me.", model_options={ModelOption.TOOLS: [area, plain]})
    again = way(thunk)
    names = ("value", "parsed", "text", "thinking", "tool_calls", "usage", "finish_reason", "model")
    for name in (*names, "ttft", "duration", "error", "sampling", "cancelled"):
        assert getattr(again, name) == getattr(thunk, name), name
    assert type(again) is type(thunk)
    assert again.is_computed()
    assert str(again) == "".join(again.stream()) == "Hello"
    assert asyncio.run(_all(again)) == ["Hello"]
    assert [each.name for each in again.tools] == ["area", "plain"]
    assert [each(3.0) for each in again.tools] == [9.0, 9.0]


async def _all(thunk: Any) -> list[str]:
    assert await thunk == "Hello"
    return [piece async for piece in thunk.astream()]


@WAYS
def test_typed_answers_keep_their_objects(way: Way) -> None:
    with MelleaSession(ScriptedBackend('{"name": "Oslo"}')) as m:
        thunk = m.instruct("A city.", format=City)
    assert way(thunk).parsed == City("Oslo")


@WAYS
def test_what_sampling_found_is_kept_in_words(way: Way) -> None:
    backend = ScriptedBackend("too long", "ok")
    short = req("One word.", simple_validate(lambda text: (" " not in text, "a space")))
    with MelleaSession(backend) as m:
        sampling = way(m.instruct("Go.", requirements=[short])).sampling
    assert sampling.success
    assert [each.text for each in sampling.attempts] == ["too long", "ok"]
    assert sampling.attempts[0].reasons == ("One word.: a space",)


@WAYS
def test_a_failed_thunk_fails_in_the_same_way(way: Way) -> None:
    async def main() -> Any:
        backend = ScriptedBackend(["Once ", GenerationFailedError("out of memory")])
        with MelleaSession(backend) as m:
            thunk = await m.ainstruct("Go.")
            with pytest.raises(GenerationFailedError):
                await soon(thunk.avalue())
            return thunk

    again = way(asyncio.run(main()))
    assert again.text == "Once "
    with pytest.raises(GenerationFailedError, match="out of memory") as caught:
        again.wait()
    assert caught.value.text == "Once "


class Unparsable:
    """Cannot read its answer."""

    def template(self) -> Any:
        from mellea_rx.stdlib.components import Template

        return Template("Go.")

    def parse(self, text: str) -> Any:
        raise ValueError("no")


@WAYS
def test_an_answer_that_cannot_be_parsed_still_cannot(way: Way) -> None:
    with MelleaSession(ScriptedBackend("a")) as m:
        again = way(m.act(Unparsable()))
    assert again.value == "a"
    with pytest.raises(CallbackError) as caught:
        _ = again.parsed
    assert str(caught.value) == "the component cannot parse this answer: ValueError: no"
    assert caught.value.text == "a"


STILL_RUNS = (
    r" still runs.* cannot be copied or pickled: "
    r"wait for its end first, with `await thunk\.avalue\(\)` or `thunk\.wait\(\)`$"
)


@WAYS
def test_what_still_runs_says_what_to_do(way: Way) -> None:
    async def main() -> None:
        with MelleaSession(ScriptedBackend("a", delay=30), ChatContext()) as m:
            thunk = await m.ainstruct("Go.")
            for running in (thunk, m.ctx):
                with pytest.raises(InvalidInputError, match=STILL_RUNS):
                    way(running)

    asyncio.run(main())


def test_a_tool_of_no_module_is_refused_by_name() -> None:
    def local(width: float) -> float:
        """An area."""
        return width

    with pytest.raises(pickle.PicklingError, match=r"'local'.*top level"):
        pickle.dumps(Tool.from_callable(local))


@WAYS
def test_a_chat_goes_on_from_its_copy(way: Way) -> None:
    loud = req("Calm.", simple_validate(lambda text: "!" not in text))
    with MelleaSession(
        ScriptedBackend("Hello Ada.", "Fine."), ChatContext(compactor=TokenThreshold(900))
    ) as m:
        m.chat("I am {{Ada}}.")
        m.instruct("Say {{how}}.", user_variables={"how": "it"}, requirements=[loud])
        before = m.ctx
    again = way(before)
    assert isinstance(again, ChatContext)
    assert again.messages == before.messages
    assert (again.window_size, again.compactor) == (before.window_size, before.compactor)
    after = ScriptedBackend("You are Ada.")
    with MelleaSession(after, again) as m:
        m.chat("Who am I?")
    said = [message.content for message in after.requests[0].messages]
    assert said[0] == "I am {{Ada}}."
    assert said[-1] == "Who am I?"
    assert len(said) == 5


@WAYS
def test_failed_turns_are_copied_and_stay_unsaid(way: Way) -> None:
    with MelleaSession(ScriptedBackend(GenerationFailedError("no")), ChatContext()) as m:
        with pytest.raises(MelleaRxError):
            m.chat("Hello.", model_options={ModelOption.RETRIES: 0})
        again = way(m.ctx)
    assert (len(again.turns), len(again.messages)) == (1, 0)


@WAYS
def test_a_simple_context_keeps_its_latest_turn(way: Way) -> None:
    with MelleaSession(ScriptedBackend("a")) as m:
        m.instruct("Go.")
        again = way(m.ctx)
    assert isinstance(again, SimpleContext)
    assert again.last is not None
    assert again.last.output.text == "a"
    assert way(SimpleContext()) == SimpleContext()


@pytest.mark.parametrize("kind", [getattr(errors, name) for name in errors.__all__])
def test_every_error_is_pickled_with_what_it_says(kind: type[MelleaRxError]) -> None:
    given = {"status": 500} if "status" in inspect.signature(kind).parameters else {}
    error = kind("out of luck", **given, text="so far")
    again = pickled(error)
    assert type(again) is kind
    assert (str(again), again.text, vars(again)) == (str(error), "so far", vars(error))


def test_dir_shows_the_thunks_own_names_first() -> None:
    with MelleaSession(ScriptedBackend("a")) as m:
        names = dir(m.instruct("Go."))
    place = {name: index for index, name in enumerate(names)}
    own = ("astream", "avalue", "cancel", "events", "parsed", "stream", "text", "value", "wait")
    rx = ("pipe", "subscribe", "map", "merge", "zip", "amb")
    assert max(place[name] for name in own) < min(place[name] for name in rx)
    assert max(place[name] for name in rx) < place["__class__"]
    assert sorted(names) == names
    plain = [str(name) for name in names]
    assert plain.index("tools") < plain.index("wait") < plain.index("amb")
    for group in (plain[: plain.index("wait") + 1], plain[plain.index("amb") : plain.index("zip")]):
        assert group == sorted(group)
    hidden = [name for name in plain if name.startswith("_")]
    assert hidden == sorted(hidden) == plain[-len(hidden) :]
