"""Answers as lines, for pipes: text that says whose it is, or JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from mellea_rx.cli.exits import told
from mellea_rx.cli.notices import say_notice
from mellea_rx.cli.run import Run
from mellea_rx.cli.summary import print_summary, say_errors
from mellea_rx.cli.text import BIDI, harmless

__all__ = ["JsonView", "LinesView", "QuietView", "record_of", "write"]

_ESCAPED = re.compile(f"[\x7f-\x9f\ud800-\udfff{''.join(map(chr, BIDI))}]")


def write(text: str) -> None:
    """Text to stdout, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


class LinesView:
    """Each line of text as it is complete, after its prompt's number; the summary on stderr.

    A single prompt's text goes out as it comes, without a number: its output is its text.

    Args:
        runs: What is shown.
        safe: Show control characters instead of passing them on.
    """

    def __init__(self, runs: Sequence[Run], *, safe: bool) -> None:
        self._runs = runs
        self._open = dict.fromkeys(runs, "")
        self._fit = harmless if safe else str

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        pass

    def piece(self, run: Run, text: str) -> None:
        """The lines that this completes."""
        if len(self._runs) == 1:
            write(self._fit(text))
            return
        *lines, self._open[run] = (self._open[run] + text).split("\n")
        if lines:
            write("".join(self._line(run, line) for line in lines))

    def ended(self, run: Run) -> None:
        """The last line."""
        if len(self._runs) == 1:
            if run.text and not run.text.endswith("\n"):
                write("\n")
        elif self._open[run]:
            write(self._line(run, self._open.pop(run)))

    def _line(self, run: Run, line: str) -> str:
        return f"[{run.index}] {self._fit(line)}\n"

    def notice(self, message: str) -> None:
        """On stderr."""
        say_notice(message)

    def report(self, wall: float) -> None:
        """What failed, and who took how long."""
        say_errors(self._runs)
        print_summary(self._runs, wall, stderr=True)


class QuietView:
    """The answers and nothing else: a single one as it comes, several whole, in their order.

    An empty line stands between two answers. Errors go to stderr.

    Args:
        runs: What is shown.
        safe: Show control characters instead of passing them on.
    """

    def __init__(self, runs: Sequence[Run], *, safe: bool) -> None:
        self._runs = runs
        self._shown = 0
        self._fit = harmless if safe else str

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        pass

    def piece(self, run: Run, text: str) -> None:
        """Its text, where it is the only one."""
        if len(self._runs) == 1:
            write(self._fit(text))

    def ended(self, run: Run) -> None:
        """All answers that have no unfinished one before them."""
        if len(self._runs) == 1:
            if run.text and not run.text.endswith("\n"):
                write("\n")
            return
        while self._shown < len(self._runs) and self._runs[self._shown].done:
            text = self._runs[self._shown].text.strip("\n")
            write(("\n" if self._shown else "") + self._fit(text) + "\n")
            self._shown += 1

    def notice(self, message: str) -> None:
        """Nothing."""

    def report(self, wall: float) -> None:
        """What failed."""
        say_errors(self._runs)


class JsonView:
    """One JSON object a line for each run, as it ends."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        pass

    def piece(self, run: Run, text: str) -> None:
        """Nothing yet."""

    def ended(self, run: Run) -> None:
        """The run's object."""
        line = json.dumps(record_of(run), ensure_ascii=False)
        write(_ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", line) + "\n")

    def notice(self, message: str) -> None:
        """On stderr."""
        say_notice(message)

    def report(self, wall: float) -> None:
        """Nothing: each object has its times."""


def record_of(run: Run) -> dict[str, Any]:
    """A run as what `--json` says of it."""
    thunk = run.thunk
    usage = None if thunk is None else thunk.usage
    record: dict[str, Any] = {
        "index": run.index,
        "prompt": run.prompt,
        "text": run.text,
        "model": None if thunk is None else thunk.model,
        "usage": usage
        and {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
        },
        "ttft": run.ttft,
        "duration": run.duration,
        "finish_reason": None if thunk is None else thunk.finish_reason,
        "error": None,
    }
    if run.error is not None:
        kind, message = type(run.error).__name__, told(run.error)
        record["error"] = {"type": kind, "message": message, "text": run.error.text}
    return record
