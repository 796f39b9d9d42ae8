"""`@generative`: a typed stub is a function that the model carries out."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from mellea_rx import (
    DependencyError,
    FormatError,
    GenerationFailedError,
    InvalidInputError,
    MelleaSession,
    ModelOption,
    ModelOutputThunk,
    NoSessionError,
    RequirementsNotMetError,
    Retracted,
    ScriptedBackend,
    generative,
)
from mellea_rx.stdlib.requirements import check, req, simple_validate
from mellea_rx.stdlib.sampling import RejectionSampling
from tests.core.hand import STREAM, Hand, soon, until


@dataclass
class Person:
    name: str
    age: int = 30


@generative
def mood(text: str, language: str = "English") -> Literal["good", "bad"]:
    """What is the mood of the text?

    Think of its author.
    """


@generative
async def person(text: str) -> Person:
    """Who is it?"""


@generative
def summary(text: str, /, *, words: int) -> str:
    """Sum the text up."""


def session(*answers: Any, **how: Any) -> tuple[MelleaSession, ScriptedBackend]:
    backend = ScriptedBackend(*answers, **how)
    return MelleaSession(backend), backend


def test_a_call_gives_what_the_model_returns() -> None:
    m, backend = session('"good"')
    assert mood(m, text="What a day!") == "good"
    assert mood(m, "What a day!", "German") == "good"
    assert len(backend.requests) == 2


def test_an_async_stub_gives_an_awaitable_of_it() -> None:
    async def main() -> None:
        m, _ = session('{"name": "Ada"}')
        assert await soon(person(m, text="Ada.")) == Person("Ada")

    asyncio.run(main())


def test_the_prompt_has_the_arguments_by_name_and_the_docstring_as_the_task() -> None:
    m, backend = session('"good"')
    mood(m, text="What a day!")
    given, task, thought, form = (
        backend.requests[0].messages[-1].content.split("\n\n", 1)[1].split("\n\n")
    )
    assert backend.requests[0].messages[-1].content.startswith("text: What a day!\n\n")
    assert given == "language: English"
    assert (task, thought) == ("What is the mood of the text?", "Think of its author.")
    assert form.startswith("Answer with JSON")
    assert backend.requests[0].schema == {"enum": ["bad", "good"]}


def test_a_function_that_returns_text_is_a_plain_call() -> None:
    m, backend = session("A short text.")
    assert summary(m, "A long text.", words=3) == "A short text."
    assert backend.requests[0].messages[-1].content == (
        "text: A long text.\n\nwords: 3\n\nSum the text up."
    )
    assert backend.requests[0].schema is None


def test_values_are_never_rendered() -> None:
    m, backend = session('"good"')
    mood(m, text="{{ 7 * 7 }} {% raw %}")
    assert "{{ 7 * 7 }} {% raw %}" in backend.requests[0].messages[-1].content


def test_the_session_of_the_with_block_is_taken_where_none_is_given() -> None:
    other, other_backend = session('"bad"')
    with session('"good"')[0]:
        assert mood(text="a") == "good"
        assert mood("a") == "good"
        assert mood(other, "a") == "bad"
        assert asyncio.run(_mood_inside()) == "good"
    assert len(other_backend.requests) == 1
    with pytest.raises(NoSessionError):
        mood(text="a")


async def _mood_inside() -> str:
    return mood("a")


def test_start_gives_the_running_thunk_at_once() -> None:
    async def main() -> None:
        hand = Hand(2)
        m = MelleaSession(hand)
        thunks = [mood.start(m, text="a"), person.start(m, text="b")]
        assert all(isinstance(thunk, ModelOutputThunk) for thunk in thunks)
        assert [thunk.is_computed() for thunk in thunks] == [False, False]
        await until(lambda: len(hand.requests) == 2)
        hand.answers[1].say('{"name": "Ada"}').end()
        hand.answers[0].say('"bad"').end()
        assert await soon(thunks[0].avalue()) == '"bad"'
        assert thunks[0].parsed == "bad"
        await soon(thunks[1].avalue())
        assert thunks[1].parsed == Person("Ada")

    asyncio.run(main())


def test_an_argument_may_be_a_thunk() -> None:
    async def main() -> None:
        m, backend = session("A sunny day.", '"good"', delay=0.002)
        text = await m.ainstruct("Describe a day.")
        thunk = mood.start(m, text=text)  # type: ignore[arg-type]
        assert await soon(thunk.avalue()) == '"good"'
        assert "text: A sunny day." in backend.requests[1].messages[-1].content

    asyncio.run(main())


def test_a_thunk_that_failed_fails_it() -> None:
    async def main() -> None:
        m, _ = session(GenerationFailedError("crashed"))
        text = await m.ainstruct("Describe a day.")
        with pytest.raises(DependencyError, match="crashed"):
            await soon(mood.start(m, text=text).avalue())  # type: ignore[arg-type]

    asyncio.run(main())


def test_an_answer_of_another_form_is_tried_again_and_then_an_error() -> None:
    m, backend = session("Hm.", '"good"')
    assert mood(m, "a") == "good"
    assert len(backend.requests) == 2
    m, backend = session('"so so"')
    with pytest.raises(FormatError, match="so so"):
        mood(m, "a")
    assert len(backend.requests) == 2


def test_using_sets_what_a_call_may_set() -> None:
    short = req("Be brief.", simple_validate(lambda text: len(text) < 8))
    hidden = check("No b.", simple_validate(lambda text: "b" not in text))
    careful = mood.using(
        requirements=[short, hidden],
        strategy=RejectionSampling(loop_budget=4),
        require=True,
        model_options={ModelOption.SEED: 7},
    )
    m, backend = session("Hm.", '"bad"', '"good"')
    thunk = careful.start(m, text="a")
    assert thunk.wait().parsed == "good"
    assert len(thunk.sampling.attempts) == 3
    prompt = backend.requests[0].messages[-1].content
    assert "Requirements:\n- Be brief.\n\nAnswer with JSON" in prompt
    assert "No b." not in prompt
    assert backend.requests[0].options.get(ModelOption.SEED) == 7
    m, _ = session('"bad"')
    with pytest.raises(RequirementsNotMetError):
        careful(m, "a")
    assert mood(session('"bad"')[0], "a") == "bad"  # the function itself is what it was


def test_without_a_strategy_it_streams() -> None:
    async def main() -> None:
        hand = Hand()
        live = mood.using(strategy=None, model_options=STREAM)
        thunk = live.start(MelleaSession(hand), text="a")
        await until(lambda: hand.requests)
        hand.answers[0].say('"go')
        assert await soon(thunk.astream()) == '"go'
        hand.answers[0].say('od"').end()
        assert await soon(thunk.avalue()) == '"good"'

    asyncio.run(main())


def test_using_sets_a_release_policy_as_a_verb_does() -> None:
    @generative
    def story(text: str) -> str:
        """Tell a story."""

    plain = check("No x.", stream_validate=lambda unit: "x" not in unit)
    early = story.using(
        requirements=[plain], release="validated", on_reject="marker", model_options=STREAM
    )

    async def main() -> None:
        hand = Hand()
        reader = early.start(MelleaSession(hand), "a").astream(retractions=True)
        await until(lambda: hand.requests)
        hand.answers[0].say("One. ", "Tw")
        assert await soon(anext(reader)) == "One. "
        hand.answers[0].say("x. ", "E")
        retracted = await soon(anext(reader))
        assert isinstance(retracted, Retracted)
        assert retracted.characters == len("One. ")

    asyncio.run(main())
    with pytest.raises(InvalidInputError, match="release must be one of"):
        story.using(release="soon")  # type: ignore[arg-type]


def test_calls_run_side_by_side() -> None:
    async def main() -> None:
        m, backend = session('{"name": "Ada"}', delay=0.02)
        calls = asyncio.gather(*(person(m, text=str(n)) for n in range(8)))
        await until(lambda: backend.running == 8)
        assert await soon(calls) == [Person("Ada")] * 8

    asyncio.run(main())


def test_a_call_that_is_cancelled_ends_its_request() -> None:
    async def main() -> None:
        hand = Hand()
        call = asyncio.create_task(person(MelleaSession(hand), text="a"))
        await until(lambda: hand.requests)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        del call
        assert await asyncio.to_thread(hand.answers[0].closed.wait, 5)

    asyncio.run(main())


# Methods.


class Shop:
    def __init__(self) -> None:
        self.name = "Corner"
        self._till = "hidden"

    @generative
    def slogan(self, tone: str) -> str:
        """Write a slogan."""

    @generative
    async def rating(self) -> int:
        """How good is it?"""

    @staticmethod
    @generative
    def plain(text: str) -> int:
        """Count."""


class Opaque:
    __slots__ = ()

    @generative
    def greet(self, name: str) -> str:
        """Greet."""


def test_a_method_shows_the_model_its_object() -> None:
    m, backend = session("The best there is!", "4", "7")
    shop = Shop()
    assert shop.slogan(m, tone="loud") == "The best there is!"
    prompt = backend.requests[0].messages[-1].content
    assert "Shop" in prompt
    assert "- name: Corner" in prompt
    assert prompt.endswith("tone: loud\n\nWrite a slogan.")
    assert "hidden" not in prompt
    assert asyncio.run(_rating(shop, m)) == 4
    assert Shop.plain(m, "a") == 7
    assert Shop.slogan(m, shop, "soft") == "7"
    assert "- name: Corner" in backend.requests[-1].messages[-1].content


async def _rating(shop: Shop, m: MelleaSession) -> int:
    return await shop.rating(m)


def test_a_method_of_an_object_that_shows_nothing_shows_its_arguments() -> None:
    m, backend = session("Hello.")
    assert Opaque().greet(m, "Ada") == "Hello."
    assert backend.requests[0].messages[-1].content == "name: Ada\n\nGreet."


# What is refused.


def test_it_looks_like_its_stub() -> None:
    assert mood.__name__ == "mood"
    assert mood.__doc__ is not None
    assert mood.__doc__.startswith("What is the mood")
    assert list(inspect.signature(mood).parameters) == ["text", "language"]
    assert list(inspect.signature(Shop().slogan).parameters) == ["tone"]
    assert "mood(text" in repr(mood)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda m: mood(m), r"mood\(\): missing a required argument: 'text'"),
        (lambda m: mood(m, "a", tone=1), "unexpected keyword argument 'tone'"),
        (lambda m: mood(m, "a", "b", "c"), "too many positional"),
        (lambda m: mood(m, "a", model_options={}), r"model_options goes into mood\.using"),
        (lambda m: mood.start(m, "a", requirements=["x"]), r"mood\.using"),
        (lambda m: mood.using(requirements=[5]), "requirement"),
        (lambda m: mood.using(requirements=["a"], strategy=None)(m, "a"), "strategy"),
    ],
)
def test_arguments_that_are_not_the_functions_are_refused(
    call: Callable[[MelleaSession], Any], told: str
) -> None:
    m, backend = session()
    with pytest.raises(InvalidInputError, match=told):
        call(m)
    assert backend.requests == ()


def no_docstring(text: str) -> str: ...


def blank_docstring(text: str) -> str:
    """ """


def untyped(text) -> str:  # type: ignore[no-untyped-def]
    """Go."""


def no_return_type(text: str):  # type: ignore[no-untyped-def]
    """Go."""


def returns_nothing(text: str) -> None:
    """Go."""


def packed(*texts: str) -> str:
    """Go."""


def packed_by_name(**texts: str) -> str:
    """Go."""


def strange(text: str) -> Callable[[], None]:
    """Go."""


def unknown(text: str) -> Nowhere:  # type: ignore[name-defined]  # noqa: F821 - this is the point
    """Go."""


@pytest.mark.parametrize(
    ("stub", "told"),
    [
        (no_docstring, r"no_docstring\(\) has no docstring"),
        (blank_docstring, "no docstring"),
        (lambda text: text, "no docstring"),
        (untyped, r"parameter 'text' of untyped\(\) has no type"),
        (no_return_type, "no return type"),
        (returns_nothing, "no return type"),
        (packed, r"takes \*texts"),
        (packed_by_name, r"takes \*\*texts"),
        (strange, r"return type of strange\(\)"),
        (unknown, "Nowhere"),
        (Person, "takes a function"),
        (5, "takes a function"),
        (staticmethod(summary), "takes a function"),
    ],
)
def test_a_stub_that_says_too_little_is_refused_where_it_is_decorated(stub: Any, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        generative(stub)
