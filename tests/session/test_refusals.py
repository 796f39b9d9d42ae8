"""A refusal is a text like any other, but no answer where a form or requirements were asked for."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from mellea_rx import (
    Chunk,
    FormatError,
    MelleaRxError,
    MelleaSession,
    ModelOption,
    ModelRefusedError,
    OpenAIBackend,
    OptionError,
    RequirementsNotMetError,
    ScriptedBackend,
    generative,
)
from mellea_rx.backends.scripted import Answer
from mellea_rx.stdlib.requirements import req, simple_validate
from mellea_rx.stdlib.sampling import BestOfN, RejectionSampling
from tests.support.server_process import ServerProcess

NO = "I can't help with that."
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
LONG = req("long", simple_validate(lambda text: len(text) > 100))
SHORT = req("short", simple_validate(lambda text: len(text) < 100))


def refusal(reason: str = "refusal", text: str = NO) -> Answer:
    return [text, Chunk(finish_reason=reason)]


def failing(*answers: Answer, **how: Any) -> tuple[MelleaRxError, ScriptedBackend]:
    backend = ScriptedBackend(*answers)
    with pytest.raises(MelleaRxError) as caught:
        MelleaSession(backend).instruct("Go.", **how)
    return caught.value, backend


@pytest.mark.parametrize("reason", ["refusal", "content_filter"])
def test_of_a_plain_call_it_is_the_text(reason: str) -> None:
    thunk = MelleaSession(ScriptedBackend(refusal(reason))).instruct("Go.")
    assert (thunk.value, thunk.finish_reason) == (NO, reason)


@pytest.mark.parametrize(
    "how",
    [
        {"format": SCHEMA},
        {"format": int},
        {"format": SCHEMA, "requirements": [SHORT]},
        {"format": SCHEMA, "strategy": RejectionSampling(loop_budget=3)},
        {"requirements": [LONG], "require": True},
        {"requirements": [SHORT], "require": True},  # also where it happens to meet them
    ],
)
@pytest.mark.parametrize(
    ("reason", "told"),
    [("refusal", "the model refused"), ("content_filter", "the server's content filter")],
)
def test_where_a_form_or_requirements_were_asked_for_it_is_an_error_and_asked_once(
    how: dict[str, Any], reason: str, told: str
) -> None:
    error, backend = failing(refusal(reason), **how)
    assert type(error) is ModelRefusedError
    assert (error.text, error.finish_reason) == (NO, reason)
    assert told in str(error)
    assert NO in str(error)
    assert "MAX_NEW_TOKENS" not in str(error)
    assert len(backend.requests) == 1


def test_of_chat_and_stubs_too() -> None:
    @generative
    def count(text: str) -> int:
        """How many words there are."""

    session = MelleaSession(ScriptedBackend(refusal()))
    with pytest.raises(ModelRefusedError):
        session.chat("Go.", format=int)
    with pytest.raises(ModelRefusedError):
        count(session, text="a b")


def test_a_filter_that_left_no_text_says_so() -> None:
    error, _ = failing(refusal("content_filter", ""), format=int)
    assert type(error) is ModelRefusedError
    assert (error.text, error.finish_reason) == ("", "content_filter")
    assert "content filter" in str(error)


def test_an_attempt_that_was_refused_before_does_not_hide_that_a_later_one_is() -> None:
    error, backend = failing("no JSON", refusal(), format=SCHEMA)
    assert type(error) is ModelRefusedError
    assert len(backend.requests) == 2


def test_without_require_requirements_are_tried_for_as_ever() -> None:
    backend = ScriptedBackend(refusal(), "x" * 101)
    thunk = MelleaSession(backend).instruct("Go.", requirements=[LONG])
    assert thunk.sampling.success
    assert len(backend.requests) == 2


def test_what_only_fails_to_fit_is_what_it_was() -> None:
    assert type(failing("no JSON", format=SCHEMA)[0]) is FormatError
    error, _ = failing("short", requirements=[LONG], require=True)
    assert type(error) is RequirementsNotMetError


def test_best_of_n_takes_it_for_an_error_too() -> None:
    strategy = BestOfN(2, scorer=len)
    error, _ = failing(refusal(), requirements=[SHORT], require=True, strategy=strategy)
    assert type(error) is ModelRefusedError


def test_a_judges_refusal_is_no_verdict() -> None:
    judge = ["I cannot say yes to this.", Chunk(finish_reason="refusal")]
    thunk = MelleaSession(ScriptedBackend("An answer.", judge)).instruct(
        "Go.", requirements=["It is polite."], strategy=RejectionSampling(1)
    )
    assert not thunk.sampling.success
    (attempt,) = thunk.sampling.attempts
    assert "the model refused to answer: 'I cannot say yes" in attempt.reasons[0]


def test_a_long_refusal_is_shown_in_part_and_escaped() -> None:
    error, _ = failing(refusal(text="No\x1b[2J\u202e" + "o" * 5000), format=int)
    assert "\x1b" not in str(error)
    assert "\u202e" not in str(error)
    assert len(str(error)) < 500
    assert len(error.text) > 5000


def test_it_goes_through_pickle() -> None:
    error = ModelRefusedError("no", text=NO, finish_reason="refusal")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.text, again.finish_reason) == ("no", NO, "refusal")


def frames(*choices: dict[str, Any]) -> list[str]:
    lines = [json.dumps({"choices": [{"index": 0, **each}]}) for each in choices]
    return [f"data: {line}\n\n" for line in lines] + ["data: [DONE]\n\n"]


@pytest.mark.parametrize("how", [{"format": SCHEMA}, {"format": int}])
def test_a_server_that_refuses_a_schema(server: ServerProcess, how: dict[str, Any]) -> None:
    lines = frames(
        {"delta": {"role": "assistant", "content": None, "refusal": ""}},
        {"delta": {"refusal": "I can't "}},
        {"delta": {"refusal": "help with that."}},
        {"delta": {}, "finish_reason": "stop"},
    )
    server.script("m", raw_lines=lines)
    with MelleaSession(OpenAIBackend("m", base_url=server.url)) as m:
        plain = m.instruct("Go.")
        assert (plain.value, plain.finish_reason) == (NO, "refusal")
        with pytest.raises(ModelRefusedError) as caught:
            m.instruct("Go.", **how)
    assert caught.value.text == NO
    assert len(server.log("m")) == 2


@pytest.mark.parametrize("n", [0, 2, "2", 1.5, None])
def test_several_answers_to_one_call_are_refused_by_name(server: ServerProcess, n: Any) -> None:
    with pytest.raises(OptionError, match=r"'n' cannot be set: one call is one answer"):
        OpenAIBackend("m", base_url=server.url, model_options={"n": n})
    with (
        MelleaSession(OpenAIBackend("m", base_url=server.url)) as m,
        pytest.raises(OptionError, match="BestOfN"),
    ):
        m.instruct("Go.", model_options={"n": n})
    assert server.log("m") == []


def test_one_answer_may_be_asked_for(server: ServerProcess) -> None:
    server.script("m", chunks=["one"])
    with MelleaSession(OpenAIBackend("m", base_url=server.url)) as m:
        assert m.instruct("Go.", model_options={"n": 1, ModelOption.RETRIES: 0}).value == "one"
