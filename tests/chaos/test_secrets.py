"""No key can be read anywhere, whatever a server echoes, and wherever a call fails."""

from __future__ import annotations

import asyncio
import itertools
import re
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mellea_rx import (
    InvalidInputError,
    MelleaRxError,
    MelleaSession,
    ModelOption,
    OllamaBackend,
    OpenAIBackend,
    start_session,
)
from mellea_rx.backends import register_backend
from mellea_rx.backends.auto import AutoBackend
from mellea_rx.backends.registry import create_backend
from mellea_rx.wire.redaction import Redactor, Secret
from tests.chaos.frames import chunked, frame, head, said
from tests.chaos.trial import BACKENDS, KEY, ONCE, Trial, chain, logged, printed
from tests.support.server_process import ServerProcess

ECHOES = {
    "as it is": KEY,
    "percent-encoded": quote(KEY, safe=""),
    "percent-encoded, small": quote(KEY, safe="").lower(),
    "as a form": quote_plus(KEY),
    "escaped": KEY.replace("/", "\\/"),
    "in Base64": b64encode(KEY.encode()).decode(),
    "in Base64, with more": b64encode(f"Bearer {KEY}".encode()).decode(),
    "in Base64 for addresses": urlsafe_b64encode(f"a{KEY}?".encode()).decode(),
    "its beginning": KEY[:12],
    "its end": KEY[-12:],
    "its middle": KEY[5:18],
    "twice": KEY + KEY,
}


def hidden(told: str) -> None:
    """Check that no part of the key is in a text, plain or in Base64."""
    for text in re.findall(r"[\w+/-]{8,}", told):
        coded = text.replace("-", "+").replace("_", "/")
        for at in range(4):  # the groups of four may begin anywhere
            group = coded[at : at + (len(coded) - at) // 4 * 4]
            assert KEY[4:12].encode() not in b64decode(group)
    for at in range(len(KEY) - 8):
        assert KEY[at : at + 8] not in told


def bodies(wire: str, echo: str) -> dict[str, dict[str, Any]]:
    """All places where a server can echo it."""
    message = f"bad key {echo} given"
    return {
        "a status": {"status": 401, "body": {"error": {"message": message}}},
        "a status with text": {"status": 403, "body": message},
        "a status with a list": {"status": 500, "body": [message]},
        "a cut body": {"status": 400, "body": "x" * 190 + echo},
        "a frame": {"raw_lines": [said(wire, "a"), frame(wire, {"error": message})]},
        "a frame with an object": {"raw_lines": [frame(wire, {"error": {"message": message}})]},
        "a frame of nonsense": {"raw_lines": [frame(wire, [message])]},
        "no frame": {"body": f"<p>{message}</p>\n"},
        "no HTTP": {"wire": [f"HTTP/9 {message}\r\n\r\n"]},
        "a chunk size": {
            "wire": [head(wire, "Transfer-Encoding: chunked"), f"{message}\r\n", *chunked(b"x")]
        },
        "a header": {"wire": [head(wire, f"no colon {message}")]},
    }


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("where", bodies("ollama", ""))
def test_a_key_that_a_server_echoes_is_redacted(trial: Trial, where: str, echo: str) -> None:
    trial.server.script("m", **bodies(trial.wire, ECHOES[echo])[where])
    with logged() as lines, MelleaSession(trial.backend(), model_options=ONCE) as m:
        with pytest.raises(MelleaRxError) as caught:
            m.instruct("Go.")
        for told in (*lines, repr(m), repr(m.backend)):
            hidden(told)
    for each in chain(caught.value):
        hidden(str(each))
        hidden(repr(each))


def in_base64(text: str) -> str:
    return b64encode(text.encode()).decode()


printed_ascii = st.characters(min_codepoint=33, max_codepoint=126)
# Hypothesis also tries words of the code ("core.streams"), and some of these are in our messages:
# none of them ends so.
keys = st.text(printed_ascii, min_size=12, max_size=60).map(lambda key: f"{key}~")


@pytest.mark.parametrize("wire", BACKENDS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(key=keys, chance=st.randoms(use_true_random=False))
def test_a_random_key_is_in_nothing_that_can_be_printed_of_a_failed_call(
    wire: str, scripted_server: ServerProcess, key: str, chance: Any
) -> None:
    server = scripted_server
    encode = chance.choice([str, lambda text: quote(text, safe=""), quote_plus, in_base64])
    script = chance.choice(list(bodies(wire, encode(key)).values()))
    server.clear()
    server.script("m", **script)
    backend = BACKENDS[wire]("m", base_url=server.url, api_key=key)
    with logged() as lines, MelleaSession(backend, model_options=ONCE) as m:
        thunk = asyncio.run(m.ainstruct("Go."))
        with pytest.raises(MelleaRxError) as caught:
            thunk.wait(30)
        shown = [repr(each) for each in (m, backend, thunk, m.ctx, backend._client)]
    for told in (*lines, *shown, *(f"{each} {each!r}" for each in chain(caught.value))):
        assert key not in told
        assert encode(key) not in told
    if encode(key) != key:  # a frame's variables may contain the server's text unchanged
        assert key not in printed(caught.value)


@pytest.mark.parametrize("key", ["abc", "ollama", "EMPTY-KEY", KEY])
def test_redacting_takes_the_key_and_nothing_else(key: str) -> None:
    redact = Redactor([key])
    assert redact(f"before {key} between {key} after") == "before *** between *** after"
    assert redact("nothing of it here") == "nothing of it here"
    assert redact("") == ""


@given(keys, st.text(max_size=30), st.text(max_size=30))
def test_what_is_around_a_key_stays(key: str, before: str, after: str) -> None:
    redacted = Redactor([key])(f"{before}\n{key}\n{after}")
    if not any(key[at : at + 8] in before + after for at in range(len(key) - 7)):
        assert redacted == f"{before}\n***\n{after}"


@given(keys, st.data())
def test_every_piece_of_eight_characters_is_taken(key: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(key) - 8))
    end = data.draw(st.integers(start + 8, len(key)))
    assert Redactor([key])(f"\n{key[start:end]}\n") == "\n***\n"


def test_no_secret_is_no_work() -> None:
    assert Redactor([])("as it is") == Redactor([""])("as it is") == "as it is"


def test_a_host_that_is_called_as_the_key_keeps_its_name(server: ServerProcess) -> None:
    backend = BACKENDS["openai"](
        "m", base_url=f"http://127.0.0.1:{server.port}", api_key="127.0.0.1"
    )
    server.script("m", status=401, body="bad key 127.0.0.1")
    with MelleaSession(backend, model_options=ONCE) as m, pytest.raises(MelleaRxError) as caught:
        m.instruct("Go.")
    assert server.url in str(caught.value)
    assert "bad key ***" in str(caught.value)


LOGINS = {"a password": "me:hunter2/hunter2", "a token": "token/0123456789:"}


@pytest.mark.parametrize("what", LOGINS)
@pytest.mark.parametrize("where", bodies("ollama", ""))
def test_a_login_in_an_address_is_redacted_as_the_header_that_it_is(
    trial: Trial, where: str, what: str
) -> None:
    user, _, password = LOGINS[what].partition(":")
    key = password or user
    login = (
        f"{quote(user, safe='')}:{quote(password, safe='')}" if password else quote(user, safe="")
    )
    address = trial.server.url.replace("//", f"//{login}@")
    sent = in_base64(LOGINS[what])
    for echo in (f"Basic {sent}", sent, key, in_base64(key)):
        trial.server.script("m", **bodies(trial.wire, echo)[where])
        with logged() as lines, MelleaSession(trial.backend(address, None)) as m:
            with pytest.raises(MelleaRxError) as caught:
                m.instruct("Go.", model_options=ONCE)
            shown = [*lines, repr(m.backend), *(f"{each} {each!r}" for each in chain(caught.value))]
        assert trial.server.log("m")[-1]["headers"]["authorization"] == f"Basic {sent}"
        for told in shown:
            assert not [
                each for each in (sent, sent[:-4], key, in_base64(key)[:-4]) if each in told
            ]


def test_a_key_is_sent_rather_than_a_login(trial: Trial) -> None:
    trial.server.script("m", chunks=["a"])
    assert trial.value(trial.server.url.replace("//", "//me:pw@")) == "a"
    assert trial.server.log("m")[0]["headers"]["authorization"] == f"Bearer {KEY}"


HOLDERS: dict[str, Callable[..., Any]] = {
    "OllamaBackend": OllamaBackend,
    "OpenAIBackend": OpenAIBackend,
    "AutoBackend": AutoBackend,
    "start_session, ollama": partial(start_session, "ollama"),
    "start_session, openai": partial(start_session, "openai"),
    "start_session, auto": partial(start_session, "auto"),
    "start_session, registered": partial(start_session, "chaos"),
    "create_backend": partial(create_backend, "openai"),
}
MISTAKES: dict[str, dict[str, Any]] = {
    "an option": {"model_options": {ModelOption.TEMPERATURE: "hot"}},
    "an address": {"base_url": "ftp://me:hunter2-hunter2@here"},
    "a password with a slash": {"base_url": "http://me:hunter2-hunter2/@here"},
    "an argument": {"paralel": 2},
    "an argument with a key in it": {"headers": {"X-Api-Key": KEY, "more": {"token": KEY}}},
    "a limit": {"limits": 7},
    "a key": {"api_key": KEY + "\n"},
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("holder", HOLDERS)
def test_a_traceback_with_variables_out_of_a_constructor_shows_no_key(
    holder: str, mistake: str
) -> None:
    def refuse(model_id: str | None = None, **options: Any) -> Any:
        raise InvalidInputError("not with these")

    register_backend("chaos", refuse)
    given = {"api_key": KEY, "base_url": "http://me:hunter2-hunter2@127.0.0.1:9"}
    try:
        HOLDERS[holder](**{**given, **MISTAKES[mistake]})
    except Exception as error:
        told = printed(error)
    else:
        assert "auto" in holder.lower()  # it creates its backend in its first call
        return
    assert "hunter2" not in told
    hidden(told)


def test_a_secret_shows_itself_to_nobody_but_its_header() -> None:
    secret = Secret("Bearer key")
    assert f"{secret}" == "Bearer key"
    assert repr(secret) == repr({"a": secret})[6:-1] == "'***'"


ESCAPES = ["\x1b[2J", "\x1b]0;title\x07", "\r", "\x9b1m", "\u202e", "\x00", "\n[fake] line"]


@pytest.mark.parametrize("escape", ESCAPES)
def test_what_a_server_tells_of_an_error_is_escaped(trial: Trial, escape: str) -> None:
    said_ = f"no{escape} model"
    scripts = itertools.chain(bodies(trial.wire, escape).values(), [{"status": 404, "body": said_}])
    for script in scripts:
        trial.server.script("m", **script)
        with (
            MelleaSession(trial.backend(), model_options=ONCE) as m,
            pytest.raises(MelleaRxError) as caught,
        ):
            m.instruct("Go.")
        assert escape not in str(caught.value)
