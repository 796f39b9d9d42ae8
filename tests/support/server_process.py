"""The scripted server in a process of its own, as tests use it."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[2]


class ModuleProcess:
    """A server of the tests in a process of its own: it prints its port, and ends with its stdin.

    Args:
        module: What to run.
        *arguments: Its command line.

    Attributes:
        url: Where it listens, without a slash at the end.
        port: The port of `url`.
    """

    url: str
    port: int

    def __init__(self, module: str, *arguments: str) -> None:
        self._command = [sys.executable, "-m", module, *arguments]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.__exit__()
            raise RuntimeError(f"{self._command[2]} did not start")
        self.port = int(line)
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


class ServerProcess(ModuleProcess):
    """Starts the scripted server, tells it what to do, and asks what it saw.

    Example:
        >>> with ServerProcess() as server:
        ...     server.script("poet", chunks=["Roses ", "are red"], delay=0.01)
        ...     # … talk to server.url …
        ...     server.log()[0]["body"]["model"]
    """

    def __init__(self) -> None:
        super().__init__("tests.support.scripted_server", "--port", "0")

    def script(self, model: str, scripts: list[dict[str, Any]] | None = None, **one: Any) -> None:
        """Say what `model` does from its next request on.

        Args:
            model: The model's name; or a path, to script that.
            scripts: Played one after another, the last one again and again.
            **one: The fields of a single script (see `tests.support.scripted_server`).

        Raises:
            ValueError: A field is not known.
        """
        script: Any = one if scripts is None else scripts
        path = "/_scripts/" + quote(model, safe="")
        self._ask("PUT", path, json.dumps(script, default=_any_bytes))

    def log(self, model: str | None = None) -> list[dict[str, Any]]:
        """The requests so far, oldest first; only those for `model` where one is given."""
        entries: list[dict[str, Any]] = self._ask("GET", "/_log")
        return [each for each in entries if model is None or each["model"] == model]

    def clear_log(self) -> None:
        """Forget all requests."""
        self._ask("DELETE", "/_log")

    def clear(self) -> None:
        """Forget all requests and all scripts."""
        self.clear_log()
        self._ask("DELETE", "/_scripts")

    def connections(self) -> int:
        """The number of connections that clients have open."""
        count: int = self._ask("GET", "/_connections")
        return count

    def wait_for(self, predicate: Callable[[], Any], timeout: float = 30) -> Any:
        """Ask again and again until `predicate()` is true; its value.

        Raises:
            TimeoutError: It did not become true; the message shows the log.
        """
        deadline = time.monotonic() + timeout
        while not (value := predicate()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout} s; the server's log: {self.log()}")
            time.sleep(0.01)
        return value

    def _ask(self, method: str, path: str, body: str | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {"Connection": "close"})
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(answer["error"])
        return answer


def _any_bytes(value: object) -> str:
    """Bytes in a script travel as surrogate escapes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    raise TypeError(f"a script cannot hold {type(value).__name__}")
