"""An unusable argument is refused by the call, by its name, with an error of its own class."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import reactivex as rx

from mellea_rx import (
    ChatContext,
    Image,
    InvalidInputError,
    LocalBackend,
    MelleaSession,
    ModelFileError,
    ModelOption,
    ModelOutputThunk,
    OllamaBackend,
    OpenAIBackend,
    OptionError,
    RecordingError,
    RequirementsNotMetError,
    ScriptedBackend,
    TemplateError,
    generative,
    start_session,
)
from mellea_rx.backends import Options, Request, RequestMessage
from mellea_rx.core.streams.chunk_source import drain
from mellea_rx.operators import fallback, race
from mellea_rx.stdlib.formats import as_format
from mellea_rx.stdlib.requirements import req
from mellea_rx.testing import replay
from tests.core.hand import PATIENCE
from tests.support.server_process import ServerProcess

HALF = "ab\ud83dc"
TOLD = r"a lone surrogate \(U\+D83D\) at character \d+, behind '.*ab'"


@pytest.fixture
def m() -> MelleaSession:
    return MelleaSession(ScriptedBackend("yes"))


@generative
def shout(text: str) -> str:
    """Say it aloud."""


ASKED: dict[str, Callable[[MelleaSession], Any]] = {
    "instruct": lambda m: m.instruct(HALF),
    "chat": lambda m: m.chat(HALF),
    "a variable": lambda m: m.instruct("Say {{x}}.", user_variables={"x": HALF}),
    "a requirement": lambda m: m.instruct("Go.", requirements=[HALF]),
    "an example": lambda m: m.instruct("Go.", icl_examples=[HALF]),
    "a prefix": lambda m: m.instruct("Go.", prefix=HALF),
    "grounding": lambda m: m.instruct("Go.", grounding_context={"a": HALF}),
    "a query": lambda m: m.query("some text", HALF),
    "a stub": lambda m: shout(m, text=HALF),
}


@pytest.mark.parametrize("how", ASKED)
def test_half_a_character_in_a_prompt_is_refused_with_its_place(m: MelleaSession, how: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"^.*prompt \((user|assistant)\) holds {TOLD}"):
        ASKED[how](m)
    assert m.backend.requests == ()


def test_half_a_character_beside_a_thunk_is_refused_where_it_is_read(m: MelleaSession) -> None:
    one = m.instruct("Go.")
    with pytest.raises(InvalidInputError, match=TOLD):
        m.instruct(f"{HALF} {{{{one}}}}", user_variables={"one": one})


def test_half_a_character_in_a_system_prompt_names_the_option(m: MelleaSession) -> None:
    with pytest.raises(OptionError, match=rf"^ModelOption.SYSTEM_PROMPT cannot be sent: {TOLD}"):
        m.instruct("Go.", model_options={ModelOption.SYSTEM_PROMPT: HALF})


def test_what_a_model_said_goes_on_whatever_it_is(server: ServerProcess) -> None:
    """Half a character of a model's own is no mistake of the user's."""
    for kind in (OllamaBackend, OpenAIBackend):
        server.script("m", chunks=["fine"])
        scripted = MelleaSession(ScriptedBackend(HALF), ChatContext())
        scripted.chat("Go.")
        with MelleaSession(kind("m", base_url=server.url), scripted.ctx) as session:
            assert session.chat("And on.").value == "fine"
            said = MelleaSession(ScriptedBackend(HALF)).instruct("Go.")
            told = session.instruct("Improve {{it}}.", user_variables={"it": said})
            assert told.value == "fine"
        assert "ab\ufffdc" in str(server.log("m")[0]["body"])


def test_a_request_made_by_hand_that_cannot_be_sent_says_where(server: ServerProcess) -> None:
    backend = OpenAIBackend("m", base_url=server.url)
    asked = Request((RequestMessage("user", "Go."),), schema={"enum": [HALF]})
    thunk: ModelOutputThunk[str] = ModelOutputThunk(
        lambda generation: drain(backend.stream(asked), generation.push, backend.name)
    )
    with pytest.raises(InvalidInputError, match=r"cannot be sent: at \['response_format'\].*D83D"):
        thunk.wait(PATIENCE)
    backend.close()


@dataclass
class Point:
    x: int


BAD: dict[str, tuple[Any, str]] = {
    "an object": (object(), "an object of type object, which JSON does not have"),
    "an object within": ({"a": [Point(1)]}, r"at \['a'\]\[0\]: an object of type Point"),
    "bytes": (b"x", "an object of type bytes"),
    "a decimal": (Decimal(1), "an object of type Decimal"),
    "a function": (len, "an object of type builtin_function_or_method"),
    "a set": ({1}, "an object of type set"),
    "nan": (float("nan"), "nan, which JSON does not have"),
    "infinity within": ([1, {"b": float("inf")}], r"at \[1\]\['b'\]: inf"),
    "a surrogate": (HALF, TOLD),
    "a name": ({1: 2}, "1 is no name in JSON"),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize(
    "make", [OllamaBackend, partial(OpenAIBackend, api_key="key"), ScriptedBackend]
)
def test_an_option_that_cannot_be_sent_is_refused_by_its_name(make: Any, what: str) -> None:
    value, told = BAD[what]
    with pytest.raises(OptionError, match=rf"^model option 'mirostat' cannot be sent: {told}"):
        make(model_options={"mirostat": value})
    with pytest.raises(OptionError, match=r"^model option 'mirostat' cannot be sent: "):
        MelleaSession(make()).instruct("Go.", model_options={"mirostat": value})


@pytest.mark.parametrize(
    "options",
    [
        {ModelOption.STOP_SEQUENCES: ["ok", HALF]},
        {ModelOption.THINKING: HALF},
        {ModelOption.TOOL_CHOICE: {"type": float("nan")}},
        {ModelOption.SEED: 2**64},
        {ModelOption.TEMPERATURE: float("nan")},
        {ModelOption.TEMPERATURE: float("inf")},
        {ModelOption.STREAM_TIMEOUT: float("nan")},
        {ModelOption.TOTAL_TIMEOUT: float("inf")},
    ],
)
def test_a_standard_option_that_cannot_be_sent_is_refused_by_its_name(
    options: dict[ModelOption, Any],
) -> None:
    with pytest.raises(OptionError, match=f"^{next(iter(options))} "):
        Options(options)


def deep(levels: int, **leaf: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer", **leaf}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


@pytest.mark.parametrize("levels", [60, 300, 3000])
def test_a_schema_that_is_too_deep_is_refused(m: MelleaSession, levels: int) -> None:
    with pytest.raises(InvalidInputError, match=r"^format= has a JSON schema .* nested too deeply"):
        m.instruct("Go.", format=deep(levels))


def test_a_deep_schema_is_taken_or_refused_also_on_a_deep_stack(m: MelleaSession) -> None:
    def within(frames: int) -> None:
        if frames:
            within(frames - 1)
            return
        try:
            as_format(deep(40))
        except InvalidInputError:
            pass

    for frames in range(0, 800, 100):
        within(frames)


def test_a_schema_of_thirty_levels_is_used(server: ServerProcess) -> None:
    text = '{"a":' * 30 + "1" + "}" * 30
    for kind in (OllamaBackend, OpenAIBackend):
        server.script("m", chunks=[text])
        with MelleaSession(kind("m", base_url=server.url)) as session:
            assert session.instruct("Go.", format=deep(30)).value == text


def test_a_deep_type_is_refused() -> None:
    kind: Any = int
    for _ in range(200):
        kind = list[kind]
    with pytest.raises(InvalidInputError):
        as_format(kind)


def test_a_tools_description_that_cannot_be_sent_names_the_tools(m: MelleaSession) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": deep(60)}}
    with pytest.raises(OptionError, match=r"^ModelOption.TOOLS cannot be sent: .* levels deep"):
        m.instruct("Go.", model_options={ModelOption.TOOLS: [tool]})


@pytest.fixture(params=["pipe", "folder", "socket", "device"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A path that is no regular file, and what messages call it."""
    place = tmp_path / "odd.jinja"
    kind: str = request.param
    if kind == "pipe":
        os.mkfifo(place)
        yield place, "it is a pipe"
    elif kind == "folder":
        place.mkdir()
        yield place, "it is a folder"
    elif kind == "device":
        place.symlink_to("/dev/zero")
        yield place, "it is a device"
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.relpath(place))
            yield place, "it is a socket"


def test_an_image_that_is_no_regular_file_is_refused(
    m: MelleaSession, odd: tuple[Path, str]
) -> None:
    path, told = odd
    with pytest.raises(InvalidInputError, match=told):
        Image.from_file(path)
    with pytest.raises(InvalidInputError, match=told):
        m.instruct("Look.", images=[path])


def test_a_template_that_is_no_regular_file_is_refused(
    tmp_path_factory: pytest.TempPathFactory, odd: tuple[Path, str]
) -> None:
    folder = tmp_path_factory.mktemp("templates")
    (folder / "message.jinja").symlink_to(odd[0])
    with pytest.raises(TemplateError, match=rf"message\.jinja\): {odd[1]}"):
        MelleaSession(ScriptedBackend(), templates=folder)


def test_a_recording_or_a_model_that_is_no_regular_file_is_refused(odd: tuple[Path, str]) -> None:
    path, told = odd
    with pytest.raises(RecordingError, match=told):
        replay(path)
    with pytest.raises(ModelFileError, match=told):
        LocalBackend(path)


def test_what_a_model_said_is_escaped_in_the_reasons_of_a_message() -> None:
    judged = MelleaSession(ScriptedBackend("An answer.", "red\x1b[2J\u202e\nflag"))
    check = req("It is green.", output_to_bool=lambda text: "green" in text)
    with pytest.raises(RequirementsNotMetError) as caught:
        judged.instruct("Go.", requirements=[check], require=True)
    assert r"red\x1b[2J\u202e" in str(caught.value)
    assert not {"\x1b", "\u202e"} & set(str(caught.value))


WRONG_TYPES: dict[str, Callable[[], object]] = {
    "model_id of LocalBackend": lambda: LocalBackend(3),  # type: ignore[arg-type]
    "model_id of OllamaBackend": lambda: OllamaBackend(3),  # type: ignore[arg-type]
    "model_id of OpenAIBackend": lambda: OpenAIBackend(3, api_key="k"),  # type: ignore[arg-type]
    "model_id of auto": lambda: start_session("auto", 3),  # type: ignore[arg-type]
    "model_id of ScriptedBackend": lambda: ScriptedBackend(model_id=3),  # type: ignore[arg-type]
    "delay of ScriptedBackend": lambda: ScriptedBackend(delay="x"),  # type: ignore[arg-type]
    "accept of race": lambda: race(rx.of("a"), accept=3),  # type: ignore[arg-type]
    "on of fallback": lambda: fallback(rx.of("a"), on=3),  # type: ignore[arg-type]
    "turns of ChatContext": lambda: ChatContext(3),  # type: ignore[arg-type]
    "turns of another ChatContext": lambda: ChatContext((3,)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", WRONG_TYPES)
def test_a_value_of_a_wrong_type_is_refused_by_the_name_of_its_parameter(name: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"^{name.split()[0]} must be .*(int|str|3)"):
        WRONG_TYPES[name]()
