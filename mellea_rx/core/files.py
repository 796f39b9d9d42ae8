"""Files that a user names: only regular ones are read, so that no pipe or device is waited for."""

from __future__ import annotations

import os
import stat
from typing import IO

__all__ = ["open_regular"]

_KINDS = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFSOCK: "a socket",
}


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a regular file to read its bytes; never waits for whoever writes into a pipe.

    Raises:
        OSError: There is none, it cannot be read, or it is a folder, pipe, device or socket: its
            `strerror` says which.
        ValueError: The path holds a NUL.
    """
    _require_regular(os.stat(path), path)  # opening a device may do something
    # What is put in its place now does not block either.
    number = os.open(path, os.O_RDONLY | _FLAGS)
    try:
        _require_regular(os.fstat(number), path)
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def _require_regular(found: os.stat_result, path: str | os.PathLike[str]) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise OSError(0, f"it is {kind}, not a regular file", os.fspath(path))
