"""Images in prompts: recognized by their bytes, sent as each server takes them, never fetched."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from mellea_rx import (
    ChatContext,
    InvalidInputError,
    LocalBackend,
    MelleaSession,
    OllamaBackend,
    OpenAIBackend,
    ScriptedBackend,
)
from mellea_rx.backends import Capabilities, Request, RequestMessage
from mellea_rx.core.types.image import MAX_IMAGE_BYTES
from mellea_rx.stdlib.components import Image, Instruction, Message
from tests.core.hand import Recorder, soon
from tests.support.server_process import ServerProcess
from tests.support.tiny_llama import write_tiny_llama

PNG = b"\x89PNG\r\n\x1a\n and the picture"
JPEG = b"\xff\xd8\xff\xe0 and the picture"
WEBP = b"RIFF\x10\x00\x00\x00WEBPVP8 and the picture"
KINDS = {"image/png": PNG, "image/jpeg": JPEG, "image/webp": WEBP}
URL = "https://pictures.example/sea.png"


@pytest.fixture(scope="module")
def local_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of random weights; it is never loaded here."""
    return write_tiny_llama(tmp_path_factory.mktemp("models") / "tiny.gguf")


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("media_type", KINDS)
def test_a_picture_is_known_by_its_bytes(media_type: str, tmp_path: Path) -> None:
    data = KINDS[media_type]
    file = tmp_path / "picture.of-some-kind"
    file.write_bytes(data)
    expected = Image(media_type, data)
    text = in_base64(data)
    assert Image.from_bytes(data) == Image.from_bytes(bytearray(data)) == expected
    assert Image.from_file(file) == Image.from_file(str(file)) == expected
    assert Image.from_base64(text) == Image.from_base64(f"data:x;base64,{text}") == expected
    assert expected.address == f"data:{media_type};base64,{text}"
    assert "picture" not in repr(expected)


def test_a_url_stays_one() -> None:
    image = Image.from_url(URL)
    assert (image.url, image.address, image.data, image.media_type) == (URL, URL, b"", "")


@pytest.mark.parametrize(
    "given", [b"GIF89a...", b"%PDF-1.7", b"RIFF....WAVE", b"<svg>", b"BM", b"\x89PN"]
)
def test_any_other_kind_is_refused_by_name(
    given: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("photo.png")  # the message cuts a long path off
    file.write_bytes(given)
    words = r"photo\.png' is not a PNG, JPEG or WebP file: .*begins"
    with pytest.raises(InvalidInputError, match=words):
        Image.from_file(file)
    for make in (Image.from_bytes, lambda data: Image.from_base64(in_base64(data))):
        with pytest.raises(InvalidInputError, match="not a PNG, JPEG or WebP file"):
            make(given)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for wrong in (tmp_path / "gone.png", tmp_path, "a\0b", "x" * 5000):
        with pytest.raises(InvalidInputError, match="cannot be read"):
            Image.from_file(wrong)
    empty = tmp_path / "empty.png"
    empty.touch()
    with pytest.raises(InvalidInputError, match="is empty"):
        Image.from_file(empty)


def test_a_picture_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("large.png")  # the message cuts a long path off
    with file.open("wb") as sparse:
        sparse.write(PNG)
        sparse.truncate(MAX_IMAGE_BYTES + 1)
    with pytest.raises(InvalidInputError, match=r"large\.png' is larger than 20 MiB"):
        Image.from_file(file)
    with pytest.raises(InvalidInputError, match="larger than 20 MiB"):
        Image.from_bytes(PNG + bytes(MAX_IMAGE_BYTES))


@pytest.mark.parametrize(
    ("make", "given", "told"),
    [
        (Image.from_url, "ftp://x/y.png", "http:// or https://"),
        (Image.from_url, "file:///etc/passwd", "http:// or https://"),
        (Image.from_url, 5, "http:// or https://"),
        (Image.from_base64, "no base64!", "no base64"),
        (Image.from_base64, 5, "not int"),
        (Image.from_bytes, "text", "bytes, not str"),
    ],
)
def test_what_is_of_the_wrong_kind_is_refused(make: Any, given: Any, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        make(given)


def test_plain_values_are_taken_for_what_they_are(tmp_path: Path) -> None:
    file = tmp_path / "sea.png"
    file.write_bytes(PNG)
    given = [
        file,
        str(file),
        PNG,
        URL,
        f"data:image/png;base64,{in_base64(PNG)}",
        Image("", b"", URL),
    ]
    png, at = Image("image/png", PNG), Image(url=URL)
    assert Instruction("Go.", images=given).said()[0].images == (png, png, png, at, png, at)
    for one in (file, PNG, URL, png):
        assert len(Message("Go.", images=one).said()[0].images) == 1


@pytest.mark.parametrize(("images", "told"), [(5, "not int"), ([None], "not NoneType")])
def test_what_is_no_picture_is_refused(images: Any, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        MelleaSession(ScriptedBackend()).instruct("Go.", images=images)


# On the wire.


def test_ollama_gets_bare_base64(server: ServerProcess) -> None:
    server.script("m", chunks=["a"])
    with MelleaSession(OllamaBackend("m", base_url=server.url)) as m:
        m.instruct("What is it?", images=[PNG, JPEG])
    assert server.log("m")[0]["body"]["messages"] == [
        {"role": "user", "content": "What is it?", "images": [in_base64(PNG), in_base64(JPEG)]}
    ]


def test_openai_gets_content_parts_and_urls_as_they_are(server: ServerProcess) -> None:
    server.script("m", chunks=["a"])
    with MelleaSession(OpenAIBackend("m", base_url=server.url)) as m:
        m.chat("What is it?", images=[WEBP, URL])
    data_url = f"data:image/webp;base64,{in_base64(WEBP)}"
    assert server.log("m")[0]["body"]["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": data_url}},
                {"type": "image_url", "image_url": {"url": URL}},
            ],
        }
    ]


def test_a_picture_stays_in_the_history(server: ServerProcess) -> None:
    server.script("m", chunks=["a"])
    with MelleaSession(OllamaBackend("m", base_url=server.url), ChatContext()) as m:
        m.chat("What is it?", images=PNG)
        m.chat("And now?")
    first, _, last = server.log("m")[1]["body"]["messages"]
    assert first["images"] == [in_base64(PNG)]
    assert "images" not in last


class Blind(ScriptedBackend):
    """A backend that shows its model no pictures."""

    name = "blind"
    capabilities = Capabilities()


def test_a_backend_that_takes_no_pictures_is_named_at_the_door(local_model: Path) -> None:
    blind = Blind()
    for backend in (blind, LocalBackend(local_model)):
        with pytest.raises(InvalidInputError, match=f"'{backend.name}' takes no images"):
            MelleaSession(backend).instruct("Go.", images=PNG)
    assert blind.requests == ()


def test_a_url_is_refused_where_the_server_fetches_none(server: ServerProcess) -> None:
    m = MelleaSession(OllamaBackend("m", base_url=server.url))
    with pytest.raises(InvalidInputError, match=r"'ollama' takes no images by URL \(https://p"):
        m.instruct("Go.", images=URL)
    assert server.log() == []


def test_it_is_told_at_once_also_beside_a_running_call() -> None:
    async def main() -> None:
        first = await MelleaSession(ScriptedBackend("a", delay=0.01)).ainstruct("Go.")
        with pytest.raises(InvalidInputError, match="takes no images"):
            await MelleaSession(Blind()).ainstruct("{{x}}", user_variables={"x": first}, images=PNG)
        await soon(first.avalue())

    asyncio.run(main())


class Late(Blind):
    """A backend that decides in the call who does the work."""

    async def resolve(self) -> Blind:
        return Blind()


def test_a_backend_that_decides_late_refuses_in_the_call() -> None:
    with pytest.raises(InvalidInputError, match="takes no images"):
        MelleaSession(Late()).instruct("Go.", images=PNG)


@pytest.mark.parametrize("kind", ["ollama", "local"])
def test_a_request_made_by_hand_is_refused_too(
    kind: str, server: ServerProcess, local_model: Path
) -> None:
    backend: Any = OllamaBackend("m", base_url=server.url)
    if kind == "local":
        backend = LocalBackend(local_model)
    recorder = Recorder()
    request = Request((RequestMessage("user", "Go.", images=(Image.from_url(URL),)),))
    recorder.to(backend.stream(request))
    assert recorder.ended.wait(30)
    assert isinstance(recorder.error, InvalidInputError)
    assert server.log() == []
    backend.close()
