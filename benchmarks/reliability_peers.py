"""The behaviour of other clients with the faults of docs/reliability.md, on the same server.

`python -m benchmarks.reliability_peers` plays each fault to each client, in a process of its own,
and prints a table; it takes some minutes. The others are those of `make bench-peers`; what is not
installed is left out with a word.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from benchmarks.clients import CLIENTS, Client
from benchmarks.environments import python_of, version
from benchmarks.reliability_client import KEY, PROMPT
from benchmarks.reliability_faults import ELSEWHERE, FAULTS, Fault
from tests.support.server_process import ROOT, ServerProcess

_PATIENCE = 60.0
"""Seconds that a client's process may take in all, its imports included."""
_AT_ONCE = 3
_MUCH = 50
"""MB that no answer of these is worth."""


@dataclass(frozen=True)
class Candidate:
    """Somebody to play faults to.

    Attributes:
        call: Its name in `benchmarks/reliability_client.py`.
        wire: What it speaks.
        client: Whose environment it runs in.
        title: What its column says.
    """

    call: str
    wire: str
    client: Client
    title: str

    @property
    def python(self) -> str:
        """Its interpreter."""
        return python_of(self.client.venv)


_OURS = Client("mellea_rx", "ours", package="mellea-rx")
CANDIDATES = (
    Candidate("ours-ollama", "ollama", _OURS, "mellea_rx, Ollama"),
    Candidate("ollama-python", "ollama", CLIENTS["ollama"], "ollama-python"),
    Candidate("mellea-ollama", "ollama", CLIENTS["Mellea, Ollama"], "Mellea, Ollama"),
    Candidate("ours-openai", "openai", _OURS, "mellea_rx, OpenAI"),
    Candidate("openai-python", "openai", CLIENTS["openai"], "openai-python"),
    Candidate("mellea-openai", "openai", CLIENTS["Mellea, OpenAI"], "Mellea, OpenAI"),
)


class Stage:
    """Plays faults.

    Args:
        server: What the clients talk to.
        other: Where redirects and proxies would lead them.
    """

    def __init__(self, server: ServerProcess, other: ServerProcess) -> None:
        self._server = server
        self._other = other

        server.script("/api/ps", body='{"models": []}')  # Mellea asks for it

    def play(self, number: int, who: Candidate) -> str:
        """The outcome of one client for one fault; bold where it is wrong."""
        fault = FAULTS[number]
        if who.wire not in fault.wires:
            return ""
        model = f"{who.call}-{number}"
        script = json.dumps(fault.script(who.wire), default=_escaped)
        self._server.script(model, json.loads(script.replace(ELSEWHERE, self._other.url)))
        self._other.script(model, chunks=["Elsewhere."])
        told = self._call(who, model, fault)
        if isinstance(told, str):
            return f"**{told}**"
        strayed = [each for each in self._other.log() if model in json.dumps(each["body"])]
        return _judged(fault, told, strayed)

    def _call(self, who: Candidate, model: str, fault: Fault) -> dict[str, Any] | str:
        """The output of the client's process, or its end."""
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OLLAMA_HOST": self._server.url}
        if fault.proxied:
            env |= dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), self._other.url)
        command = [who.python, str(ROOT / "benchmarks/reliability_client.py")]
        command += [who.call, self._server.url, model]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, env=env)
        except subprocess.TimeoutExpired:
            return "blocks without an end"
        lines = done.stdout.splitlines()
        if done.returncode or not lines:
            return f"died with {done.returncode}"
        told: dict[str, Any] = json.loads(lines[-1])
        return told


def _escaped(value: object) -> str:
    assert isinstance(value, bytes)
    return value.decode("utf-8", "surrogateescape")


def _judged(fault: Fault, told: dict[str, Any], strayed: list[dict[str, Any]]) -> str:
    text, error = told["text"], told["error"]
    wrong = []
    if strayed:
        wrong.append(f"{_cargo(strayed[0])} sent there")
    if not told["ended"]:
        wrong.append("no end in 10 s")
    elif fault.fails and not error:
        wrong.append("success" if text else "empty success")
    elif error and not fault.fails:
        wrong.append(str(error))
    if told["ended"] and not _is_right(fault, text):
        wrong.append(_difference(text, fault.text))
    if told["grown"] > _MUCH and len(fault.text) < 1_000_000:
        wrong.append(f"{told['grown']:,} MB")
    if wrong:
        also = f"{error}, " if error and fault.fails else ""
        return f"{also}**{', '.join(wrong)}**"
    return str(error or "right")


def _difference(text: str, right: str) -> str:
    if not right.startswith(text):
        return "the wrong text"
    return f"{len(text):,} of {len(right):,} characters" if text else "the text is lost"


def _is_right(fault: Fault, text: str) -> bool:
    """A drip is cut off somewhere; everything else is to the byte."""
    if fault.row == "6":
        return bool(text) and not text.strip(fault.text)
    return bool(text == fault.text)


def _cargo(entry: dict[str, Any]) -> str:
    sent = json.dumps([entry["headers"], entry["body"]])
    return " and ".join(name for name, each in (("key", KEY), ("prompt", PROMPT)) if each in sent)


def table(candidates: list[Candidate], stage: Stage) -> str:
    """Markdown: a row a fault, a column a client."""
    lines = [
        "| # | fault | " + " | ".join(each.title for each in candidates) + " |",
        "|---|---|" + "---|" * len(candidates),
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for number, fault in enumerate(FAULTS):
            cells = pool.map(lambda who, n=number: stage.play(n, who), candidates)
            lines.append(f"| {fault.row} | {fault.name} | " + " | ".join(cells) + " |")
            print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


def main() -> None:
    """The command."""
    versions = {each: version(each.client) for each in CANDIDATES}
    for each in CANDIDATES:
        print(f"{each.title}: {versions[each] or 'not installed: make bench-peers'}")
    with ServerProcess() as server, ServerProcess() as other:
        print("\n" + table([each for each in CANDIDATES if versions[each]], Stage(server, other)))


if __name__ == "__main__":
    main()
