"""Typed use of the verbs: checked by mypy --strict and pyright, never run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from mellea_rx import (
    ChatContext,
    ComputedThunk,
    MelleaSession,
    ModelOption,
    ModelOutputThunk,
    Output,
    Requirement,
    RetryPolicy,
    ScriptedBackend,
    SimpleContext,
    ToolCall,
    ValidationResult,
    get_session,
    react,
    start_session,
)
from mellea_rx.backends import Backend
from mellea_rx.core.streams.cold_call import ColdCall
from mellea_rx.stdlib.components import Component, Template
from mellea_rx.stdlib.requirements import (
    StreamContext,
    check,
    req,
    simple_validate,
    tool_arg_validator,
    uses_tool,
)
from mellea_rx.stdlib.sampling import (
    BaseStrategy,
    BestOfN,
    RejectionSampling,
    RepairTemplate,
    Sampler,
    SamplingResult,
)


@dataclass(frozen=True)
class Count:
    """A component of the user's own, whose answer stands for an int."""

    text: str

    def template(self) -> Template:
        return Template("How many words has this? {{ text }}", {"text": self.text})

    def parse(self, text: str) -> int:
        return int(text)


async def a_verbs(m: MelleaSession) -> None:
    assert_type(await m.ainstruct("Go."), ModelOutputThunk[str])
    assert_type(await m.achat("Hi."), ComputedThunk[str])
    assert_type(await m.aquery([1, 2], "What?"), ModelOutputThunk[str])
    assert_type(await m.atransform({"a": 1}, "Shorten it."), ComputedThunk[Any])
    assert_type(await m.avalidate("fine", output="text"), list[ValidationResult])
    counted = await m.aact(Count("a b"))
    assert_type(counted, ModelOutputThunk[int])
    assert_type(await counted, str)
    assert_type(counted.parsed, int | None)


def verbs(m: MelleaSession) -> None:
    assert_type(m.instruct("Go."), ComputedThunk[str])
    assert_type(m.chat("Hi."), ComputedThunk[str])
    assert_type(m.query("text", "What?"), ComputedThunk[str])
    assert_type(m.transform("text", "Shorten it."), ComputedThunk[Any])
    assert_type(m.validate(["fine"], output=m.instruct("Go.")), list[ValidationResult])
    assert_type(m.act(Count("a b")), ComputedThunk[int])
    assert_type(m.act(Count("a b")).parsed, int)


async def alike(text: str) -> bool:
    return bool(text)


def of_text(text: str) -> ValidationResult:
    return ValidationResult(bool(text))


async def of_output(output: Output) -> ValidationResult:
    return ValidationResult(output.attempt == 1)


class Without(Requirement):
    def __init__(self, *words: str) -> None:
        super().__init__("without words")
        self.words = words

    async def validate(self, output: Output) -> tuple[bool, str]:
        assert_type(output.text, str)
        assert_type(output.tool_calls, tuple[ToolCall, ...])
        return output not in self.words, "it has one"

    def validate_unit(self, unit: str) -> bool:
        return unit not in self.words


class NoRepetition(Requirement):
    def validate_unit(self, unit: str, so_far: StreamContext) -> bool:
        return unit not in so_far.units


class Mine(BaseStrategy):
    requirements = ("be brief", Without("a"))

    async def sample(self, sampler: Sampler) -> SamplingResult:
        attempt = await sampler.attempt()
        assert_type(sampler.output(attempt), Output)
        return SamplingResult(True, (attempt,), 0)


def strategies_with_requirements(m: MelleaSession) -> None:
    m.instruct("Go.", strategy=Mine())
    m.instruct("Go.", strategy=RejectionSampling(3, requirements="be brief"))
    m.instruct("Go.", strategy=RepairTemplate(requirements=["be brief", Without("a")]))
    m.instruct("Go.", strategy=BestOfN(scorer=lambda output: output.attempt, requirements=["a"]))
    assert_type(Without("a").replace(check_only=True), Without)


def instruct_with_everything(m: MelleaSession) -> None:
    m.instruct(
        "Write about {{topic}}.",
        requirements=[
            "be brief",
            req("short", simple_validate(lambda text: len(text) < 80)),
            req("kind", simple_validate(lambda text: ("!" not in text, "too loud"))),
            req("async", simple_validate(alike)),
            check("no rhymes"),
            Requirement("plain"),
            req("frugal", simple_validate(lambda output: output.usage is not None)),
            req("of the output", of_output),
            req("of the text", of_text),
            uses_tool(len, check_only=True),
            tool_arg_validator("area", "width", lambda width: (width > 0, "too small")),
            Without("a", "b"),
            check(Without("a", "b").replace(unit="word")),
        ],
        user_variables={"topic": m.instruct("Name a topic.")},
        strategy=RejectionSampling(loop_budget=3),
        model_options={ModelOption.SEED: 7, ModelOption.STOP_SEQUENCES: ["END"], "top_k": 40},
    )


def sessions() -> None:
    component: Component[int] = Count("a")
    backend: Backend = ScriptedBackend("a", ["b", "c"], lambda request: "d", ValueError("e"))
    m = MelleaSession(backend, ChatContext())
    assert_type(m.act(component), ComputedThunk[int])
    assert_type(m.clone(), MelleaSession)
    assert_type(start_session("ollama", "qwen3", SimpleContext()), MelleaSession)
    with start_session(context_type="chat") as session:
        assert_type(session, MelleaSession)
        assert_type(get_session(), MelleaSession)


async def sessions_async() -> None:
    async with start_session("openai", base_url="http://localhost:8000", api_key="k") as session:
        assert_type(session, MelleaSession)


async def model_options_are_keywords(m: MelleaSession) -> None:
    m.instruct("Go.", temperature=0, seed=7, max_tokens=5, stop="END", tools=[len], stream=True)
    m.instruct("Go.", stream_timeout=None, retries=RetryPolicy(tries=2), thinking="low")
    assert_type(m.instruct("Go.", temperature=0), ComputedThunk[str])
    assert_type(m.instruct("Go.", format=int, temperature=0).parsed, int)
    assert_type(m.query([1], "What?", seed=1), ComputedThunk[str])
    assert_type(m.act(Count("a"), seed=1), ComputedThunk[int])
    assert_type(m.transform([1], "Shorten it.", seed=1), ComputedThunk[Any])
    assert_type(m.validate("fine", output="a", seed=1), list[ValidationResult])
    assert_type(await m.ainstruct("Go.", stream=True), ModelOutputThunk[str])
    assert_type(m.cold.instruct("Go.", temperature=0), ColdCall[str])
    assert_type(react(m, "Go.", [len], temperature=0), ComputedThunk[str])
    MelleaSession(ScriptedBackend(), temperature=0)
    start_session("ollama", model="qwen3", temperature=0)


async def a_chat_that_waits_is_computed(m: MelleaSession, streams: bool) -> None:
    assert_type(await m.achat("Hi."), ComputedThunk[str])
    assert_type(await m.achat("Hi.", seed=7, stream=False), ComputedThunk[str])
    assert_type((await m.achat("Hi.", format=int)).parsed, int)
    assert_type(await m.achat("Hi.", stream=True), ModelOutputThunk[str])
    assert_type(await m.achat("Hi.", stream=streams), ModelOutputThunk[str])
    assert_type(await m.achat("Hi.", model_options={"top_k": 4}), ModelOutputThunk[str])
    assert_type(m.chat("Hi.", stream=True), ComputedThunk[str])
    assert_type((await m.atransform([1], "Shorten it.")).value, str)
