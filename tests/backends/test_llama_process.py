"""The embedded model at the edges of a process: exit, fork, and a package that is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SETUP = """
import os, sys, threading
from mellea_rx import LocalBackend
from mellea_rx import ModelOption
from mellea_rx.backends import Options
from mellea_rx.backends import Request, RequestMessage
from mellea_rx.core.streams.chunk_source import drain
from mellea_rx import ModelOutputThunk

def ask(backend, text="Tell me a story.", tokens=2000):
    options = Options({ModelOption.MAX_NEW_TOKENS: tokens})
    request = Request((RequestMessage("user", text),), options)
    pipeline = lambda g: drain(backend.stream(request), g.push, backend.name)
    return ModelOutputThunk(pipeline, live=True)

backend = LocalBackend(sys.argv[1], parallel=2)
"""


def script(body: str, *arguments: object, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    code = SETUP + textwrap.dedent(body)
    # Python 3.12 and later warn of a fork in a process with threads, which is the point here.
    flags = ["-W", "error", "-W", "ignore:.*fork.*:DeprecationWarning"]
    command = [sys.executable, *flags, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=ROOT)


EXITS = {
    "in the middle of the text": "thunk = ask(backend); next(thunk.stream())",
    "in the middle of several, and a queue": """
        thunks = [ask(backend) for _ in range(5)]
        next(thunks[0].stream())
    """,
    "in the middle of a prompt": """
        next(ask(backend, tokens=1).stream())
        thunk = ask(backend, "Tell me all about the sea. " * 170)
        while not any(t.name == "mellea-rx-generation" for t in threading.enumerate()):
            pass
    """,
    "in the middle of loading": """
        thunk = ask(backend)
        while not any(t.name == "mellea-rx-load" for t in threading.enumerate()):
            pass
    """,
    "idle": "ask(backend, tokens=1).wait()",
    "after a cancel": "thunk = ask(backend); next(thunk.stream()); thunk.cancel()",
    "after close": "thunk = ask(backend); next(thunk.stream()); backend.close()",
    "while a reference leaks": """
        ask(backend, tokens=1).wait()
        import ctypes
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(backend))
    """,
    "in another thread": """
        begun = threading.Event()  # Python 3.12.1 starts no thread once the main one is done
        def work():
            global thunk
            thunk = ask(backend)
            pieces = thunk.stream()
            next(pieces)
            begun.set()
            next(pieces)
        thread = threading.Thread(target=work)
        thread.start()
        begun.wait()
    """,
}


@pytest.mark.model
@pytest.mark.parametrize("when", EXITS)
def test_exit_is_clean(real_model: Path, when: str):
    done = script(EXITS[when], real_model)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.model
def test_exit_keeps_its_code_after_an_exception(real_model: Path):
    done = script("thunk = ask(backend); next(thunk.stream()); raise SystemExit(3)", real_model)
    assert (done.returncode, done.stderr) == (3, "")


needs_fork = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks")

PARENT = """
child = os.fork()
if child:
    status = os.waitpid(child, 0)[1]
    print("parent", status if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
    print("parent says", bool(ask(backend, tokens=3).wait().text))
    sys.exit(0)
"""

FORKS = {
    "idle": ("ask(backend, tokens=1).wait()", "print(bool(ask(backend, tokens=3).wait().text))"),
    "generating": (
        "thunk = ask(backend); next(thunk.stream())",
        "print(bool(ask(backend, tokens=3).wait().text))",
    ),
    "the child asks nothing": ("thunk = ask(backend); next(thunk.stream())", "print(True)"),
    "the child closes and asks again": (
        "thunk = ask(backend); next(thunk.stream())",
        """
        import gc
        for _ in range(3):
            print(bool(ask(backend, tokens=3).wait().text))
            backend.close()
        del backend, thunk
        gc.collect()
        """,
    ),
    "the child leaves in the middle": (
        "ask(backend, tokens=1).wait()",
        "thunk = ask(backend); next(thunk.stream()); print(True)",
    ),
    "the model was unloaded": (
        "ask(backend, tokens=1).wait(); backend.close()",
        "print(bool(ask(backend, tokens=3).wait().text))",
    ),
    "nothing was loaded": ("", "print(bool(ask(backend, tokens=3).wait().text))"),
    "a child of the child": (
        "ask(backend, tokens=1).wait()",
        """
        print(bool(ask(backend, tokens=3).wait().text), flush=True)
        if os.fork() == 0:
            print(bool(ask(backend, tokens=3).wait().text), flush=True)
            sys.exit(4)
        assert os.WEXITSTATUS(os.wait()[1]) == 4
        """,
    ),
}


@needs_fork
@pytest.mark.parametrize("when", FORKS)
def test_a_forked_child_loads_a_model_of_its_own_and_exits(tiny_model: Path, when: str):
    before, child = map(textwrap.dedent, FORKS[when])
    done = script(f"{before}\n{PARENT}\n{child}\nsys.exit(7)", tiny_model)
    assert (done.returncode, done.stderr) == (0, "")
    told = done.stdout.split()
    assert "False" not in told
    assert "True" in told
    assert told[told.index("parent") + 1] == "7"


@needs_fork
@pytest.mark.model
def test_a_forked_child_of_the_real_model(real_model: Path):
    before, child = FORKS["generating"]
    done = script(f"{before}\n{PARENT}\n{child}\nsys.exit(7)", real_model)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["True", "parent", "7", "parent", "says", "True"]


def test_a_missing_extra_names_the_command():
    code = """
    import sys
    sys.modules["xllamacpp"] = None
    from mellea_rx import LocalBackend
    from mellea_rx.errors import MissingExtraError
    try:
        LocalBackend()
    except MissingExtraError as error:
        print(error)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=30, cwd=ROOT, env={**os.environ},
    )  # fmt: skip
    assert done.stderr == ""
    assert "pip install 'mellea-rx[local]'" in done.stdout


def test_importing_the_backend_imports_no_llama_cpp():
    code = "import sys, mellea_rx.backends.local; print('xllamacpp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False"
