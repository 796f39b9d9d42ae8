"""Preconditions of generative functions: requirements on the arguments."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from typing import Any

import pytest

from mellea_rx import (
    BackendError,
    BlockingWaitError,
    DependencyError,
    GenerationFailedError,
    InvalidInputError,
    MelleaSession,
    ModelOption,
    Output,
    PreconditionError,
    ScriptedBackend,
    TotalTimeoutError,
    ValidationResult,
    ValidatorError,
    generative,
    mify,
)
from mellea_rx.backends import Pause
from mellea_rx.stdlib.requirements import Requirement, check, req, simple_validate
from tests.core.hand import STREAM, Hand, soon, until

short = check("The text is short.", simple_validate(lambda o: (len(o) < 40, f"{len(o)} letters")))


@generative(preconditions=[short])
def mood(text: str, language: str = "English") -> str:
    """What is the mood of the text?"""


@generative(preconditions=[short])
async def amood(text: str, language: str = "English") -> str:
    """What is the mood of the text?"""


@generative
def plain(text: str, language: str = "English") -> str:
    """What is the mood of the text?"""


def session(*answers: Any) -> tuple[MelleaSession, ScriptedBackend]:
    backend = ScriptedBackend(*(answers or ("good",)))
    return MelleaSession(backend), backend


def always(kept: list[Output]) -> Requirement:
    def keep(output: Output) -> bool:
        kept.append(output)
        return True

    return check("any", simple_validate(keep))


# Met and not met.


def test_arguments_that_meet_them_are_a_call_as_any_other() -> None:
    m, backend = session()
    assert mood(m, "What a day!") == "good"
    (request,) = backend.requests
    assert "short" not in request.messages[-1].content


def test_arguments_that_do_not_fail_the_call_and_generate_nothing() -> None:
    m, backend = session()
    with pytest.raises(PreconditionError) as caught:
        mood(m, "What a day! " * 10)
    error = caught.value
    assert backend.requests == ()
    assert error.function == "mood"
    assert error.requirements == ("The text is short.",)
    assert error.reasons == ("The text is short.: 145 letters",)
    assert error.validation == (ValidationResult(False, "145 letters"),)
    assert "mood()" in str(error)
    assert "145 letters" in str(error)


def test_the_thunk_fails_however_it_is_read() -> None:
    long = "What a day! " * 10

    async def main() -> None:
        m, backend = session()
        with pytest.raises(PreconditionError):
            await amood(m, long)
        thunk = amood.start(m, long)
        with pytest.raises(PreconditionError):
            await soon(thunk.avalue())
        live = amood.using(model_options=STREAM).start(m, long)
        with pytest.raises(PreconditionError):
            async for _ in live.astream():
                pass
        live = amood.using(strategy=None, model_options=STREAM).start(m, long)
        with pytest.raises(PreconditionError):
            await soon(live.aparsed())
        assert backend.requests == ()

    asyncio.run(main())


def test_all_that_are_not_met_are_told() -> None:
    m, backend = session(["no, too loud"])
    asks = mood.using(preconditions=["It is calm.", always([])])
    with pytest.raises(PreconditionError) as caught:
        asks(m, "WHAT A DAY! " * 10)
    assert caught.value.requirements == ("The text is short.", "It is calm.")
    assert caught.value.reasons[1] == "It is calm.: no, too loud"
    assert len(backend.requests) == 1


def test_the_model_judges_the_arguments_where_there_is_no_function() -> None:
    m, backend = session(["yes"], ["good"])
    assert plain.using(preconditions="It is calm.")(m, "What a day!") == "good"
    judge, call = backend.requests
    assert "text: What a day!\n\nlanguage: English" in judge.messages[-1].content
    assert "Requirement: It is calm." in judge.messages[-1].content
    assert judge.options.get(ModelOption.TEMPERATURE) == 0
    assert "calm" not in call.messages[-1].content


# Where they are given.


def test_using_adds_to_those_of_the_decorator() -> None:
    seen: list[Output] = []
    m, _ = session()
    assert mood.using(preconditions=always(seen))(m, "a") == "good"
    assert len(seen) == 1
    with pytest.raises(PreconditionError):
        mood.using(temperature=0)(m, "What a day! " * 10)


def test_the_other_name_is_the_same() -> None:
    seen: list[Output] = []

    @generative(precondition_requirements=[always(seen)])
    def kind(text: str) -> str:
        """How kind is it?"""

    m, _ = session()
    kind(m, "a")
    kind.using(precondition_requirements=[always(seen)])(m, "a")
    generative(kind.__wrapped__, preconditions=[always(seen)])(m, "a")
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda m: generative(preconditions=[5]), "a requirement is a str or a Requirement"),
        (lambda m: plain.using(preconditions=5), "requirements are a list"),
        (lambda m: plain.using(preconditions="a", precondition_requirements="b"), "another name"),
        (lambda m: generative(preconditions="a", precondition_requirements="b"), "another name"),
        (lambda m: plain(m, "a", preconditions=["a"]), r"preconditions goes into plain\.using"),
        (lambda m: plain(m, "a", precondition_requirements=["a"]), r"goes into plain\.using"),
        (lambda m: generative(preconditions=["a"])(5), "takes a function"),
    ],
)
def test_bad_input_is_refused_at_once(wrong: Any, told: str) -> None:
    m, backend = session()
    with pytest.raises(InvalidInputError, match=told):
        wrong(m)
    assert backend.requests == ()


# What a function gets.


def test_it_gets_the_arguments_as_text_and_as_values() -> None:
    seen: list[Output] = []
    m, _ = session()
    plain.using(preconditions=[always(seen)])(m, "{{ a }} {0}")
    (output,) = seen
    assert output == "text: {{ a }} {0}\n\nlanguage: English"
    assert output.parsed == {"text": "{{ a }} {0}", "language": "English"}
    assert (output.session, output.attempt, output.tool_calls) == (m, 1, ())


def test_later_changes_of_a_list_do_not_reach_the_text() -> None:
    seen: list[Output] = []

    @generative(preconditions=[always(seen)])
    async def count(items: list[str]) -> str:
        """How many?"""

    async def main() -> None:
        m, _ = session()
        items = ["a"]
        thunk = count.start(m, items)
        items.append("b")
        await soon(thunk.avalue())
        assert seen == ["items: ['a']"]

    asyncio.run(main())


def test_an_argument_may_be_a_thunk_that_is_waited_for() -> None:
    seen: list[Output] = []

    async def main() -> None:
        backend = Hand(2)
        m = MelleaSession(backend)
        first = await m.ainstruct("Write.")
        thunk = plain.using(preconditions=[always(seen)]).start(m, first)
        await asyncio.sleep(0)
        assert not seen
        backend.answers[0].say("What a day!").end()
        await until(lambda: len(backend.requests) == 2)
        assert seen == ["text: What a day!\n\nlanguage: English"]
        assert seen[0].parsed == {"text": "What a day!", "language": "English"}
        backend.answers[1].say("good").end()
        assert await soon(thunk.avalue()) == "good"

    asyncio.run(main())


def test_a_thunk_that_failed_fails_the_call() -> None:
    m, _ = session(GenerationFailedError("down"))

    async def main() -> None:
        first = await m.ainstruct("Write.")
        with pytest.raises(DependencyError):
            await soon(mood.start(m, first).avalue())

    asyncio.run(main())


def test_a_methods_object_is_shown_as_its_prompt_shows_it() -> None:
    seen: list[Output] = []

    @mify(fields_include={"name"})
    class Shop:
        def __init__(self) -> None:
            self.name, self.secret = "Bakery", "key"

        @generative(preconditions=[always(seen)])
        def rating(self, who: str) -> str:
            """How good is it?"""

    shop = Shop()
    m, _ = session()
    assert shop.rating(m, "me") == "good"
    assert "Bakery" in seen[0]
    assert "secret" not in seen[0]
    assert seen[0].parsed == {"self": shop, "who": "me"}


# Where they run, and how they end.


def test_an_async_function_runs_on_the_callers_loop() -> None:
    seen: list[Any] = []

    async def look(output: Output) -> bool:
        await asyncio.sleep(0)
        seen.append((asyncio.get_running_loop(), threading.current_thread()))
        return True

    asks = plain.using(preconditions=[check("x", simple_validate(look))])

    async def main() -> None:
        m, _ = session()
        assert await soon(asks.start(m, "a").avalue()) == "good"
        assert seen == [(asyncio.get_running_loop(), threading.current_thread())]
        with pytest.raises(BlockingWaitError):
            asks(m, "a")

    asyncio.run(main())
    m, _ = session()
    assert asks(m, "a") == "good"


def test_a_function_that_raises_is_a_validator_error_of_the_arguments() -> None:
    def explode(output: Output) -> bool:
        raise ZeroDivisionError("oops")

    m, backend = session()
    with pytest.raises(ValidatorError, match=r"'explode'.*in the arguments of plain\(\): oops"):
        plain.using(preconditions=[check("x", simple_validate(explode))])(m, "a")
    assert backend.requests == ()


def test_a_judge_that_fails_fails_the_call() -> None:
    m, _ = session(GenerationFailedError("down"))
    with pytest.raises(BackendError, match="down"):
        plain.using(preconditions=["It is calm."])(m, "a")


def test_the_total_timeout_holds_for_them_too() -> None:
    m, _ = session([Pause(60.0), "yes"])
    with pytest.raises(TotalTimeoutError):
        plain.using(preconditions=["It is calm."], total_timeout=0.05)(m, "a")


def test_cancelling_ends_the_judges_request() -> None:
    async def main() -> None:
        backend = Hand()
        thunk = plain.using(preconditions=["It is calm."]).start(MelleaSession(backend), "a")
        await until(backend.answers[0].asked.is_set)
        thunk.cancel()
        await until(backend.answers[0].closed.is_set)

    asyncio.run(main())


def test_calls_at_once_are_judged_apart() -> None:
    async def main() -> None:
        m, _ = session()
        texts = ["a" * (5 * n) for n in range(10)]
        thunks = [amood.start(m, text) for text in texts]
        ended = await soon(
            asyncio.gather(*(thunk.avalue() for thunk in thunks), return_exceptions=True)
        )
        for text, end in zip(texts, ended, strict=True):
            met = len(f"text: {text}\n\nlanguage: English") < 40
            assert isinstance(end, str if met else PreconditionError)

    asyncio.run(main())


def test_a_template_file_changes_the_text(tmp_path: Any) -> None:
    (tmp_path / "arguments.jinja").write_text(
        "{% for name, value in arguments %}<{{ name }}>{{ value }}{% endfor %}", "utf-8"
    )
    seen: list[Output] = []
    m = MelleaSession(ScriptedBackend("good"), templates=tmp_path)
    plain.using(preconditions=[always(seen)])(m, "a")
    assert seen == ["<text>a<language>English"]


def test_the_error_is_copied_and_pickled_whole() -> None:
    m, _ = session()
    with pytest.raises(PreconditionError) as caught:
        mood(m, "What a day! " * 10)
    for again in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):
        assert str(again) == str(caught.value)
        assert vars(again) == vars(caught.value)


def test_the_words_of_a_judge_are_printable_in_the_message() -> None:
    m, _ = session(["no \x1b[2J it is not"])
    with pytest.raises(PreconditionError) as caught:
        plain.using(preconditions=[req("It is calm.")])(m, "a")
    assert "\x1b" not in str(caught.value)
    assert "\x1b" in caught.value.reasons[0]
