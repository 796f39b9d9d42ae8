"""The local backend: behaviour of a real llama.cpp that no scripted server can show."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from mellea_rx import BadRequestError, LocalBackend, MelleaSession, ModelOption, OptionError
from mellea_rx.testing.conformance import request
from tests.core.hand import STREAM, Recorder, soon, until

TOKENS, STOP = ModelOption.MAX_NEW_TOKENS, ModelOption.STOP_SEQUENCES


def session(model: Path, **how: int) -> MelleaSession:
    options = {ModelOption.SEED: 7, ModelOption.TEMPERATURE: 0}
    return MelleaSession(LocalBackend(model, **how), model_options=options)


def test_max_new_tokens_is_kept_to(local_model: Path) -> None:
    with session(local_model) as m:
        thunk = m.instruct("Go.", model_options={TOKENS: 5})
    assert thunk.finish_reason == "length"
    assert thunk.usage is not None
    assert thunk.usage.completion_tokens == 5


def test_stop_sequences_end_it_and_are_not_in_the_text(local_model: Path) -> None:
    with session(local_model) as m:
        whole = m.instruct("Go.", model_options={TOKENS: 40}).value
        assert whole
        stop = whole[len(whole) // 2 :][:4]
        cut = m.instruct("Go.", model_options={TOKENS: 40, STOP: [stop]})
    assert cut.finish_reason == "stop"
    assert cut.value == whole[: whole.index(stop)]


def test_the_same_seed_gives_the_same_text(local_model: Path) -> None:
    with session(local_model) as m:
        options = {TOKENS: 12, ModelOption.TEMPERATURE: 1.0}
        texts = [
            m.instruct("Go.", model_options={**options, ModelOption.SEED: seed}).value
            for seed in (1, 1, 2)
        ]
    assert texts[0] == texts[1] != texts[2]


def test_a_prompt_that_does_not_fit_is_refused_with_its_size(local_model: Path) -> None:
    with session(local_model, context_window=256) as m:
        with pytest.raises(BadRequestError, match="256"):
            m.instruct("word " * 2000)
        assert m.instruct("Go.", model_options={TOKENS: 2}).value


def test_an_option_of_llama_cpps_own_goes_through(local_model: Path) -> None:
    with session(local_model) as m:
        hot = {TOKENS: 12, ModelOption.TEMPERATURE: 2.0}
        greedy = m.instruct("Go.", model_options={TOKENS: 12}).value
        assert m.instruct("Go.", model_options={**hot, "top_k": 1}).value == greedy


@pytest.mark.parametrize(
    "options",
    [
        {ModelOption.TOOLS: [{"type": "function"}]},
        {ModelOption.THINKING: "high"},
        {ModelOption.CONTEXT_WINDOW: 1_000_000},
    ],
)
def test_what_it_does_not_have_is_refused_by_name(
    local_model: Path, options: dict[ModelOption, object]
) -> None:
    (option,) = options
    with session(local_model) as m, pytest.raises(OptionError, match=option.name):
        m.instruct("Go.", model_options=options)


@pytest.mark.alone
def test_cancelling_frees_the_slot_within_200_ms(local_model: Path) -> None:
    async def main() -> None:
        took = []
        with session(local_model, parallel=1) as m:
            for _ in range(4):
                thunk = await m.ainstruct("Go.", model_options=STREAM)
                await until(lambda t=thunk: t.text)
                before = time.monotonic()
                thunk.cancel()
                following = await m.ainstruct("Go.", model_options={TOKENS: 1})
                await soon(following.avalue())
                took.append(time.monotonic() - before)
        assert min(took) < 0.2  # the machine may be busy with other tests

    asyncio.run(main())


def test_further_calls_wait_for_a_slot(local_model: Path) -> None:
    async def main() -> None:
        with session(local_model, parallel=1) as m:
            first = await m.ainstruct("Go.", model_options=STREAM)
            await until(lambda: first.text)
            second = await m.ainstruct("Go.", model_options={TOKENS: 1})
            grown = len(first.text)
            await until(lambda: len(first.text) > grown)
            assert second.text == ""
            first.cancel()
            assert await soon(second.avalue())

    asyncio.run(main())


def test_a_tiny_timeout_is_a_timeout_and_leaves_the_model_usable(local_model: Path) -> None:
    backend = LocalBackend(local_model, parallel=1)
    recorder = Recorder()
    recorder.to(backend.stream(request("word " * 200, STREAM_TIMEOUT=0.001)))
    assert recorder.ended.wait(30)
    assert isinstance(recorder.error, TimeoutError)
    assert "STREAM_TIMEOUT" in str(recorder.error)
    after = Recorder()
    after.to(backend.stream(request(MAX_NEW_TOKENS=2)))
    assert after.ended.wait(30)
    assert after.terminals == ["completed"]
    backend.close()
