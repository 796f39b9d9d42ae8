"""Runs a page's Python blocks as a user would, and says what is seen of each.

`python -m tests.docs.seen docs/troubleshooting.md` prints a JSON list of lists of lines, one for
each Python block: what it printed, what the library logged, what Python warned of, and the error
that ended it. A block with a top-level `await` runs on the page's event loop, others without one.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import gc
import inspect
import io
import json
import logging
import sys
import warnings
from types import CodeType

from tests.docs.pages import ROOT, blocks_of


class _Lines(io.StringIO):
    """Printed text as lines, among other lines."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def write(self, text: str) -> int:
        super().write(text)
        *whole, rest = self.getvalue().split("\n")
        self._lines += whole
        self.seek(0)
        self.truncate()
        super().write(rest)
        return len(text)


class _Log(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines += record.getMessage().split("\n")


def seen(page: str) -> list[list[str]]:
    """The output of each Python block of a page."""
    told: list[list[str]] = []
    names: dict[str, object] = {"__name__": "__main__"}
    logger = logging.getLogger("mellea_rx")
    with asyncio.Runner() as runner:
        for block in blocks_of(page):
            if block.language != "python":
                continue
            lines: list[str] = []
            told.append(lines)
            log = _Log(lines)
            logger.addHandler(log)
            source = "\n" * (block.line - 1) + block.text
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            code = compile(source, str(ROOT / page), "exec", flags=flags)
            with contextlib.redirect_stdout(_Lines(lines)), warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.showwarning = lambda message, kind, *_, lines=lines: lines.append(
                    f"{kind.__name__}: {message}"
                )
                _run(code, names, runner, lines)
                gc.collect()  # what nobody awaited is told of when it goes
            logger.removeHandler(log)
    return told


def _run(
    code: CodeType, names: dict[str, object], runner: asyncio.Runner, lines: list[str]
) -> None:
    try:
        if code.co_flags & inspect.CO_COROUTINE:

            async def main() -> None:
                await asyncio.wait_for(eval(code, names), 30)

            runner.run(main())
        else:
            exec(code, names)
    except Exception as error:
        kind = type(error)
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        lines += f"{module}{kind.__qualname__}: {error}".split("\n")


if __name__ == "__main__":
    output = seen(sys.argv[1])
    print(json.dumps(output))
