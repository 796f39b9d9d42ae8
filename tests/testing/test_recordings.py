"""Recordings: requests and answers, saved and replayed offline with their timing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TypeAlias

import pytest
from reactivex import Observable

from mellea_rx import (
    ChatContext,
    Chunk,
    GenerationFailedError,
    IdleTimeoutError,
    Image,
    InvalidInputError,
    MelleaRxError,
    MelleaSession,
    ModelOption,
    ModelOutputThunk,
    OpenAIBackend,
    OptionError,
    RateLimitError,
    RecordingError,
    ScriptedBackend,
    ServerError,
    ToolCall,
    UnexpectedError,
    Usage,
)
from mellea_rx.backends import Backend, Capabilities, Options, Request, RequestMessage
from mellea_rx.backends.scripted import Answer
from mellea_rx.core.interfaces.backend import is_backend
from mellea_rx.testing import (
    Probe,
    Recorder,
    VirtualTime,
    assert_marbles,
    breaking,
    dripping,
    failing,
    marbles,
    replay,
    run_virtual,
    stalling,
)
from tests.core.hand import PATIENCE
from tests.support.server_process import ServerProcess

Outcome: TypeAlias = "tuple[str, MelleaRxError | None]"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def record(
    path: Path, *answers: Answer, prompts: tuple[str, ...] = ("Go.",), **how: object
) -> None:
    """Record the answers of a scripted backend to these prompts, one after another."""

    async def main() -> None:
        m = MelleaSession(Recorder(ScriptedBackend(*answers), path), **how)
        for prompt in prompts:
            await outcome(await m.ainstruct(prompt))

    run_virtual(main())


async def ask(backend: Backend, prompt: str = "Go.", **options: object) -> ModelOutputThunk[str]:
    named = {ModelOption[name]: value for name, value in options.items()}
    return await MelleaSession(backend).ainstruct(prompt, model_options=named)


async def outcome(thunk: ModelOutputThunk[str]) -> Outcome:
    await thunk._view().settled()
    return thunk.text, thunk.error


def replayed(
    path: Path, prompt: str = "Go.", **options: object
) -> tuple[str, MelleaRxError | None]:
    async def main() -> tuple[str, MelleaRxError | None]:
        return await outcome(await ask(replay(path), prompt, **options))

    return run_virtual(main())


def test_a_run_is_played_again_with_its_timing(path: Path) -> None:
    drawn = "-a---b--(c|)"
    record(path, marbles(drawn, frame=10))

    async def main() -> None:
        thunk = await ask(replay(path), STREAM=True)
        await assert_marbles(thunk, drawn, frame=10)
        assert thunk.duration == 80.0

    run_virtual(main())


@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 30.0), (2.0, 15.0), (0.5, 60.0), (0, 0.0)])
def test_it_can_be_played_faster_slower_or_without_pauses(
    path: Path, speed: float, seconds: float
) -> None:
    record(path, dripping("a b c", every=10))

    async def main() -> tuple[str, float]:
        thunk = await ask(replay(path, speed=speed))
        return await thunk.avalue(), thunk.duration

    assert run_virtual(main()) == ("a b c", seconds)


def test_everything_of_a_chunk_is_kept(path: Path) -> None:
    said = Chunk(
        "é\u2028😀", "hm", (ToolCall("add", {"a": [1, None]}, "c1"),), Usage(3, 4), "x", "m"
    )
    record(path, [said, Chunk("half \ud83d")])

    async def main() -> list[Chunk]:
        probe: Probe[Chunk] = Probe()
        probe.to(replay(path).stream(Request((RequestMessage("user", "Go."),))))
        await probe.end()
        return probe.items

    first, second, *_ = run_virtual(main())
    assert (first, second) == (said, Chunk("half \ud83d"))


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (failing("a b c", after=2), GenerationFailedError, "a b "),
        (failing("a", after=0, error=lambda: ServerError("it broke", status=503)), ServerError, ""),
        (stalling("a b", after=1), IdleTimeoutError, "a "),
        (failing("a", after=1, error=lambda: ZeroDivisionError("oops")), UnexpectedError, "a"),
    ],
)
def test_failures_are_played_again_each_time_anew(
    path: Path, answer: Answer, kind: type[MelleaRxError], text: str
) -> None:
    record(path, answer)

    async def main() -> None:
        backend = replay(path)
        outcomes = [await outcome(await ask(backend)) for _ in range(2)]
        for said, error in outcomes:
            assert (said, type(error)) == (text, kind)
            assert error is not None
            assert error.text == text
            assert getattr(error, "status", 503) == 503
        assert outcomes[0][1] is not outcomes[1][1]

    run_virtual(main())


def test_a_timeout_can_be_tried_on_a_recording(path: Path) -> None:
    record(path, dripping("a b", every=100))
    text, error = replayed(path, STREAM_TIMEOUT=30)
    assert text == ""
    assert isinstance(error, TimeoutError)
    assert "the recording" in str(error)


def test_a_cancelled_run_says_so_where_it_ends(path: Path) -> None:
    async def main() -> None:
        thunk = await ask(Recorder(ScriptedBackend(dripping("a b c", every=10)), path))
        await asyncio.sleep(25)
        thunk.cancel()
        await asyncio.sleep(0)

    run_virtual(main())
    text, error = replayed(path)
    assert text == "a b "
    assert isinstance(error, RecordingError)
    assert "after 25 s: it was cancelled" in str(error)


def test_what_was_asked_several_times_is_played_in_that_order(path: Path) -> None:
    record(path, "one", "other", "two", "three", prompts=("Go.", "Else.", "Go.", "Go."))

    async def main() -> list[str]:
        m = MelleaSession(replay(path))
        asked = ("Go.", "Go.", "Else.", "Else.", "Go.", "Go.")
        return [await (await m.ainstruct(prompt)).avalue() for prompt in asked]

    assert run_virtual(main()) == ["one", "two", "other", "other", "three", "three"]


def test_a_whole_chat_is_matched_by_its_history(path: Path) -> None:
    def chat(backend: Backend) -> list[str]:
        async def main() -> list[str]:
            m = MelleaSession(backend, ctx=ChatContext())
            return [str(await (await m.achat(text))) for text in ("I am Ada.", "Who am I?")]

        return run_virtual(main())

    said = chat(Recorder(ScriptedBackend("Hello, Ada.", "You are Ada."), path))
    assert chat(replay(path)) == said
    _, error = replayed(path, "Who am I?")
    assert "they differ in: messages" in str(error)


def test_how_an_answer_is_read_is_no_part_of_what_is_asked(path: Path) -> None:
    record(path, "a b")
    assert replayed(path, STREAM=True, STREAM_TIMEOUT=7) == ("a b", None)
    _, error = replayed(path, TEMPERATURE=0.5)
    assert "they differ in: options.@temperature" in str(error)


def test_an_unknown_request_names_the_nearest_and_how_to_record_it(path: Path) -> None:
    record(path, "a", prompts=("A haiku about rain.", "The capital of France?"))
    _, error = replayed(path, "A haiku about snow.")
    assert isinstance(error, RecordingError)
    told = str(error).splitlines()
    assert told[0] == f"{path} has no recording of this request: 'A haiku about snow.'"
    assert told[1:3] == [
        "  the most similar request in it: 'A haiku about rain.'",
        "  they differ in: messages[0].content",
    ]
    assert "Recorder(backend, path)" in told[3]


def test_a_backends_own_options_are_part_of_its_requests(path: Path) -> None:
    options = {ModelOption.TEMPERATURE: 0, "top_k": 3}
    with MelleaSession(Recorder(ScriptedBackend("a", model_options=options), path)) as m:
        m.instruct("Go.")
    assert replay(path).model_options.get(ModelOption.TEMPERATURE) == 0
    assert MelleaSession(replay(path)).instruct("Go.").value == "a"


def test_a_replay_says_what_the_recorded_backend_said_of_itself(path: Path) -> None:
    backend = Recorder(ScriptedBackend("a", model_id="m"), path)
    assert is_backend(backend)
    assert (backend.name, backend.capabilities) == ("scripted", ScriptedBackend.capabilities)
    MelleaSession(backend).instruct("Go.")
    player = replay(path)
    assert is_backend(player)
    assert (player.name, player.model) == ("scripted", "m")
    assert player.capabilities == Capabilities(True, True, True, True, True)
    assert asyncio.run(player.models()) == ["m"]
    assert str(path) in repr(player)
    assert str(path) in repr(backend)


class Late:
    """A backend that chooses another backend in its first call."""

    name = "late"
    model_options = Options()

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def resolve(self) -> Backend:
        """The chosen backend."""
        return self._backend

    def check(self, options: Options) -> None:
        """Accept every option."""

    def stream(self, request: Request) -> Observable[Chunk]:
        """Never called."""
        raise NotImplementedError

    def close(self) -> None:
        """Do nothing."""


def test_a_backend_that_decides_late_is_recorded_as_what_it_became(path: Path) -> None:
    m = MelleaSession(Recorder(Late(ScriptedBackend("a", "b", model_id="m")), path))
    assert [m.instruct("Go.").value for _ in range(2)] == ["a", "b"]
    player = replay(path)
    assert (player.name, player.model) == ("scripted", "m")
    assert player.capabilities == ScriptedBackend.capabilities
    assert MelleaSession(player).instruct("Go.").value == "a"


def test_tries_are_recorded_and_played_one_by_one(path: Path) -> None:
    slow = failing("", after=0, error=lambda: RateLimitError("slower", status=429, retry_after=20))
    record(path, slow, slow, "a")
    assert len(path.read_text("utf-8").splitlines()) == 4

    async def main() -> tuple[str, float]:
        thunk = await ask(replay(path))
        return await thunk.avalue(), thunk.duration

    assert run_virtual(main()) == ("a", 40.0)
    _, error = replayed(path, RETRIES=0)
    assert isinstance(error, RateLimitError)
    assert (error.status, error.retry_after, error.is_transient) == (429, 20.0, True)


def test_a_recorder_refuses_what_its_backend_refuses(path: Path) -> None:
    backend = Recorder(OpenAIBackend("m", base_url="http://localhost:9"), path)
    with pytest.raises(OptionError, match="CONTEXT_WINDOW"):
        MelleaSession(backend, model_options={ModelOption.CONTEXT_WINDOW: 64})
    backend.close()


def test_no_key_is_in_the_file(path: Path, server: ServerProcess) -> None:
    server.script("m", chunks=["a"])
    key = "sk-very-secret"
    server.script("bad", status=401, body={"error": {"message": f"bad key {key}"}})
    for model in ("m", "bad"):
        backend = OpenAIBackend(model, base_url=server.url, api_key=key)
        hidden = {"extra_headers": {"X-Auth": key}, "api_key": key, "nested": {"password": key}}
        with MelleaSession(Recorder(backend, path), model_options=hidden) as m:
            thunk = asyncio.run(m.ainstruct("Go."))
            assert wait_for_the_end(thunk)
        written = path.read_text("utf-8")
        assert "Go." in written
        assert key not in written


def wait_for_the_end(thunk: ModelOutputThunk[str]) -> bool:
    try:
        thunk.wait(PATIENCE)
    except MelleaRxError:
        pass
    return not thunk._view().is_running


def test_a_masked_request_is_found_by_any_key(path: Path) -> None:
    record(path, "a", model_options={"api_key": "sk-1"})

    async def main() -> str:
        m = MelleaSession(replay(path), model_options={"api_key": "sk-2"})
        return await (await m.ainstruct("Go.")).avalue()

    assert run_virtual(main()) == "a"


def test_a_real_server_is_recorded_and_played_offline(path: Path, server: ServerProcess) -> None:
    server.script("m", chunks=["Once ", "upon ", "a time"])
    with MelleaSession(Recorder(OpenAIBackend("m", base_url=server.url), path)) as m:
        live = m.instruct("Go.")
    with VirtualTime() as time:
        thunk = time.run(ask(replay(path)))
        assert time.run(thunk.avalue()) == live.value == "Once upon a time"
        assert thunk.usage == live.usage
        assert thunk.model == live.model
    assert len(server.log("m")) == 1


def test_images_schema_and_tools_are_part_of_the_request(path: Path) -> None:
    def asked(data: bytes) -> Request:
        message = RequestMessage("user", "See?", images=(Image("image/png", data),))
        return Request((message,), schema={"type": "object", "enum": (1, 2)})

    async def text(backend: Backend, data: bytes) -> str:
        probe: Probe[Chunk] = Probe()
        probe.to(backend.stream(asked(data)))
        await probe.end()
        return probe.text or str(probe.error)

    assert run_virtual(text(Recorder(ScriptedBackend("a cat"), path), b"\x00\xff")) == "a cat"
    assert run_virtual(text(replay(path), b"\x00\xff")) == "a cat"
    assert "messages[0].images[0].data" in run_virtual(text(replay(path), b"\x01"))


def test_what_json_cannot_have_is_refused_at_the_door(path: Path) -> None:
    m = MelleaSession(Recorder(ScriptedBackend("a"), path))
    with pytest.raises(OptionError, match="'odd' cannot be sent: an object of type object"):
        m.instruct("Go.", model_options={"odd": object()})


def test_a_broken_answer_is_saved_once(path: Path) -> None:
    record(path, breaking("a b", after=1))
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) == 2
    heading, exchange = map(json.loads, lines)
    assert heading["mellea_rx_recording"] == 1
    assert exchange["failure"]["kind"] == "StreamInterruptedError"
    assert [chunk for _, chunk in exchange["chunks"]] == [{"text": "a "}]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        ("", "is empty"),
        ("not json\n", "line 1"),
        ('{"other": 1}\n', "line 1"),
        ('{"mellea_rx_recording": 99, "backend": "x"}\n', "format 99"),
        ('{"mellea_rx_recording": 1, "backend": "x"}\n{"chunks": 5}\n', "line 2"),
    ],
)
def test_what_is_no_recording_is_refused(path: Path, content: str | None, told: str) -> None:
    if content is not None:
        path.write_text(content, "utf-8")
    with pytest.raises(RecordingError, match=told):
        replay(path)


@pytest.mark.parametrize("speed", [-1, float("nan"), float("inf")])
def test_a_speed_that_is_none_is_refused(path: Path, speed: float) -> None:
    with pytest.raises(InvalidInputError, match="speed"):
        replay(path, speed=speed)


def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot be written"):
        Recorder(ScriptedBackend("a"), tmp_path / "missing" / "run.jsonl")
    with pytest.raises(InvalidInputError, match="needs a backend"):
        Recorder("ollama", tmp_path / "run.jsonl")  # type: ignore[arg-type]
