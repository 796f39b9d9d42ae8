"""The embedded model: answers, options and errors."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mellea_rx import Chunk, LocalBackend, MelleaSession, ModelOption, ModelOutputThunk
from mellea_rx.backends import Options, Request, RequestMessage
from mellea_rx.core.interfaces.backend import is_backend
from mellea_rx.core.runtime.engine import engine
from mellea_rx.core.streams.chunk_source import drain
from mellea_rx.errors import (
    BadRequestError,
    InvalidInputError,
    ModelFileError,
    OptionError,
)
from tests.support.local_model import TOKENS, WARMTH, ask, generating, request_for, run, until


class TestAnswers:
    @pytest.mark.model
    def test_the_same_question_at_temperature_0_gets_the_same_answer(self, real_model: Path):
        backend = LocalBackend()

        async def main() -> None:
            options = {TOKENS: 16, ModelOption.SYSTEM_PROMPT: "handled before"}
            first = ask(backend, "What is the capital of France?", options)
            assert "Paris" in await first.avalue()
            assert first.finish_reason in ("stop", "length")
            assert first.usage is not None
            assert first.usage.prompt_tokens > 5
            assert 0 < first.usage.completion_tokens <= 16
            assert first.model == backend.model == "SmolLM2-135M-Instruct.Q4_1"
            again = ask(backend, "What is the capital of France?", options)
            assert await again.avalue() == first.text

        run(main)

    @pytest.mark.model
    def test_it_goes_on_from_how_an_answer_begins(self, real_model: Path):
        with MelleaSession(LocalBackend(), model_options={TOKENS: 12, WARMTH: 0}) as m:
            text = m.instruct("Write a line about the sea.", prefix="The blue sea is ").value
        assert text is not None
        assert text.startswith("The blue sea is ")
        assert text.count("The blue sea is") == 1
        assert text[len("The blue sea is ") :].strip()

    @pytest.mark.model
    def test_a_schema_holds(self, real_model: Path):
        schema = {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "people": {"type": "integer"},
            },
            "required": ["city", "people"],
            "additionalProperties": False,
        }

        async def main() -> None:
            text = await ask(
                LocalBackend(real_model), "Name a city.", {TOKENS: 60}, schema=schema
            ).avalue()
            answer = json.loads(text)
            assert set(answer) == {"city", "people"}
            assert isinstance(answer["people"], int)

        run(main)

    @pytest.mark.model
    def test_a_trailing_assistant_message_is_continued(self, real_model: Path):
        messages = (
            RequestMessage("user", "What is the capital of France?"),
            RequestMessage("assistant", "The capital of France is the city of"),
        )
        request = Request(messages, Options({TOKENS: 4, WARMTH: 0}))
        backend = LocalBackend(real_model)

        async def main() -> None:
            thunk: ModelOutputThunk[str] = ModelOutputThunk(
                lambda g: drain(backend.stream(request), g.push, backend.name)
            )
            assert (await thunk).lstrip().startswith("Paris")

        run(main)

    def test_text_comes_in_pieces_and_no_chunk_is_empty_but_the_last(self, tiny_model: Path):
        chunks: list[Chunk] = []

        async def main() -> None:
            source = LocalBackend(tiny_model).stream(request_for("hello", {TOKENS: 20}))
            await engine().run(lambda: drain(source, chunks.append, "local"))

        run(main)
        assert len(chunks) == 21
        assert all(chunk.text and chunk.usage is None for chunk in chunks[:-1])
        assert chunks[-1].finish_reason == "length"
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 20
        assert not chunks[-1]

    def test_a_stop_sequence_ends_it(self, tiny_model: Path):
        async def main() -> None:
            backend = LocalBackend(tiny_model)
            words = (await ask(backend, "hello", {TOKENS: 20})).split()
            cut = ask(backend, "hello", {TOKENS: 20, ModelOption.STOP_SEQUENCES: words[3]})
            assert (await cut).split() == words[:3]
            assert cut.finish_reason == "stop"

        run(main)

    def test_seeds_and_options_of_llama_cpp_go_through(self, tiny_model: Path):
        async def main() -> None:
            backend = LocalBackend(tiny_model)
            warm = {TOKENS: 20, WARMTH: 2.0, ModelOption.SEED: 1}
            first = await ask(backend, "hello", warm)
            assert await ask(backend, "hello", warm) == first
            assert await ask(backend, "hello", {**warm, ModelOption.SEED: 2}) != first
            likeliest = await ask(backend, "hello", {TOKENS: 20})
            assert await ask(backend, "hello", {**warm, "top_k": 1}) == likeliest

        run(main)

    def test_characters_that_json_does_not_know_are_no_error(self, tiny_model: Path):
        async def main() -> None:
            assert await ask(LocalBackend(tiny_model), "a\ud800b \0 \U0001f600 {{7*7}}")

        run(main)

    def test_it_is_a_backend(self, tiny_model: Path):
        backend = LocalBackend(tiny_model)
        assert is_backend(backend)
        assert backend.name == "local"
        assert asyncio.run(backend.models()) == ["tiny"]


class TestContext:
    def test_more_context_than_the_model_has_is_said_and_not_taken(
        self, tiny_model: Path, caplog: pytest.LogCaptureFixture
    ):
        asked = {ModelOption.CONTEXT_WINDOW: 50_000, TOKENS: 5}
        with caplog.at_level(logging.WARNING, "mellea_rx"):
            backend = LocalBackend(tiny_model, model_options=asked)
            with MelleaSession(backend) as m:
                m.instruct("hello")
                m.instruct("hello again")
        (told,) = [record.getMessage() for record in caplog.records]
        assert "50000" in told
        assert "8192 tokens" in told

    def test_as_much_as_it_has_is_no_matter(
        self, tiny_model: Path, caplog: pytest.LogCaptureFixture
    ):
        backend = LocalBackend(tiny_model, context_window=8192, parallel=1)
        with caplog.at_level(logging.WARNING, "mellea_rx"), MelleaSession(backend) as m:
            m.instruct("hello", model_options={TOKENS: 5})
        assert caplog.records == []


class TestLength:
    def test_an_answer_without_a_limit_ends_at_1024_tokens_and_the_log_says_so_once(
        self, tiny_model: Path, caplog: pytest.LogCaptureFixture
    ):
        backend = LocalBackend(tiny_model)
        for _ in range(2):
            answer = ask(backend, "hello", {WARMTH: 0}).wait()
            assert answer.usage.completion_tokens == 1024
            assert answer.finish_reason == "length"
        [told] = [each.getMessage() for each in caplog.records if each.name == "mellea_rx"]
        assert "1024 tokens" in told
        assert "ModelOption.MAX_NEW_TOKENS" in told

    def test_a_limit_of_the_user_s_is_kept_and_not_told_of(
        self, tiny_model: Path, caplog: pytest.LogCaptureFixture
    ):
        longer = ask(LocalBackend(tiny_model), "hello", {TOKENS: 1100}).wait()
        assert longer.usage.completion_tokens == 1100
        backend = LocalBackend(tiny_model, model_options={"max_tokens": 1024})
        with MelleaSession(backend) as m:
            assert m.instruct("hello").usage.completion_tokens == 1024
        assert not [each for each in caplog.records if each.name == "mellea_rx"]

    def test_a_full_window_is_not_the_default_limit(
        self, tiny_model: Path, caplog: pytest.LogCaptureFixture
    ):
        backend = LocalBackend(tiny_model, context_window=256)
        assert ask(backend, "hello", {WARMTH: 0}).wait().finish_reason == "length"
        assert not [each for each in caplog.records if each.name == "mellea_rx"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({ModelOption.TOOLS: [{"type": "function"}]}, "ModelOption.TOOLS"),
            ({ModelOption.TOOL_CHOICE: "auto"}, "ModelOption.TOOL_CHOICE"),
            ({"tools": [{}]}, "tools"),
            ({"n": 2}, "'n'"),
            ({ModelOption.THINKING: "high"}, "ModelOption.THINKING"),
            ({ModelOption.CONTEXT_WINDOW: 4096}, r"LocalBackend\(context_window=4096\)"),
        ],
    )
    def test_options_that_it_does_not_have(
        self, tiny_model: Path, options: dict[Any, Any], named: str
    ):
        backend = LocalBackend(tiny_model)
        with pytest.raises(OptionError, match=named):
            backend.check(Options(options))
        with pytest.raises(OptionError, match=named):
            ask(backend, "hello", options).wait()

    def test_options_that_it_has(self, tiny_model: Path):
        options = {ModelOption.CONTEXT_WINDOW: 512, ModelOption.THINKING: False, TOKENS: 2}
        backend = LocalBackend(tiny_model, model_options={ModelOption.CONTEXT_WINDOW: 1024})
        assert backend.context_window == 1024
        assert ask(backend, "hello", options).wait().text
        with pytest.raises(BadRequestError, match="1024"):
            ask(backend, "ba " * 2000).wait()

    def test_options_in_the_constructor_are_checked(self, tiny_model: Path):
        with pytest.raises(OptionError, match=r"ModelOption\.TOOLS"):
            LocalBackend(tiny_model, model_options={ModelOption.TOOLS: [{}]})
        for wrong in ({"parallel": 0}, {"context_window": -1}, {"threads": True}, {"batch": 1.5}):
            with pytest.raises(InvalidInputError, match=next(iter(wrong))):
                LocalBackend(tiny_model, **wrong)

    def test_a_prompt_that_is_too_long_names_both_numbers(self, tiny_model: Path):
        with pytest.raises(BadRequestError, match=r"\d{4} tokens.*256.*context_window") as caught:
            ask(LocalBackend(tiny_model, context_window=256), "ba " * 2000).wait()
        assert caught.value.status == 400

    @pytest.mark.parametrize(
        "wrong",
        [
            {"top_p": "hot"},
            {"response_format": {"type": "nonsense"}},
            {"top_k": "many"},
        ],
    )
    def test_what_llama_cpp_refuses_is_a_bad_request(self, tiny_model: Path, wrong: dict[str, Any]):
        backend = LocalBackend(tiny_model)
        with pytest.raises(BadRequestError):
            ask(backend, "hello", wrong).wait()
        assert ask(backend, "hello").wait().text

    def test_a_bad_schema_is_a_bad_request(self, tiny_model: Path):
        schema = {"type": "object", "properties": {"a": {"type": "nonsense"}}}
        with pytest.raises(BadRequestError, match="nonsense"):
            ask(LocalBackend(tiny_model), "hello", schema=schema).wait()

    def test_a_consumer_that_raises_ends_the_call(self, tiny_model: Path):
        def push(chunk: Chunk) -> None:
            raise ValueError("mine")

        source = LocalBackend(tiny_model).stream(request_for("hello", {TOKENS: 1000}))

        async def main() -> None:
            for take in (partial(drain, backend="local"), _subscribe):
                with pytest.raises(ValueError, match="mine"):
                    await engine().run(partial(take, source, push))
            await until(lambda: generating() == 0)

        run(main)

    def test_files_that_are_no_model(self, tiny_model: Path, tmp_path: Path):
        damaged = tmp_path / "damaged.gguf"
        damaged.write_bytes(tiny_model.read_bytes()[:5000])
        backend = LocalBackend(damaged)
        for _ in range(2):
            with pytest.raises(ModelFileError, match=r"damaged\.gguf"):
                ask(backend, "hello").wait()
        damaged.write_bytes(tiny_model.read_bytes())
        assert ask(backend, "hello").wait().text
        with pytest.raises(ModelFileError, match="there is no model file"):
            LocalBackend(tmp_path / "missing.gguf")


async def _subscribe(source: Any, push: Callable[[Chunk], None]) -> None:
    """Like `drain`, for a `push` that raises into the producer."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    subscription = source.subscribe(push, done.set_exception, lambda: done.set_result(None))
    try:
        await done
    finally:
        subscription.dispose()
