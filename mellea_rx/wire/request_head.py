"""The head of a request as bytes, and whether a socket has bytes before the request is sent."""

from __future__ import annotations

import re
import select
from collections.abc import Callable

from mellea_rx.wire.transport import RequestHead


class WrittenHead(bytes):
    """A request's head as bytes. It may contain a key, so its `repr` does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***"


def written_head(head: RequestHead) -> WrittenHead:
    """The head of a request in HTTP/1.1, without its length and the empty line at its end."""
    url = head.url
    # The zone of an IPv6 address means something on this machine only (RFC 6874, section 4).
    host = re.sub(r"%[^\]]*", "", url.host_port_subcomponent or "")
    lines = [f"{head.method} {url.raw_path_qs} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in head.headers.items()]
    return WrittenHead("\r\n".join(lines).encode())


def readability_test(descriptor: int) -> Callable[[], bool]:
    """A function that returns whether the socket has unread bytes, or an unread end."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return lambda: bool(poll.poll(0))
    return lambda: bool(select.select([descriptor], [], [], 0)[0])
