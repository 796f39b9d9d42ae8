"""The embedded model: answers, slots, cancelling, options and errors."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mellea_rx.backends.llama_cpp import LocalBackend
from mellea_rx.backends.llama_model import ModelSetup, shared_model
from mellea_rx.core.backend import Backend
from mellea_rx.core.chunk import Chunk
from mellea_rx.core.engine import engine
from mellea_rx.core.options import ModelOption, Options
from mellea_rx.core.request import Request, WireMessage
from mellea_rx.core.source import forward
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.errors import (
    BadRequestError,
    GenerationCancelledError,
    GenerationTimeoutError,
    InvalidInputError,
    MelleaRxError,
    ModelFileError,
    OptionError,
)

LONG = "Tell me all about the sea. " * 170  # 1,200 tokens
TOKENS, WARMTH = ModelOption.MAX_NEW_TOKENS, ModelOption.TEMPERATURE


def request_for(text: str, options: dict[Any, Any], **more: Any) -> Request:
    messages = (WireMessage("system", "You are a helpful assistant."), WireMessage("user", text))
    return Request(messages, Options({WARMTH: 0, **options}), **more)


def ask(
    backend: Backend, text: str, options: dict[Any, Any] | None = None, **more: Any
) -> ModelOutputThunk[str]:
    request = request_for(text, options or {TOKENS: 8}, **more)
    return ModelOutputThunk(lambda g: forward(backend.stream(request), g.push), live=True)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(90):
            await main()

    asyncio.run(limited())


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - threads and memory have no event
        await asyncio.sleep(0)


def generating() -> int:
    return sum(thread.name == "mellea-rx-generation" for thread in threading.enumerate())


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
            WireMessage("user", "What is the capital of France?"),
            WireMessage("assistant", "The capital of France is the city of"),
        )
        request = Request(messages, Options({TOKENS: 4, WARMTH: 0}))
        backend = LocalBackend(real_model)

        async def main() -> None:
            thunk: ModelOutputThunk[str] = ModelOutputThunk(
                lambda g: forward(backend.stream(request), g.push)
            )
            assert (await thunk).lstrip().startswith("Paris")

        run(main)

    def test_text_comes_in_pieces_and_no_chunk_is_empty_but_the_last(self, tiny_model: Path):
        chunks: list[Chunk] = []

        async def main() -> None:
            source = LocalBackend(tiny_model).stream(request_for("hello", {TOKENS: 20}))
            await engine().run(lambda: forward(source, chunks.append))

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
        assert isinstance(backend, Backend)
        assert backend.name == "local"
        assert asyncio.run(backend.models()) == ["tiny"]


class TestSlots:
    def test_six_calls_on_two_slots_are_two_at_once_and_in_turn(self, tiny_model: Path):
        backend = LocalBackend(tiny_model, parallel=2)
        running: set[int] = set()
        most = 0
        order: list[int] = []

        async def one(number: int) -> None:
            nonlocal most

            def push(chunk: Chunk) -> None:
                nonlocal most
                if number not in running and chunk.text:
                    running.add(number)
                    order.append(number)
                if chunk.finish_reason:
                    running.discard(number)
                most = max(most, len(running), generating())

            await forward(backend.stream(request_for(f"{number}", {TOKENS: 200})), push)

        async def main() -> None:
            await engine().run(lambda: asyncio.gather(*(one(number) for number in range(6))))

        run(main)
        assert most == 2
        assert sorted(order[:2]) == [0, 1]
        assert sorted(order) == [0, 1, 2, 3, 4, 5]

    def test_cancelling_frees_the_slot_at_once(self, tiny_model: Path):
        backend = LocalBackend(tiny_model, parallel=1, context_window=8192)

        async def main() -> None:
            first = ask(backend, "hello", {TOKENS: 8000})
            assert await first.astream()
            first.cancel()
            began = time.monotonic()
            assert await ask(backend, "hello", {TOKENS: 1})
            assert time.monotonic() - began < 0.2
            assert first.cancelled
            assert first.text

        run(main)

    @pytest.mark.model
    def test_cancelling_the_real_model_frees_the_slot(self, real_model: Path):
        backend = LocalBackend(real_model, parallel=1)

        async def main() -> None:
            first = ask(backend, "Tell me a story.", {TOKENS: 2000})
            assert await first.astream()
            first.cancel()
            began = time.monotonic()
            await until(lambda: generating() == 0)
            assert time.monotonic() - began < 0.2
            assert await ask(backend, "Hello!")

        run(main)

    @pytest.mark.model
    def test_cancelling_before_the_first_token_frees_the_slot(self, real_model: Path):
        """Of 3 s of prompt, at most the block that is being computed is still waited for."""
        backend = LocalBackend(real_model, parallel=1)

        async def main() -> None:
            await ask(backend, "Hello!", {TOKENS: 1})
            await until(lambda: generating() == 0)
            first = ask(backend, LONG)
            await until(lambda: generating() == 1)
            first.cancel()
            began = time.monotonic()
            await until(lambda: generating() == 0)
            assert time.monotonic() - began < 1.0
            assert first.text == ""
            assert await ask(backend, "Hello!")

        run(main)

    @pytest.mark.model
    def test_a_stop_in_the_middle_of_a_prompt_comes_with_its_next_block(self, real_model: Path):
        seen: list[int] = []

        async def main() -> None:
            model = shared_model(ModelSetup(str(real_model), 1, 2048, None, 64))
            body = {
                "messages": [{"role": "user", "content": LONG}],
                "stream": True,
                "return_progress": True,
            }
            second_block = asyncio.Event()

            def take(answer: Any) -> None:
                seen.append(answer["prompt_progress"]["processed"])
                if len(seen) == 3:
                    second_block.set()

            call = await model.start(body, take)
            await second_block.wait()
            call.stop()
            await call.ended

        run(lambda: engine().run(main))
        assert len(seen) == 3
        assert seen[-1] <= 128

    def test_a_cancelled_call_in_the_queue_never_starts(self, tiny_model: Path):
        backend = LocalBackend(tiny_model, parallel=1)

        async def main() -> None:
            first = ask(backend, "hello", {TOKENS: 1000})
            assert await first.astream()
            queued, next_one = ask(backend, "hello"), ask(backend, "hello")
            queued.cancel()
            await first
            assert await next_one
            with pytest.raises(GenerationCancelledError):
                await queued
            assert queued.text == ""
            await until(lambda: generating() == 0)

        run(main)

    def test_waiting_in_the_queue_does_not_count_as_silence(self, tiny_model: Path):
        backend = LocalBackend(tiny_model, parallel=1, context_window=8192)

        async def main() -> None:
            first = ask(backend, "hello", {TOKENS: 4000})
            assert await first.astream()
            options = {TOKENS: 2, ModelOption.STREAM_TIMEOUT: 0.5}
            assert await ask(backend, "hello", options)

        run(main)

    @pytest.mark.model
    def test_silence_has_a_limit(self, real_model: Path):
        backend = LocalBackend(real_model, batch=2048)

        async def main() -> None:
            await ask(backend, "Hello!", {TOKENS: 1})
            with pytest.raises(GenerationTimeoutError, match="the embedded model"):
                await ask(backend, LONG, {ModelOption.STREAM_TIMEOUT: 0.2})

        run(main)


class TestLife:
    def test_equal_backends_share_a_model_and_the_first_calls_its_load(self, tiny_model: Path):
        one, two = LocalBackend(tiny_model), LocalBackend(os.path.relpath(tiny_model))
        other = LocalBackend(tiny_model, parallel=2)

        async def main() -> None:
            await asyncio.gather(*(ask(backend, "hello") for backend in (one, two, other, one)))

        run(main)
        assert one._use is not None
        assert two._use is not None
        assert other._use is not None
        assert one._use.model is two._use.model
        assert one._use.model is not other._use.model

    def test_a_dropped_backend_unloads_its_model(self, tiny_model: Path):
        async def main() -> None:
            backend = LocalBackend(tiny_model, parallel=3)
            await ask(backend, "hello")
            assert backend._use is not None
            model = weakref.ref(backend._use.model)
            del backend
            gc.collect()
            await until(lambda: model() is None)

        run(main)

    def test_close_ends_what_runs_and_a_later_call_loads_again(self, tiny_model: Path):
        backend = LocalBackend(tiny_model, parallel=1, context_window=8192)
        other = LocalBackend(tiny_model, parallel=1, context_window=8192)

        async def main() -> None:
            backend.close()
            running = ask(backend, "hello", {TOKENS: 8000})
            assert await running.astream()
            queued, others = ask(backend, "hello"), ask(other, "hello")
            use = backend._use
            assert use is not None
            await until(lambda: len(use._tasks) == 2)
            backend.close()
            backend.close()
            for ended in (running, queued):
                with pytest.raises(GenerationCancelledError, match="closed"):
                    await ended
            assert running.text
            assert await others
            assert await ask(backend, "hello")

        run(main)

    def test_backends_that_come_and_go_leave_no_thread(self, tiny_model: Path, linux: None):
        def threads() -> int:
            return len(os.listdir("/proc/self/task"))

        async def once() -> None:
            await ask(LocalBackend(tiny_model, parallel=1), "hello")

        async def main() -> None:
            for _ in range(3):
                await once()
            gc.collect()
            await until(lambda: generating() == 0)
            before = threads()
            for _ in range(40):
                await once()
            gc.collect()
            await until(lambda: threads() <= before)

        run(main)

    def test_no_door_is_left_open(self, tiny_model: Path, linux: None):
        """llama.cpp's server listens while it loads: nobody may find it."""

        backend = LocalBackend(tiny_model, parallel=5)
        ask(backend, "hello").wait()
        mine = {os.readlink(f"/proc/self/fd/{fd}") for fd in _descriptors()}
        for table in ("tcp", "tcp6"):
            for row in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
                fields = row.split()
                assert not (fields[3] == "0A" and f"socket:[{fields[9]}]" in mine), row
        paths = [
            row.split()[7]
            for row in Path("/proc/self/net/unix").read_text().splitlines()[1:]
            if len(row.split()) > 7 and f"socket:[{row.split()[6]}]" in mine
        ]
        assert [path for path in paths if os.path.exists(path)] == []


def _descriptors() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")]


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
            {"top_k": object()},
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
            raise MelleaRxError("mine")

        source = LocalBackend(tiny_model).stream(request_for("hello", {TOKENS: 1000}))

        async def main() -> None:
            with pytest.raises(MelleaRxError, match="mine"):
                await engine().run(lambda: _collect(source, push))
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


async def _collect(source: Any, push: Callable[[Chunk], None]) -> None:
    """Like `forward`, for a `push` that raises into the producer."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    subscription = source.subscribe(push, done.set_exception, lambda: done.set_result(None))
    try:
        await done
    finally:
        subscription.dispose()
