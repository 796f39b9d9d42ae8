"""Reads the metadata of a GGUF model file: keys and values ahead of the weights.

The embedded model uses it for its control tokens and its context length.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mellea_rx.errors import ModelFileError

__all__ = ["read_metadata"]

_HEADER = struct.Struct("<4sIQQ")  # magic, version, number of tensors, number of keys
_COUNT = struct.Struct("<Q")
_KIND = struct.Struct("<I")
_ARRAY_HEAD = struct.Struct("<IQ")  # kind of the items, their number
_STRING, _ARRAY = 8, 9
_SCALARS: Mapping[int, str] = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip


def read_metadata(path: Path, wanted: Callable[[str], bool]) -> dict[str, Any]:
    """Read a part of a model file's metadata. The weights are not read.

    Args:
        path: A GGUF file, version 2 or 3, little-endian.
        wanted: Returns whether the value of a key is needed; other values are skipped.

    Returns:
        Values by key: numbers, bools, bytes for strings, and lists of these for arrays.

    Raises:
        ModelFileError: The file cannot be read, or is not such a file.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
        ):
            return _Reader(view).read(wanted)
    except (OSError, ValueError, KeyError, OverflowError, struct.error) as error:
        raise ModelFileError(f"cannot read the metadata of {path}: {error}") from error


class _Reader:
    def __init__(self, view: mmap.mmap) -> None:
        self._view = view
        self._at = 0

    def read(self, wanted: Callable[[str], bool]) -> dict[str, Any]:
        magic, version, _, keys = self._unpack(_HEADER)
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError(f"it begins with {magic!r}, version {version}")
        found: dict[str, Any] = {}
        for _ in range(keys):
            key = self._string().decode("utf-8", "replace")
            (kind,) = self._unpack(_KIND)
            value = self._value(kind)
            if wanted(key):
                found[key] = list(value) if kind == _ARRAY else value
        return found

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array()
        (value,) = self._unpack(struct.Struct("<" + _SCALARS[kind]))
        return value

    def _array(self) -> Iterable[Any]:
        kind, count = self._unpack(_ARRAY_HEAD)
        if kind == _STRING:
            return self._strings(count)
        if kind == _ARRAY:
            raise ValueError("an array of arrays")
        item = struct.Struct("<" + _SCALARS[kind])
        block = self._take(item.size * count)
        # Unpacked on use: most arrays (scores, merges) are large and not needed.
        return (value for (value,) in item.iter_unpack(block))

    def _strings(self, count: int) -> list[bytes]:
        # The only long loop (250,000 tokens), hence without a function call for each string.
        view, at, size = self._view, self._at, _COUNT.size
        length_at = _COUNT.unpack_from
        strings = []
        for _ in range(count):
            (length,) = length_at(view, at)
            at += size + length
            strings.append(view[at - length : at])
        self._require(at)
        self._at = at
        return strings

    def _string(self) -> bytes:
        (length,) = self._unpack(_COUNT)
        return self._take(length)

    def _unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        values = layout.unpack_from(self._view, self._at)
        self._at += layout.size
        return values

    def _take(self, size: int) -> bytes:
        start = self._at
        self._require(start + size)
        self._at = start + size
        return self._view[start : self._at]

    def _require(self, end: int) -> None:
        if end > len(self._view):
            raise ValueError("it ends within its metadata")
