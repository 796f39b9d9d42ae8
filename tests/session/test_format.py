"""`format=`: the value is the JSON text, `parsed` the object; what does not fit is tried again."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from mellea_rx import (
    BadRequestError,
    CallbackError,
    ChatContext,
    FormatError,
    GenerationFailedError,
    InvalidInputError,
    MelleaRxError,
    MelleaSession,
    ModelOption,
    ModelOutputThunk,
    RequirementsNotMetError,
    ScriptedBackend,
    StreamInterruptedError,
    ValidatorError,
)
from mellea_rx.backends import OllamaBackend, OpenAIBackend
from mellea_rx.stdlib.components import Message
from mellea_rx.stdlib.formats import OutputFormat, as_format
from mellea_rx.stdlib.requirements import req, simple_validate
from mellea_rx.stdlib.sampling import RejectionSampling, RepairTemplate
from tests.core.hand import PATIENCE, STREAM, Hand, Recorder, soon, until
from tests.support.server_process import ServerProcess


@dataclass
class Person:
    name: str
    age: int


ADA = '{"name": "Ada", "age": 36}'
OLD = '{"name": "Ada", "age": "old"}'


def asked(*answers: Any, **how: Any) -> tuple[ModelOutputThunk[Any], ScriptedBackend]:
    """A computed thunk with a format, and its backend."""
    backend = ScriptedBackend(*answers)
    how = {"format": Person, **how}
    return MelleaSession(backend).instruct("Who is it?", **how), backend


def failing(*answers: Any, **how: Any) -> tuple[ModelOutputThunk[Any], MelleaRxError]:
    """A thunk with a format that fails, and why."""

    async def main() -> tuple[ModelOutputThunk[Any], MelleaRxError]:
        session = MelleaSession(ScriptedBackend(*answers))
        thunk = await session.ainstruct("Who is it?", **{"format": Person, **how})
        with pytest.raises(MelleaRxError) as caught:
            await soon(thunk.avalue())
        return thunk, caught.value

    return asyncio.run(main())


# What readers get.


def test_the_value_is_the_text_and_parsed_is_the_object() -> None:
    thunk, backend = asked(ADA)
    assert thunk.value == ADA
    assert thunk.parsed == Person("Ada", 36)
    assert thunk.parsed is thunk.parsed
    assert len(backend.requests) == 1


def test_every_verb_with_an_answer_takes_it() -> None:
    m = MelleaSession(ScriptedBackend(ADA))
    assert m.chat("Who is it?", format=Person).parsed == Person("Ada", 36)
    assert m.query("Ada is 36.", "Who is it?", format=Person).parsed == Person("Ada", 36)
    assert m.act(Message("Who is it?"), format=Person).parsed == Person("Ada", 36)
    assert m.instruct("Who is it?", format=as_format(Person)).parsed == Person("Ada", 36)

    async def main() -> None:
        for call in (
            m.ainstruct("Who is it?", format=Person),
            m.achat("Who is it?", format=Person),
            m.aquery("Ada is 36.", "Who is it?", format=Person),
            m.aact(Message("Who is it?"), format=Person),
        ):
            thunk = await call
            await soon(thunk.avalue())
            assert thunk.parsed == Person("Ada", 36)

    asyncio.run(main())


@pytest.mark.parametrize("how", [{}, {"strategy": None}])
@pytest.mark.parametrize(
    "said",
    [
        f"```json\n{ADA}\n```",
        f"```\n{ADA}\n```\nI hope that this helps.",
        f"\n  {ADA}  \n",
    ],
)
def test_a_fence_around_the_answer_is_no_part_of_it(said: str, how: Mapping[str, Any]) -> None:
    thunk, _ = asked(said, **how)
    assert thunk.value == ADA
    assert thunk.parsed == Person("Ada", 36)


def test_a_call_that_returns_at_once_returns_at_once() -> None:
    async def main() -> None:
        hand = Hand()
        thunk = await MelleaSession(hand).ainstruct("Who is it?", format=Person)
        assert not thunk.is_computed()
        assert thunk.parsed is None
        hand.answers[0].say(ADA[:9], ADA[9:]).end()
        assert await soon(thunk.avalue()) == ADA
        assert thunk.parsed == Person("Ada", 36)

    asyncio.run(main())


def test_without_a_strategy_text_goes_out_as_it_comes() -> None:
    async def main() -> None:
        hand = Hand()
        m = MelleaSession(hand)
        thunk = await m.ainstruct("?", format=Person, strategy=None, model_options=STREAM)
        hand.answers[0].say("```json\n", '{"name": ')
        assert await soon(thunk.astream()) == '{"name":'
        hand.answers[0].say('"Ada"')
        assert await soon(thunk.astream()) == ' "Ada"'
        hand.answers[0].say(', "age": 36}\n', "```").end()
        rest = [piece async for piece in thunk.astream()]
        assert "".join(rest) == ', "age": 36}'
        assert thunk.parsed == Person("Ada", 36)

    asyncio.run(main())


def test_with_a_strategy_readers_get_the_accepted_text_alone() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(OLD, ADA, delay=0.002))
        thunk = await m.ainstruct("Who is it?", format=Person, model_options=STREAM)
        recorder = Recorder()
        recorder.to(thunk)
        assert [piece async for piece in thunk.astream()] == [ADA]
        await until(lambda: recorder.terminals)
        assert recorder.text == ADA

    asyncio.run(main())


def test_plain_text_is_what_str_and_none_ask_for() -> None:
    for plain in (str, None):
        thunk, backend = asked("Ada.", format=plain)
        assert thunk.parsed == thunk.value == "Ada."
        assert backend.requests[0].schema is None
        assert "JSON" not in backend.requests[0].messages[-1].content


# What the model gets.


def test_the_schema_constrains_the_answer_and_is_told() -> None:
    _, backend = asked(ADA)
    (request,) = backend.requests
    assert request.schema is not None
    assert request.schema["required"] == ["name", "age"]
    task, told = request.messages[-1].content.split("\n\n")
    assert task == "Who is it?"
    assert json.loads(told.split("\n")[1]) == request.schema


def test_a_beginning_is_part_of_the_json_and_no_constraint_holds_after_it() -> None:
    backend = ScriptedBackend(' "Ada", "age": 36}')
    m = MelleaSession(backend)
    thunk = m.instruct("Who is it?", format=Person, prefix='{"name":')
    assert thunk.parsed == Person("Ada", 36)
    user, assistant = backend.requests[0].messages
    assert "schema" in user.content
    assert assistant.content == '{"name":'
    assert backend.requests[0].schema is None  # it would have to begin anew


def test_it_is_told_to_a_model_that_no_user_spoke_to() -> None:
    backend = ScriptedBackend(ADA)
    m = MelleaSession(backend)
    assert m.chat("You know everybody.", role="system", format=Person).parsed == Person("Ada", 36)
    assert [message.role for message in backend.requests[0].messages] == ["system", "user"]
    assert backend.requests[0].messages[1].content.startswith("Answer with JSON")


def test_a_later_turn_reads_the_question_as_it_was_asked() -> None:
    backend = ScriptedBackend(ADA, "Yes.")
    m = MelleaSession(backend, ChatContext())
    m.chat("Who is it?", format=Person)
    m.chat("Really?")
    assert [message.content for message in backend.requests[1].messages] == [
        "Who is it?",
        ADA,
        "Really?",
    ]


def test_a_format_may_be_the_users_own() -> None:
    def whole(text: str) -> int:
        return int(text, base=2)

    binary = OutputFormat("binary", {"type": "integer"}, whole)
    thunk, backend = asked("2", "101", format=binary)
    assert thunk.parsed == 5
    assert backend.requests[0].schema == {"type": "integer"}
    _, error = failing("2", format=binary)
    assert isinstance(error, FormatError)
    assert "format binary" in str(error)
    assert "invalid literal" in str(error)


# What does not fit.


def test_what_does_not_fit_is_a_failed_attempt_and_tried_again() -> None:
    thunk, backend = asked(OLD, ADA)
    assert thunk.parsed == Person("Ada", 36)
    assert [attempt.text for attempt in thunk.sampling.attempts] == [OLD, ADA]
    (reason,) = thunk.sampling.attempts[0].reasons
    assert "$.age" in reason
    assert len(backend.requests) == 2


def test_when_the_budget_is_spent_it_fails_with_all_attempts_kept() -> None:
    strategy = RejectionSampling(loop_budget=3)
    thunk, error = failing("Ada!", OLD, strategy=strategy)
    assert isinstance(error, FormatError)
    assert (error.place, error.text) == ("$.age", OLD)
    assert [attempt.text for attempt in thunk.sampling.attempts] == ["Ada!", OLD, OLD]
    assert not thunk.sampling.success
    assert thunk.text == ""  # nobody reads what was rejected
    for read in (lambda: thunk.value, lambda: thunk.parsed, lambda: str(thunk)):
        with pytest.raises(FormatError):
            read()


def test_without_a_budget_it_fails_at_once_with_the_text_that_came() -> None:
    thunk, error = failing(OLD, strategy=None)
    assert isinstance(error, FormatError)
    assert error.text == thunk.text == OLD
    assert thunk.sampling is None


@pytest.mark.parametrize("verb", ["chat", "query"])
def test_verbs_without_a_strategy_have_one_attempt(verb: str) -> None:
    backend = ScriptedBackend(OLD, ADA)
    arguments = ["Who is it?"] if verb == "chat" else ["Ada", "Who is it?"]
    with pytest.raises(FormatError):
        getattr(MelleaSession(backend), verb)(*arguments, format=Person)
    assert len(backend.requests) == 1


def test_it_goes_with_requirements_and_every_strategy() -> None:
    adult = req("Is of age.", simple_validate(lambda text: '"age": 3' in text))
    young = ADA.replace("36", "6")
    backend = ScriptedBackend(OLD, young, ADA)
    thunk = MelleaSession(backend).instruct(
        "Who is it?", format=Person, requirements=[adult], strategy=RepairTemplate(loop_budget=3)
    )
    assert thunk.parsed == Person("Ada", 36)
    assert "$.age" in backend.requests[1].messages[-1].content
    assert "Is of age." in backend.requests[2].messages[-1].content
    assert "format Person" not in backend.requests[0].messages[-1].content


def test_the_best_failure_that_fits_is_the_value_where_nothing_is_required() -> None:
    never = req("Never.", simple_validate(lambda text: False))
    thunk, _ = asked(ADA, requirements=[never])
    assert thunk.parsed == Person("Ada", 36)
    assert not thunk.sampling.success


def test_require_takes_the_format_for_a_requirement() -> None:
    thunk, _ = asked(ADA, require=True)
    assert thunk.parsed == Person("Ada", 36)
    _, error = failing(OLD, require=True)
    assert isinstance(error, RequirementsNotMetError)
    assert "$.age" in str(error)


def test_what_is_no_format_is_refused_by_the_call_itself() -> None:
    backend = ScriptedBackend()
    m = MelleaSession(backend)
    for call in (
        lambda: m.instruct("Go.", format="json"),
        lambda: m.chat("Go.", format=object),
        lambda: m.query("a", "Go?", format={"type": "nonsense"}),
        lambda: m.act(Message("Go."), format=5),
    ):
        with pytest.raises(InvalidInputError, match=r"type of answers|JSON schema"):
            call()
    assert backend.requests == ()


def test_what_came_before_the_line_broke_is_kept() -> None:
    broken = StreamInterruptedError("the line broke")
    thunk, error = failing(["``", broken], strategy=None)
    assert error.text == thunk.text == "``"
    _, error = failing(["```json\n", '{"name": "', broken])
    assert error.text == '{"name": "'


# The code of a type is the user's.


class Watched:
    """The decoded values, and the threads that decoded them."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        watched = self

        @dataclass
        class Number:
            number: int

            def __post_init__(self) -> None:
                watched.threads.append(threading.current_thread().name)
                if self.number == 0:
                    raise ZeroDivisionError("a bug")

        self.kind = Number


@pytest.mark.parametrize("how", [{}, {"strategy": None}])
def test_a_text_is_decoded_once_in_a_worker_thread(how: dict[str, Any]) -> None:
    watched = Watched()

    async def main() -> None:
        m = MelleaSession(ScriptedBackend('{"number": 1}'))
        thunk = await m.ainstruct("Go.", format=watched.kind, **how)
        await soon(thunk.avalue())
        assert thunk.parsed == watched.kind(1)
        (thread, _) = watched.threads  # the second is this test's own
        assert thread not in (threading.current_thread().name, "mellea-rx-engine")

    asyncio.run(main())


def test_a_bug_in_it_is_told_as_one() -> None:
    _, error = failing('{"number": 0}', format=Watched().kind, strategy=None)
    assert type(error) is CallbackError
    assert error.text == '{"number": 0}'
    assert "Number" in str(error)
    assert "ZeroDivisionError: a bug" in str(error)
    assert isinstance(error.__cause__, ZeroDivisionError)
    _, error = failing('{"number": 0}', format=Watched().kind)
    assert isinstance(error, ValidatorError)
    assert "format Number" in str(error)


# Servers.

SERVERS = {"ollama": OllamaBackend, "openai": OpenAIBackend}


def on(name: str, server: ServerProcess) -> MelleaSession:
    return MelleaSession(SERVERS[name]("m", base_url=server.url))


def test_the_same_call_gives_the_same_value_on_every_server(server: ServerProcess) -> None:
    for name, said in (("ollama", '"good"'), ("openai", '{"value": "good"}')):
        server.script("m", chunks=list(said))
        with on(name, server) as m:
            thunk = m.instruct("How is it?", format=Literal["good", "bad"])
            assert (thunk.value, thunk.parsed) == ('"good"', "good")
        body = server.log("m")[-1]["body"]
        assert '{"enum":["bad","good"]}' in body["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("name", "script", "kind"),
    [
        ("ollama", {"status": 400, "body": '{"error": "invalid JSON schema in format"}'}, 400),
        ("ollama", {"error_after": 0, "error": "failed to load model grammar"}, None),
        (
            "openai",
            {
                "status": 400,
                "body": '{"error": {"message": "Invalid schema for response_format \'answer\'"}}',
            },
            400,
        ),
    ],
)
@pytest.mark.parametrize("how", [{}, {"strategy": None}])
def test_a_schema_that_the_server_refuses_is_told_with_its_type_and_the_servers_words(
    name: str,
    script: dict[str, Any],
    kind: int | None,
    how: dict[str, Any],
    server: ServerProcess,
) -> None:
    server.script("m", **script)
    expected = GenerationFailedError if kind is None else BadRequestError
    with on(name, server) as m, pytest.raises(expected) as caught:
        m.instruct("Who is it?", format=list[Person], **how)
    words = script.get("error") or script["body"]
    assert any(word in str(caught.value) for word in ("schema", "grammar") if word in words)
    assert "format=list[Person]" in str(caught.value)
    assert getattr(caught.value, "status", None) == kind


def test_what_the_server_refuses_otherwise_is_not_laid_on_the_schema(
    server: ServerProcess,
) -> None:
    server.script("m", status=400, body='{"error": "the prompt is too long"}')
    with on("ollama", server) as m, pytest.raises(BadRequestError) as caught:
        m.instruct("Who is it?", format=Person)
    assert "Person" not in str(caught.value)


def test_an_answer_that_is_cut_off_says_what_may_have_cut_it(server: ServerProcess) -> None:
    server.script("m", chunks=['{"name": "A'], finish_reason="length")
    options = {ModelOption.MAX_NEW_TOKENS: 4}
    with on("ollama", server) as m, pytest.raises(FormatError, match="MAX_NEW_TOKENS"):
        m.instruct("Who is it?", format=Person, model_options=options)


def test_a_slow_reader_of_a_live_format_loses_nothing() -> None:
    async def main() -> None:
        numbers = json.dumps(list(range(2_000)))
        m = MelleaSession(ScriptedBackend([f"```json\n{numbers}\n", "```"]))
        thunk = await m.ainstruct("?", format=list[int], strategy=None, model_options=STREAM)
        assert await soon(thunk.avalue(), PATIENCE) == numbers
        assert thunk.parsed == list(range(2_000))

    asyncio.run(main())
