"""`BudgetForcing`: how long a model thinks has a maximum, and may have a minimum."""

from __future__ import annotations

import asyncio
import math
import pickle
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx import (
    BackendError,
    Chunk,
    GenerationFailedError,
    InvalidInputError,
    MelleaRxError,
    MelleaSession,
    ModelOption,
    OllamaBackend,
    OpenAIBackend,
    ScriptedBackend,
    TotalTimeoutError,
    Usage,
)
from mellea_rx.backends import Capabilities, Pause, Request
from mellea_rx.core.text.thought_splitter import ThoughtSplitter
from mellea_rx.events import AttemptStarted, ThinkingAdded
from mellea_rx.stdlib.requirements import check, simple_validate
from mellea_rx.stdlib.sampling import Budget, BudgetForcing, Roles
from tests.core.hand import STREAM, soon, until
from tests.session.test_interfaces import Deferred
from tests.support.server_process import ServerProcess

CLOSE = "</think>"


def words(letter: str, count: int) -> list[str]:
    return [f"{letter}{n} " for n in range(1, count + 1)]


def goes_on_thinking(prefill: str) -> bool:
    return prefill.startswith("<think>") and CLOSE not in prefill


class Thinker(ScriptedBackend):
    """A model of so many tokens of thinking and answer, which goes on from any prefill.

    Args:
        thoughts: The number of tokens that it thinks.
        answers: The number of tokens that it answers.
        more: The number of tokens that it thinks after thinking was continued.
        splits: Whether the server reports thinking as such; else between tags in the text.
        stops: Whether the server's stop sequences hold within thinking.
        counts: Whether the server reports tokens.
    """

    def __init__(
        self,
        thoughts: int,
        answers: int,
        more: int = 3,
        *,
        splits: bool = True,
        stops: bool = True,
        counts: bool = True,
        **how: Any,
    ) -> None:
        self.shape = (thoughts, answers, more)
        self.splits, self.stops, self.counts = splits, stops, counts
        super().__init__(self.answer, **how)

    def tokens(self, prefill: str) -> list[tuple[bool, str]]:
        """The tokens that follow a prefill, each with whether it is thinking."""
        thoughts, answers, more = self.shape
        answer = [(False, word) for word in words("a", answers)]
        if prefill and not goes_on_thinking(prefill):
            begun = prefill.split(CLOSE)[-1].split()
            return answer[len(begun) :]
        thought = [f" m{n}" for n in range(1, more + 1)] if prefill else words("t", thoughts)
        return [*((True, word) for word in thought), (True, CLOSE), *answer]

    def answer(self, request: Request) -> Iterable[Any]:
        limit = request.options.get(ModelOption.MAX_NEW_TOKENS, math.inf)
        is_open = goes_on_thinking(request.prefill)
        if not self.splits and not request.prefill:
            yield Chunk("<think>")
        reason, count = "stop", 0
        for is_thought, token in self.tokens(request.prefill):
            if token == CLOSE and self.stops and CLOSE in request.options.stop_sequences:
                break
            if count == limit:
                reason = "length"
                break
            count += 1
            if not self.splits or is_open:
                yield Chunk(token)
            elif token != CLOSE:
                yield Chunk(thinking=token) if is_thought else Chunk(token)
        usage = Usage(10, count) if self.counts else None
        yield Chunk(finish_reason=reason, usage=usage)

    async def _play(self, request: Request, push: Any) -> None:
        def without(chunk: Chunk) -> None:
            own = chunk.model is None  # the last chunk is that of the scripted backend
            if own:
                push(chunk)

        await super()._play(request, without)


def ask(backend: Any, strategy: BudgetForcing, **how: Any) -> Any:
    return MelleaSession(backend).instruct("Go.", strategy=strategy, **how)


FORMS = [True, False]


@pytest.mark.parametrize("splits", FORMS)
def test_thinking_within_its_limit_and_its_answer_are_one_request(splits: bool) -> None:
    backend = Thinker(3, 2, splits=splits)
    thunk = ask(backend, BudgetForcing(10))
    assert (thunk.thinking.split(), thunk.value.split()) == (["t1", "t2", "t3"], ["a1", "a2"])
    assert len(backend.requests) == 1
    assert (thunk.finish_reason, thunk.usage) == ("stop", Usage(10, 6))


@pytest.mark.parametrize("splits", FORMS)
def test_longer_thinking_is_ended_and_the_answer_follows_from_it(splits: bool) -> None:
    backend = Thinker(50, 2, splits=splits)
    thunk = ask(backend, BudgetForcing(4))
    assert thunk.thinking.split() == ["t1", "t2", "t3", "t4"]
    assert thunk.value.split() == ["a1", "a2"]
    first, second = backend.requests
    assert first.options.get(ModelOption.MAX_NEW_TOKENS) == 4
    assert second.prefill == "<think>\nt1 t2 t3 t4\n</think>\n\n"
    assert second.options.get(ModelOption.MAX_NEW_TOKENS) is None
    assert second.messages[:-1] == first.messages
    assert (thunk.finish_reason, thunk.usage) == ("stop", Usage(20, 6))
    assert len(thunk.sampling.attempts) == 1


@pytest.mark.parametrize("splits", FORMS)
def test_an_answer_that_the_limit_cuts_off_is_gone_on_with(splits: bool) -> None:
    backend = Thinker(3, 5, splits=splits)
    thunk = ask(backend, BudgetForcing(6))
    assert thunk.value == "a1 a2 a3 a4 a5 "
    assert backend.requests[1].prefill.endswith("</think>\n\na1 a2")
    assert thunk.thinking.split() == ["t1", "t2", "t3"]


def test_the_answer_has_a_limit_of_its_own_or_the_calls() -> None:
    for strategy, options in (
        (BudgetForcing(4, answer_tokens=2), {ModelOption.MAX_NEW_TOKENS: 99}),
        (BudgetForcing(4), {ModelOption.MAX_NEW_TOKENS: 2}),
    ):
        backend = Thinker(50, 9)
        thunk = ask(backend, strategy, model_options=options)
        assert (thunk.value.split(), thunk.finish_reason) == (["a1", "a2"], "length")
        limits = [each.options.get(ModelOption.MAX_NEW_TOKENS) for each in backend.requests]
        assert limits == [4, 2]


def test_an_answer_without_thinking_is_the_value_as_it_is() -> None:
    backend = ScriptedBackend(["42"])
    assert ask(backend, BudgetForcing(4, min_think_tokens=2)).value == "42"
    assert len(backend.requests) == 1


def test_a_long_answer_without_thinking_is_gone_on_with() -> None:
    cut = [Chunk("one two", finish_reason="length")]
    backend = ScriptedBackend(cut, [" three"])
    assert ask(backend, BudgetForcing(4)).value == "one two three"
    assert backend.requests[1].prefill == "one two"


def test_an_empty_answer_is_not_asked_for_again() -> None:
    backend = ScriptedBackend([Chunk(finish_reason="stop")])
    assert ask(backend, BudgetForcing(4)).value == ""
    assert len(backend.requests) == 1


def test_thinking_that_the_server_hides_is_gone_on_from_as_empty() -> None:
    backend = ScriptedBackend([Chunk(finish_reason="length")], ["42"])
    assert ask(backend, BudgetForcing(4)).value == "42"
    assert backend.requests[1].prefill == "<think>\n\n</think>\n\n"


@pytest.mark.parametrize("reason", ["content_filter", "refusal"])
def test_what_a_server_stopped_is_not_gone_on_with(reason: str) -> None:
    backend = ScriptedBackend([Chunk(thinking="hm", finish_reason=reason)])
    assert ask(backend, BudgetForcing(4)).finish_reason == reason
    assert len(backend.requests) == 1


def test_an_answer_that_the_server_takes_for_thinking_is_the_answer() -> None:
    cut = [Chunk(thinking="hm", finish_reason="length")]
    backend = ScriptedBackend(cut, [Chunk(thinking="\n42")])
    thunk = ask(backend, BudgetForcing(4))
    assert (thunk.value, thunk.thinking) == ("42", "hm")


# A minimum.


@pytest.mark.parametrize("splits", FORMS)
@pytest.mark.parametrize("stops", FORMS)
def test_shorter_thinking_is_continued_with_a_word(splits: bool, stops: bool) -> None:
    backend = Thinker(3, 2, more=4, splits=splits, stops=stops)
    thunk = ask(backend, BudgetForcing(20, min_think_tokens=6, extensions=3))
    assert thunk.thinking.split() == [
        *("t1", "t2", "t3", "Wait"),
        *("m1", "m2", "m3", "m4"),
    ]
    assert thunk.value.split() == ["a1", "a2"]
    first, second = backend.requests[:2]
    assert CLOSE in first.options.stop_sequences
    assert second.prefill == "<think>\nt1 t2 t3 \nWait"
    assert len(backend.requests) == (3 if stops else 2)
    assert CLOSE not in backend.requests[-1].options.stop_sequences or not stops


@pytest.mark.parametrize("extensions", [1, 2, 5])
def test_thinking_is_continued_so_often_at_most(extensions: int) -> None:
    backend = Thinker(1, 2, more=1)
    strategy = BudgetForcing(99, min_think_tokens=50, extensions=extensions, wait="Hmm")
    thunk = ask(backend, strategy)
    assert thunk.thinking.split().count("Hmm") == extensions
    assert len(backend.requests) == 1 + extensions + 1
    assert thunk.value.split() == ["a1", "a2"]


def test_thinking_that_is_long_enough_is_not_continued() -> None:
    thunk = ask(Thinker(6, 2), BudgetForcing(20, min_think_tokens=6))
    assert "Wait" not in thunk.thinking
    assert thunk.value.split() == ["a1", "a2"]


def test_continued_thinking_has_the_rest_of_the_limit() -> None:
    backend = Thinker(3, 2, more=50)
    thunk = ask(backend, BudgetForcing(8, min_think_tokens=8, extensions=9))
    limits = [each.options.get(ModelOption.MAX_NEW_TOKENS) for each in backend.requests]
    assert limits == [8, 5, None]
    assert thunk.value.split() == ["a1", "a2"]


def test_without_counts_of_tokens_they_are_estimated() -> None:
    backend = Thinker(8, 2, more=8, counts=False)  # 24 characters of thinking
    assert "Wait" not in ask(backend, BudgetForcing(99, min_think_tokens=6)).thinking
    assert "Wait" in ask(backend, BudgetForcing(99, min_think_tokens=7)).thinking


def test_the_stop_sequences_of_the_call_hold_too() -> None:
    backend = Thinker(3, 2)
    options = {ModelOption.STOP_SEQUENCES: ["END"]}
    ask(backend, BudgetForcing(20, min_think_tokens=2), model_options=options)
    assert [each.options.stop_sequences for each in backend.requests] == [["END", CLOSE], ["END"]]


@pytest.mark.parametrize(("thinking", "after"), [(True, False), ("high", "high"), (None, None)])
def test_requests_that_go_on_do_not_ask_for_thinking(thinking: Any, after: Any) -> None:
    backend = Thinker(50, 2)
    options = {} if thinking is None else {ModelOption.THINKING: thinking}
    ask(backend, BudgetForcing(4), model_options=options)
    asked = [each.options.get(ModelOption.THINKING) for each in backend.requests]
    assert asked == [thinking, after]


def test_the_tags_are_those_of_the_model() -> None:
    cut = [Chunk("[T]hm", finish_reason="length")]
    backend = ScriptedBackend(cut, ["42"])
    thunk = ask(backend, BudgetForcing(4, open="[T]", close="[/T]"))
    assert (thunk.thinking, thunk.value) == ("hm", "42")
    assert backend.requests[1].prefill == "[T]\nhm\n[/T]\n\n"


@given(
    thoughts=st.integers(0, 12),
    answers=st.integers(1, 12),
    think_tokens=st.integers(1, 14),
    least=st.none() | st.integers(1, 14),
    splits=st.booleans(),
    stops=st.booleans(),
    counts=st.booleans(),
)
def test_the_text_is_the_whole_answer_and_thinking_keeps_its_limit(
    thoughts: int,
    answers: int,
    think_tokens: int,
    least: int | None,
    splits: bool,
    stops: bool,
    counts: bool,
) -> None:
    least = None if least is None else min(least, think_tokens)
    backend = Thinker(thoughts, answers, splits=splits, stops=stops, counts=counts)
    thunk = ask(backend, BudgetForcing(think_tokens, min_think_tokens=least, extensions=2))
    assert thunk.value == "".join(words("a", answers))
    assert "<" not in thunk.thinking + thunk.value
    thought = [word for word in thunk.thinking.split() if word != "Wait"]
    if counts:
        assert len(thought) <= think_tokens
    assert (
        thought[: min(thoughts, think_tokens)]
        == [f"t{n + 1}" for n in range(thoughts)][:think_tokens]
    )


# With requirements, events, and the other parameters.


def test_requirements_judge_the_answer_alone() -> None:
    seen: list[str] = []

    def sees(text: str) -> bool:
        seen.append(text)
        return len(seen) == 2

    backend = Thinker(50, 2)
    strategy = BudgetForcing(4, loop_budget=3)
    thunk = ask(backend, strategy, requirements=[check("seen", simple_validate(sees))])
    assert seen == ["a1 a2 ", "a1 a2 "]
    assert (len(thunk.sampling.attempts), len(backend.requests)) == (2, 4)


def test_a_unit_that_fails_ends_the_request_of_the_answer() -> None:
    async def main() -> None:
        backend = Thinker(50, 9000, delay=0.001)
        calm = check("calm", stream_validate=lambda word: "a3" not in word, unit="word")
        m = MelleaSession(backend)
        thunk = await m.ainstruct("Go.", requirements=[calm], strategy=BudgetForcing(4))
        assert len(await soon(thunk.avalue())) < 1000
        assert backend.running == 0

    asyncio.run(main())


def test_the_judge_thinks_as_it_likes() -> None:
    def answer(request: Request) -> Any:
        if "meets a requirement" in request.prompt:
            assert request.options.get(ModelOption.MAX_NEW_TOKENS) == 80
            return ["yes"]
        return [Chunk("42", thinking="hm")]

    backend = ScriptedBackend(answer)
    assert ask(backend, BudgetForcing(4), requirements=["It is kind."]).sampling.success


def test_roles_are_forced_too_and_resolved() -> None:
    own, draft, repair = ScriptedBackend("never"), Thinker(50, 1), Thinker(50, 2)
    two = check("two", simple_validate(lambda text: "a2" in text))
    roles = Roles(draft=Deferred(draft), repair=repair)
    thunk = ask(own, BudgetForcing(4, loop_budget=2, roles=roles), requirements=[two])
    assert thunk.value == "a1 a2 "
    assert [len(each.requests) for each in (own, draft, repair)] == [0, 2, 2]


@pytest.mark.parametrize("wrap", [lambda backend: backend, Deferred])
def test_the_options_of_the_session_reach_each_request(wrap: Any) -> None:
    backend = Thinker(50, 2, model_options={"top_k": 1, "top_p": 2})
    options = {"top_k": 9, ModelOption.SEED: 3}
    ask(wrap(backend), BudgetForcing(4), model_options=options)
    for each in backend.requests:
        assert each.options.extra == {"top_k": 9, "top_p": 2}


def test_a_budget_of_seconds_ends_the_thinking() -> None:
    async def main() -> None:
        backend = ScriptedBackend([Chunk(thinking="hm"), Pause(math.inf)])
        strategy = BudgetForcing(4, budget=Budget(seconds=0.05))
        thunk = await MelleaSession(backend).ainstruct("Go.", strategy=strategy)
        with pytest.raises(BackendError, match="budget"):
            await soon(thunk.avalue())
        assert backend.running == 0

    asyncio.run(main())


def test_the_events_are_those_of_one_attempt() -> None:
    async def main() -> None:
        m = MelleaSession(Thinker(50, 2))
        thunk = await m.ainstruct("Go.", strategy=BudgetForcing(4))
        events: list[Any] = []
        thunk.events.subscribe(events.append)
        await thunk
        await until(lambda: events and type(events[-1]).__name__ == "Completed")
        assert len([each for each in events if isinstance(each, AttemptStarted)]) == 1
        thought = [each.text for each in events if isinstance(each, ThinkingAdded)]
        assert "".join(thought) == "t1 t2 t3 t4 "

    asyncio.run(main())


@pytest.mark.parametrize("stage", [0, 1])
def test_cancelling_ends_the_request_of_either_stage(stage: int) -> None:
    async def main() -> None:
        cut = [Chunk(thinking="hm", finish_reason="length")]
        backend = ScriptedBackend(*[cut] * stage, [Chunk(thinking="hm"), Pause(math.inf)])
        m = MelleaSession(backend)
        thunk = await m.ainstruct("Go.", strategy=BudgetForcing(4), model_options=STREAM)
        await until(lambda: len(backend.requests) == stage + 1)
        thunk.cancel()
        await until(lambda: backend.running == 0)
        with pytest.raises(MelleaRxError):
            await soon(thunk.avalue())

    asyncio.run(main())


def test_an_answer_that_fails_has_the_text_so_far() -> None:
    cut = [Chunk(thinking="hm", finish_reason="length")]
    backend = ScriptedBackend(cut, ["half", GenerationFailedError("crashed")])
    with pytest.raises(GenerationFailedError) as caught:
        ask(backend, BudgetForcing(4))
    assert caught.value.text == "half"


def test_a_format_holds_for_the_answer() -> None:
    cut = [Chunk(thinking="hm", finish_reason="length")]
    backend = ScriptedBackend(cut, ["4", "2"])
    thunk = ask(backend, BudgetForcing(4), format=int)
    assert thunk.parsed == 42
    assert all(each.schema is not None for each in backend.requests)


# Refusals.


class Plain(ScriptedBackend):
    capabilities = Capabilities()


@pytest.mark.parametrize("wrap", [lambda backend: backend, Deferred])
def test_a_backend_that_cannot_go_on_from_a_message_is_refused_by_name(wrap: Any) -> None:
    backend = Plain("a")
    with pytest.raises(InvalidInputError, match=r"BudgetForcing needs a backend .* 'scripted'"):
        ask(wrap(backend), BudgetForcing(4))
    assert backend.requests == ()


def test_a_prefix_is_refused() -> None:
    backend = Thinker(3, 2)
    with pytest.raises(InvalidInputError, match="BudgetForcing cannot be used with prefix="):
        ask(backend, BudgetForcing(4), prefix="So")
    assert backend.requests == ()


@pytest.mark.parametrize(
    ("arguments", "words_"),
    [
        ({"think_tokens": 0}, "think_tokens must be an int, 1 or more"),
        ({"think_tokens": 4.0}, "think_tokens must be an int, 1 or more"),
        ({"answer_tokens": 0}, "answer_tokens must be an int, 1 or more"),
        ({"min_think_tokens": 0}, "min_think_tokens must be an int, 1 or more"),
        ({"min_think_tokens": 5}, r"min_think_tokens must be at most think_tokens \(4\), not 5"),
        ({"extensions": 0}, "extensions must be an int, 1 or more"),
        ({"loop_budget": 0}, "loop_budget must be an int, 1 or more"),
        ({"wait": " "}, "wait must be a str that is not empty"),
        ({"open": ""}, "open must be a str that is not empty"),
        ({"close": None}, "close must be a str that is not empty"),
        ({"roles": "x"}, "roles must be a Roles"),
        ({"budget": 5}, "budget must be a Budget"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_refused(arguments: Any, words_: str) -> None:
    with pytest.raises(InvalidInputError, match=words_):
        BudgetForcing(**{"think_tokens": 4, **arguments})


def test_it_is_a_value() -> None:
    strategy = BudgetForcing(4, min_think_tokens=2)
    assert pickle.loads(pickle.dumps(strategy)) == strategy
    assert replace(strategy, think_tokens=5) == BudgetForcing(5, min_think_tokens=2)


# On a server.


def test_on_a_server_with_ollamas_protocol(server: ServerProcess) -> None:
    server.script(
        "m",
        [
            {"thinking": ["Let ", "me ", "see"], "chunks": [], "finish_reason": "length"},
            {"chunks": ["4", "2"], "usage": {"prompt": 9, "completion": 2}},
        ],
    )
    backend = OllamaBackend("m", base_url=server.url)
    with MelleaSession(backend) as m:
        thunk = m.instruct("Go.", strategy=BudgetForcing(3, answer_tokens=7), thinking=True)
    assert (thunk.thinking, thunk.value) == ("Let me see", "42")
    first, second = (each["body"] for each in server.log("m"))
    assert (first["think"], first["options"]["num_predict"]) == (True, 3)
    assert (second["think"], second["options"]["num_predict"]) == (False, 7)
    assert second["messages"][-1] == {
        "role": "assistant",
        "content": "<think>\nLet me see\n</think>\n\n",
    }


def test_on_a_server_with_openais_protocol(server: ServerProcess) -> None:
    server.script(
        "m",
        [
            {"thinking": ["Let ", "me ", "see"], "chunks": [], "finish_reason": "length"},
            {"chunks": ["4", "2"], "usage": {"prompt": 9, "completion": 2}},
        ],
    )
    backend = OpenAIBackend("m", base_url=f"{server.url}/v1", api_key="none")
    with MelleaSession(backend) as m:
        thunk = m.instruct("Go.", strategy=BudgetForcing(3))
    assert (thunk.thinking, thunk.value) == ("Let me see", "42")
    _, second = (each["body"] for each in server.log("m"))
    assert second["messages"][-1]["content"] == "<think>\nLet me see\n</think>\n\n"
    assert second["continue_final_message"] is True


def test_the_end_of_its_seconds_ends_the_request_on_the_server(server: ServerProcess) -> None:
    server.script("m", thinking=["hm"] * 300, delay=0.1, chunks=["42"] * 300)
    backend = OllamaBackend("m", base_url=server.url)
    with MelleaSession(backend) as m, pytest.raises(TotalTimeoutError):
        m.instruct("Go.", strategy=BudgetForcing(300, budget=Budget(seconds=1)))
    server.wait_for(lambda: all(each["client_closed"] for each in server.log("m")))


# The splitter.


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<", "th", ">", " ", "a", "\n"])), st.data()
)
def test_a_text_is_split_alike_however_it_is_cut(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    pieces = [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    def split(pieces: list[str]) -> tuple[str, str]:
        splitter = ThoughtSplitter("<think>", "</think>")
        thoughts = [*map(splitter.feed, pieces), splitter.flush()]
        return "".join(each[0] for each in thoughts), "".join(each[1] for each in thoughts)

    assert split(pieces) == split([text])
    begun = text.lstrip()
    if not begun.startswith("<think>"):
        assert split([text]) == ("", text)
    else:
        thinking, tag, answer = begun.removeprefix("<think>").partition("</think>")
        assert split([text]) == (thinking, answer.lstrip() if tag else "")
