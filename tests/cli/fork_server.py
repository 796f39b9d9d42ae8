"""A process that has imported the program already and forks for each run of it.

Most of a start of `mellea-rx` is imports, and most tests of the command line are about what a run
does. Each run is a process of its own with pipes and an exit code, as after a start from a shell.
`tests/cli/program.py` uses it; the tests of terminals and of the start itself do not.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]


class ForkServer:
    """The test's end of such a process: a context manager that runs programs.

    A request is a line of JSON with the arguments and the environment, sent together with the three
    standard streams. The answer is a line with the process's id, and one with its exit code.
    """

    def __enter__(self) -> Self:
        self._socket, other = socket.socketpair()
        command = [sys.executable, "-m", "tests.cli.fork_server", str(other.fileno())]
        # Its standard streams are pipes, as those of the runs: Python asks only once what they are.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[other.fileno()],
            cwd=ROOT,
        )
        other.close()
        self._answers = self._socket.makefile("r")
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._socket.close()
        self._process.communicate(timeout=30)

    def run(
        self, arguments: list[str], stdin: str, env: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run the program with these arguments in exactly this environment, to its end.

        It is killed after `timeout` seconds, and its exit code is -9 then.
        """
        pipes = [os.pipe() for _ in range(3)]
        (to_read, to_write), (out, to_out), (err, to_err) = pipes
        request = json.dumps({"arguments": arguments, "env": dict(env), "cwd": os.getcwd()})
        socket.send_fds(self._socket, [request.encode() + b"\n"], [to_read, to_out, to_err])
        for each in (to_read, to_out, to_err):
            os.close(each)
        process = int(self._answers.readline())
        late = threading.Timer(timeout, os.kill, (process, signal.SIGKILL))
        late.start()
        try:
            return subprocess.CompletedProcess(arguments, *self._results(stdin, to_write, out, err))
        finally:
            late.cancel()

    def _results(self, stdin: str, to_write: int, out: int, err: int) -> tuple[int, str, str]:
        texts = ["", ""]

        def read(at: int, end: int) -> None:
            with open(end, encoding="utf-8") as stream:
                texts[at] = stream.read()

        readers = [threading.Thread(target=read, args=each) for each in enumerate((out, err))]
        for reader in readers:
            reader.start()
        try:
            with open(to_write, "w", encoding="utf-8") as stream:
                stream.write(stdin)
        except BrokenPipeError:  # it ended without reading
            pass
        for reader in readers:
            reader.join()
        return int(self._answers.readline()), texts[0], texts[1]


def serve(control: socket.socket) -> None:
    """Fork for each request, until the socket closes; in the child, run the program."""
    while request := _next_request(control):
        line, streams = request
        child = os.fork()
        if child == 0:
            control.close()
            _become_program(json.loads(line), streams)
            return
        for each in streams:
            os.close(each)
        control.sendall(f"{child}\n".encode())
        _, status = os.waitpid(child, 0)
        control.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _next_request(control: socket.socket) -> tuple[bytes, list[int]] | None:
    line, streams, _, _ = socket.recv_fds(control, 65536, 3)
    while line and not line.endswith(b"\n"):
        line += control.recv(65536)
    return (line, streams) if line else None


def _become_program(request: dict[str, object], streams: list[int]) -> None:
    for standard, stream in enumerate(streams):
        os.dup2(stream, standard)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[call-overload]
    os.chdir(str(request["cwd"]))
    sys.argv[1:] = request["arguments"]  # type: ignore[assignment]
    main()


if __name__ == "__main__":
    import mellea_rx.cli.app  # noqa: F401  what a run would import first
    from mellea_rx.cli import main

    serve(socket.socket(fileno=int(sys.argv[1])))
