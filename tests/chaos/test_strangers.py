"""A key is sent to the origin that it was given for, and to no other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from mellea_rx import (
    InvalidInputError,
    MelleaSession,
    ModelOption,
    OpenAIBackend,
    RedirectRefusedError,
)
from tests.chaos.trial import KEY, PATHS, Trial
from tests.support.server_process import ServerProcess

STATUSES = [301, 302, 303, 307, 308]


@pytest.fixture(scope="module")
def stranger_process() -> Iterator[ServerProcess]:
    """A second origin."""
    with ServerProcess() as process:
        yield process


@pytest.fixture
def stranger(stranger_process: ServerProcess) -> ServerProcess:
    """A second origin that answers everything, and records the requests."""
    stranger_process.clear()
    stranger_process.script("m", chunks=["stolen"])
    return stranger_process


@pytest.mark.parametrize("status", STATUSES)
def test_a_redirect_to_another_origin_gets_neither_key_nor_prompt(
    trial: Trial, stranger: ServerProcess, status: int
) -> None:
    there = {"Location": stranger.url + PATHS[trial.wire]}
    trial.server.script("m", status=status, headers=there, body="")
    error = trial.failure()
    assert type(error) is RedirectRefusedError
    assert error.status == status  # type: ignore[attr-defined]
    assert stranger.log() == []
    assert len(trial.server.log("m")) == 1


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("location", ["/elsewhere", "//127.0.0.1:1/x", "https://x", "", None])
def test_a_redirect_anywhere_is_refused(trial: Trial, status: int, location: str | None) -> None:
    headers = {} if location is None else {"Location": location}
    trial.server.script("m", status=status, headers=headers, body="moved")
    assert type(trial.failure()) is RedirectRefusedError
    assert [entry["path"] for entry in trial.server.log()] == [PATHS[trial.wire]]


def test_a_redirected_list_of_models_is_refused_too(trial: Trial, stranger: ServerProcess) -> None:
    for path in ("/api/tags", "/v1/models"):
        trial.server.script(path, status=307, headers={"Location": stranger.url + path})
    backend = trial.backend()
    with pytest.raises(RedirectRefusedError):
        asyncio.run(backend.models())
    backend.close()
    assert stranger.log() == []


def test_a_key_is_sent_to_its_origin(trial: Trial) -> None:
    trial.server.script("m", chunks=["a"])
    assert trial.value() == "a"
    assert trial.server.log("m")[0]["headers"]["authorization"] == f"Bearer {KEY}"


def test_a_key_of_the_environment_goes_to_no_other_address(
    server: ServerProcess, stranger: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    server.script("m", chunks=["a"])
    for backend in (OpenAIBackend("m"), OpenAIBackend("m", base_url=stranger.url)):
        with MelleaSession(backend) as m:
            m.instruct("Go.")
    assert server.log("m")[0]["headers"]["authorization"] == f"Bearer {KEY}"
    assert "authorization" not in stranger.log("m")[0]["headers"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])  # cookie jars ignore numeric hosts
def test_no_cookie_of_a_server_comes_back(trial: Trial, host: str) -> None:
    trial.server.script("m", chunks=["a"], headers={"Set-Cookie": "track=1"})
    with MelleaSession(trial.backend(trial.server.url.replace("127.0.0.1", host))) as m:
        for _ in range(2):
            m.instruct("Go.")
    assert all("cookie" not in each["headers"] for each in trial.server.log("m"))


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"])
def test_no_proxy_of_the_environment_sees_a_request(
    trial: Trial, stranger: ServerProcess, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, stranger.url)
    trial.server.script("m", chunks=["a"])
    assert trial.value() == "a"
    assert stranger.log() == []


def test_no_netrc_gives_a_password(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    trial.server.script("m", chunks=["a"])
    assert trial.value(key=None) == "a"
    assert "authorization" not in trial.server.log("m")[0]["headers"]


def test_an_address_in_a_prompt_is_not_fetched(trial: Trial, stranger: ServerProcess) -> None:
    trial.server.script("m", chunks=[f"see {stranger.url}/answer"])
    with MelleaSession(trial.backend()) as m:
        url = f"{stranger.url}/picture.png"
        m.instruct(f"Look at ![]({url}).")
        m.instruct("Read {{page}}.", user_variables={"page": url})
        m.query(url, "What is it?")
    assert stranger.log() == []


@pytest.mark.parametrize("key", ["sk-1\n", "sk\r\nX-Injected: 1", "sk\x00", "sk\x7f"])
def test_a_key_that_cannot_be_sent_is_refused_at_the_door_and_not_shown(
    trial: Trial, key: str
) -> None:
    with pytest.raises(InvalidInputError, match=r"^api_key holds a .* printed$") as caught:
        trial.backend(key=key)
    assert "sk" not in str(caught.value)


def test_a_password_in_a_refused_address_is_not_shown(trial: Trial) -> None:
    with pytest.raises(InvalidInputError) as caught:
        trial.backend("ftp://me:hunter2@host/x")
    assert "hunter2" not in str(caught.value)


def test_a_password_in_an_address_is_sent_and_never_shown(trial: Trial) -> None:
    address = trial.server.url.replace("//", "//me:hunter2-hunter2@")
    trial.server.script("m", status=401, body="no such password: hunter2-hunter2")
    error = trial.failure(address, key=None)
    assert trial.server.log("m")[0]["headers"]["authorization"].startswith("Basic ")
    assert "hunter2" not in str(error)
    assert "hunter2" not in repr(trial.backend(address))


def test_an_option_may_not_smuggle_a_header(trial: Trial) -> None:
    trial.server.script("m", chunks=["a"])
    with MelleaSession(trial.backend()) as m:
        m.instruct("Go.\r\nX-Injected: 1", model_options={ModelOption.STOP_SEQUENCES: ["\r\nX: 1"]})
    assert not [name for name in trial.server.log("m")[0]["headers"] if name.startswith("x")]
