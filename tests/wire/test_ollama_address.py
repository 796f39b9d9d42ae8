"""OLLAMA_HOST is read by the rules of Ollama itself."""

from __future__ import annotations

import pytest

from mellea_rx.backends import OllamaBackend
from mellea_rx.backends.ollama import ollama_address


@pytest.mark.parametrize(
    ("host", "address"),
    [
        (None, "http://localhost:11434"),
        ("", "http://localhost:11434"),
        ("  ", "http://localhost:11434"),
        ("example.com", "http://example.com:11434"),
        (" example.com ", "http://example.com:11434"),
        ('"example.com"', "http://example.com:11434"),
        ("example.com:1234", "http://example.com:1234"),
        (":1234", "http://localhost:1234"),
        ("http://example.com", "http://example.com:80"),
        ("https://example.com", "https://example.com:443"),
        ("https://example.com:8443", "https://example.com:8443"),
        ("example.com:bad", "http://example.com:11434"),
        ("example.com:99999", "http://example.com:11434"),
        ("http://example.com:bad", "http://example.com:80"),
        ("https://example.com:99999", "https://example.com:443"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("[::]", "http://[::1]:11434"),
        ("::", "http://[::1]:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::1]:1234", "http://[::1]:1234"),
        ("http://[fe80::1]:1234", "http://[fe80::1]:1234"),
        ("example.com/models", "http://example.com:11434/models"),
        ("https://example.com/a/b/", "https://example.com:443/a/b"),
        ("example.com:1234/", "http://example.com:1234"),
    ],
)
def test_the_address(host: str | None, address: str) -> None:
    assert ollama_address(host) == address


def test_a_backend_takes_its_address_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "0.0.0.0:4321")
    assert OllamaBackend().origin == "http://127.0.0.1:4321"


def test_an_address_that_was_given_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "elsewhere:4321")
    assert OllamaBackend(base_url="http://here:1").origin == "http://here:1"
