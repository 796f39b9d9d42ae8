"""Every code block of the documentation does what it says.

The Python blocks of a page share their names and one event loop, in order, and may use top-level
`await`; "auto" is the scripted backend, so that they need neither a model nor a network.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from mellea_rx.cli.app import start
from tests.docs.pages import NAMES, ROOT, Block, blocks_of

LANGUAGES = {"python", "console", "marbles", "text", "javascript"}
WITH_PYTHON = [name for name in NAMES if any(b.language == "python" for b in blocks_of(name))]
WITH_MISTAKES = ["docs/troubleshooting.md"]
"""Its blocks show what goes wrong: `test_troubleshooting.py` runs them."""
COMMANDS = sorted(
    {
        line.removeprefix("$ ")
        for name in NAMES
        for block in blocks_of(name)
        if block.language == "console"
        for line in block.text.splitlines()
        if line.startswith("$ ")
    }
)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_say_what_they_are(name: str) -> None:
    assert {block.language for block in blocks_of(name)} <= LANGUAGES
    fences = re.findall(r"^ *```", (ROOT / name).read_text("utf-8"), re.M)
    assert len(fences) == 2 * len(blocks_of(name)), "a block that is not closed"


def test_the_pages_that_show_python_do() -> None:
    shown = {"README.md", "docs/index.md", "docs/quickstart.md", "docs/concepts.md"}
    shown |= {"docs/backends.md", "docs/options.md", "docs/errors.md", "docs/prompts.md"}
    shown |= {"docs/structure.md"}
    shown |= {"docs/chat.md", "docs/objects.md"}
    assert shown <= set(WITH_PYTHON)


@pytest.mark.parametrize("name", sorted({*WITH_PYTHON} - {*WITH_MISTAKES}))
def test_python_blocks_run(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("MELLEA_RX_MODEL", "OLLAMA_HOST", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MELLEA_RX_BACKEND", "scripted")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    with asyncio.Runner() as runner:
        for block in blocks_of(name):
            if block.language == "python":
                runner.run(_run(block, name, names))


async def _run(block: Block, page: str, names: dict[str, object]) -> None:
    source = "\n" * (block.line - 1) + block.text  # so that a traceback has the page's lines
    code = compile(source, str(ROOT / page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)  # a coroutine, where the block awaits
    if inspect.isawaitable(result):
        await asyncio.wait_for(result, 30)


@pytest.mark.parametrize("command", COMMANDS)
def test_console_commands_are_commands(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    ours = 0
    for part in command.split(" | "):
        program, *arguments = shlex.split(part)
        if program == "mellea-rx":
            # The parser refuses what it does not know before it comes to --help.
            assert start([*arguments, "--help"]) == 0, capsys.readouterr().err
            ours += 1
        elif program == "make":
            assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.M)
            ours += 1
        elif program == "python":
            assert arguments[0] == "-m"
            assert find_spec(arguments[1]) is not None
            ours += 1
        elif program == "pip":
            assert arguments == ["install", "mellea-rx[local,cli]"]
            ours += 1
        else:
            assert program in {"git", "jq", "printf"}
    assert ours == 1
