"""The faults of docs/reliability.md that a server can have, as scripts of the tests' server."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.chaos.frames import chunked, end, frame, head, said

__all__ = ["ELSEWHERE", "FAULTS", "Fault"]

Script = dict[str, Any] | list[dict[str, Any]]
ELSEWHERE = "http://elsewhere.invalid"
"""Stands for the address of another server in a script."""

_SAID = ["Once ", "upon "]
_TEXT = "".join(_SAID)
_BOTH = ("ollama", "openai")
_BURST = [f"word {n} " for n in range(300)]
"""No more than a socket holds: what a reset keeps from being sent never came."""
_UNICODE = ["Hé", "\u2028😀"]


@dataclass(frozen=True)
class Fault:
    """A server's fault, and the outcome that is expected.

    Attributes:
        row: Its number in the table of docs/reliability.md; "" for an error told in the stream.
        name: What it is.
        script: What the server plays, by wire.
        text: What a client should have: the whole answer, or all before the fault.
        fails: Whether the client has to fail.
        wires: Where there is such a fault.
        proxied: The environment names a proxy.
    """

    row: str
    name: str
    script: Callable[[str], Script]
    text: str = _TEXT
    fails: bool = True
    wires: tuple[str, ...] = _BOTH
    proxied: bool = False


def _plain(**script: Any) -> Callable[[str], Script]:
    return lambda _: {"chunks": [*_SAID, "a ", "time"], **script}


def _line(wire: str, data: bytes) -> bytes:
    return data + b"\n" if wire == "ollama" else b"data: " + data + b"\n\n"


def _lines(*after: bytes, **more: Any) -> Callable[[str], Script]:
    return lambda w: {"raw_lines": [said(w, *_SAID), *(_line(w, data) for data in after)], **more}


def _bad_chunk(wire: str) -> Script:
    pieces = [
        head(wire, "Transfer-Encoding: chunked"),
        *chunked(said(wire, *_SAID)),
        b"zz\r\nx\r\n",
    ]
    return {"wire": pieces, "delay": 0.01}


def _kept_alive(wire: str) -> Script:
    alive = b"\n" if wire == "ollama" else b": alive\n\n"
    return {"raw_lines": [said(wire, *_SAID), *[alive] * 100], "delay": 0.2}


def _after_the_end(wire: str) -> Script:
    return {"raw_lines": [said(wire, *_SAID) + end(wire) + said(wire, "and more") + end(wire)]}


def _bad_characters(wire: str) -> Script:
    told = said(wire, "Once ", "u?on ").replace(b"u?on", b"u\xffon")
    return {"raw_lines": [told, end(wire)]}


def _bomb(_: str) -> Script:
    packed = gzip.compress(bytes(200_000_000))
    return {"body": packed, "headers": {"Content-Encoding": "gzip"}}


def _redirect(wire: str) -> Script:
    path = {"ollama": "/api/chat", "openai": "/v1/chat/completions"}[wire]
    return {"status": 307, "headers": {"Location": ELSEWHERE + path}, "body": ""}


def _old_vllm(wire: str) -> Script:
    error = {"object": "error", "message": "the runner died", "code": 500}
    return {"raw_lines": [said(wire, *_SAID), frame(wire, error)]}


def _llama_cpp(wire: str) -> Script:
    field = b'error: {"code": 500, "message": "no slot", "type": "server_error"}\n\n'
    return {"raw_lines": [said(wire, *_SAID), field]}


def _busy_once(_: str) -> Script:
    busy = {"status": 503, "headers": {"Retry-After": "0"}, "body": ""}
    return [busy, {"chunks": _SAID}]


FAULTS = (
    Fault(
        "1",
        "split at every byte",
        _plain(chunks=_UNICODE, split=1, split_delay=0),
        "".join(_UNICODE),
        fails=False,
    ),
    Fault("2", "a line of 10 MB", _plain(chunks=["x" * 10_000_000]), "x" * 10_000_000, fails=False),
    Fault("3", "the chunked body is cut", _plain(break_after=2)),
    Fault("3", "a bad chunk size", _bad_chunk),
    Fault("4", "a reset", _plain(reset_after=2, delay=0.05)),
    Fault(
        "4",
        "a reset after a burst",
        _plain(chunks=_BURST, bursts=True, reset_after=300),
        "".join(_BURST),
    ),
    Fault("5", "a stall", _plain(stall_after=2)),
    Fault("5", "a stall with keep-alive bytes", _kept_alive),
    Fault("6", "20 s of drip", _plain(chunks=["x"] * 100, delay=0.2), "x"),
    Fault("7", "no JSON after text", _lines(b"{oh no")),
    Fault("7", "`[]` after text", _lines(b"[]")),
    Fault("8", "HTML with 200", _plain(body="<html>502 Bad Gateway</html>\n"), ""),
    Fault("9", "401, empty body", _plain(status=401, body=""), ""),
    Fault("10", "503 once, then well", _busy_once, fails=False),
    Fault("11", "a redirect to another server", _redirect, ""),
    Fault("13", "a bomb of 200 MB", _bomb, ""),
    Fault("14", "data after the end", _after_the_end, fails=False),
    Fault("15", "the end is missing", _plain(chunks=_SAID, omit_done=True)),
    Fault("16", "bad UTF-8", _bad_characters, "Once u\ufffdon ", fails=False),
    Fault("18", "a proxy in the environment", _plain(chunks=_SAID), fails=False, proxied=True),
    Fault("", "an error frame", _plain(error_after=2)),
    Fault("", "vLLM's error frame before 0.10.1", _old_vllm, wires=("openai",)),
    Fault("", "llama.cpp's `error:` field", _llama_cpp, wires=("openai",)),
)
