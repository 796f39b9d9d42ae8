"""TLS failures: each has the right class, and a message with the reason."""

from __future__ import annotations

import datetime
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from mellea_rx import ConnectTimeoutError, ModelOption, TLSError
from mellea_rx.backends import Limits
from tests.chaos.proxy import ProxyProcess
from tests.chaos.trial import Trial
from tests.core.python import ROOT
from tests.support.server_process import ServerProcess


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """An authority that no system trusts."""
    return trustme.CA()


@pytest.fixture(scope="module")
def bundle(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate, as a file that a program can load."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="module")
def proxies(
    authority: trustme.CA, scripted_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, ProxyProcess]]:
    """The scripted server with TLS, for each of these certificates."""
    folder = tmp_path_factory.mktemp("certificates")
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    made = {
        "good": authority.issue_cert("127.0.0.1"),
        "another host's": authority.issue_cert("models.example"),
        "expired": authority.issue_cert("127.0.0.1", not_after=yesterday),
    }
    running: dict[str, ProxyProcess] = {}
    try:
        for number, (name, certificate) in enumerate(made.items()):
            path = folder / f"{number}.pem"
            certificate.private_key_and_cert_chain_pem.write_to_path(str(path))
            proxy = ProxyProcess(scripted_server.port, certificate=str(path))
            running[name] = proxy.__enter__()
        yield running
    finally:
        for proxy in running.values():
            proxy.__exit__()


def test_an_authority_that_nobody_trusts(trial: Trial, proxies: dict[str, ProxyProcess]) -> None:
    error = trial.failure(proxies["good"].url)
    assert type(error) is TLSError
    assert f"the certificate of {proxies['good'].url} is not trusted (" in str(error)
    assert "unable to get local issuer certificate" in str(error)
    assert trial.server.log() == []


PROGRAM = """
import json, sys
from mellea_rx import *
told = {}
for url in sys.argv[2:]:
    kind = {"ollama": OllamaBackend, "openai": OpenAIBackend}[sys.argv[1]]
    with MelleaSession(kind("m", base_url=url, api_key="sk-0123456789")) as m:
        try:
            told[url] = ["", m.instruct("Go.").value]
        except MelleaRxError as error:
            told[url] = [type(error).__name__, str(error)]
print(json.dumps(told))
"""


def test_a_trusted_authority_and_what_its_certificates_are_good_for(
    trial: Trial, proxies: dict[str, ProxyProcess], bundle: Path
) -> None:
    trial.server.script("m", chunks=["Once ", "upon"])
    urls = {name: proxy.url for name, proxy in proxies.items()}
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM, trial.wire, *urls.values()],
        env={**os.environ, "SSL_CERT_FILE": str(bundle)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    told = json.loads(ran.stdout)
    assert told[urls["good"]] == ["", "Once upon"]
    kind, why = told[urls["another host's"]]
    assert (kind, "not valid for '127.0.0.1'" in why) == ("TLSError", True), why
    kind, why = told[urls["expired"]]
    assert (kind, "expired" in why) == ("TLSError", True), why
    assert len(trial.server.log()) == 1
    assert "unclosed" not in ran.stderr


@pytest.mark.parametrize(
    ("says", "reads"),
    [("HTTP/1.1 400 Bad Request\r\n\r\n", 1000), ("220 ready\r\n", 1000), ("", 1000), ("", 1)],
)
def test_a_server_that_speaks_no_tls(trial: Trial, says: str, reads: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            client, _ = listening.accept()
            with client:
                client.recv(reads)  # a close with unread bytes would be a reset
                client.sendall(says.encode())

        thread = threading.Thread(target=refuse)
        thread.start()
        error = trial.failure(f"https://127.0.0.1:{listening.getsockname()[1]}")
        thread.join(30)
    assert type(error) is TLSError
    assert "plain http" in str(error)


def test_plain_http_on_a_tls_port(trial: Trial, proxies: dict[str, ProxyProcess]) -> None:
    error = trial.failure(proxies["good"].url.replace("https:", "http:"))
    assert "closed the connection" in str(error)
    assert trial.server.log() == []


def test_a_handshake_that_never_ends_frees_its_socket(trial: Trial) -> None:
    url = trial.server.url.replace("http:", "https:")
    error = trial.failure(url, limits=Limits(connect=0.2))
    assert type(error) is ConnectTimeoutError


def test_a_handshake_may_be_cancelled(trial: Trial) -> None:
    url = trial.server.url.replace("http:", "https:")
    error = trial.failure(url, options={ModelOption.STREAM_TIMEOUT: 0.2})
    assert isinstance(error, TimeoutError)
