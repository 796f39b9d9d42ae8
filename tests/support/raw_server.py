"""A server that a test writes itself, byte for byte, in threads that no event loop holds up."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Self

__all__ = ["Peer", "RawServer", "answer"]

PATIENCE = 30.0


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A whole response with a length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class Peer:
    """The server's end of one connection.

    Attributes:
        number: Which connection it is; the first one is 1.
        socket: The connection.
    """

    def __init__(self, number: int, connection: socket.socket) -> None:
        self.number = number
        self.socket = connection
        self._ahead = b""

    def request(self) -> str:
        """Read one request; its target ("/list?a=b"). "" where the client has closed."""
        while b"\r\n\r\n" not in self._ahead:
            data = self.socket.recv(65536)
            if not data:
                return ""
            self._ahead += data
        head, _, rest = self._ahead.partition(b"\r\n\r\n")
        length = 0
        for line in head.decode("latin-1").split("\r\n")[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                length = int(value)
        while len(rest) < length:
            rest += self.socket.recv(65536)
        self.head, self.body, self._ahead = head, rest[:length], rest[length:]
        return head.split(b" ", 2)[1].decode()

    def send(self, *data: bytes) -> None:
        """Write all of it."""
        self.socket.sendall(b"".join(data))

    def reset(self) -> None:
        """Close with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def wait_for_close(self) -> None:
        """Return when the client has closed."""
        with contextlib.suppress(OSError):
            while self.socket.recv(65536):
                pass


class RawServer:
    """Runs a function for each connection, in a thread of its own.

    Args:
        serve: Takes the `Peer`; the connection is closed when it returns.
        tls: The server's TLS context, to speak it.

    Attributes:
        url: Where it listens.
        accepted: How many connections it has accepted.
        open: How many of them are open.
        most: How many were open at a time, at most.
    """

    def __init__(
        self, serve: Callable[[Peer], object], *, tls: ssl.SSLContext | None = None
    ) -> None:
        self._serve = serve
        self._tls = tls
        self.accepted = self.open = self.most = 0
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=1000)
        port = self._listening.getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _start(self, work: Callable[..., object], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(PATIENCE)
            self._sockets.append(connection)
            with self._lock:
                self.accepted += 1
                self.open += 1
                self.most = max(self.most, self.open)
            self._start(self._run, connection, self.accepted)

    def _run(self, connection: socket.socket, number: int) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self._closed)
            stack.enter_context(contextlib.suppress(OSError))
            stack.enter_context(connection)
            if self._tls is not None:
                connection = stack.enter_context(
                    self._tls.wrap_socket(
                        connection, server_side=True, do_handshake_on_connect=False
                    )
                )
                self._sockets.append(connection)
                _shake_hands(connection)
            self._serve(Peer(number, connection))

    def _closed(self) -> None:
        with self._lock:
            self.open -= 1


def _shake_hands(connection: ssl.SSLSocket) -> None:
    try:
        connection.do_handshake()
    except ssl.SSLError:
        # A close with more to read is a reset, which may overtake the alert.
        connection.shutdown(socket.SHUT_WR)
        while os.read(connection.fileno(), 65536):
            pass
        raise
