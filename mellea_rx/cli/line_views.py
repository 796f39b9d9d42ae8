"""Views of runs for pipes: prefixed lines, plain answers, or JSON; and the table of results.

Used by `run`; the table and the errors are used by the live view, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mellea_rx.cli.log_output import error_message, print_error, print_notice
from mellea_rx.cli.run import Run
from mellea_rx.cli.terminal import (
    BIDI_CONTROLS,
    escape_controls,
    format_seconds,
    one_line,
    write,
)

__all__ = [
    "JsonView",
    "LinesView",
    "QuietView",
    "outcome_text",
    "print_errors",
    "print_summary",
    "run_record",
]

_ESCAPED = re.compile(f"[\x7f-\x9f\ud800-\udfff{''.join(map(chr, BIDI_CONTROLS))}]")
"""Characters that JSON allows, and that are escaped nevertheless."""

_GAP = 3
"""Spaces between two columns of the table."""

_LEAST_PROMPT = 8
"""The smallest width of the column with the prompts."""

_OPTIONAL_COLUMNS = ("tokens/s", "first text", "tokens", "ended", "time")
"""The columns that are left out on a narrow terminal, in this order."""


class LinesView:
    """Prints each line once it is complete, after the number of its prompt; the table on stderr.

    The text of a single prompt is printed as it arrives and without a number.

    Args:
        runs: The runs to show.
        safe: Escape control characters.
    """

    def __init__(self, runs: Sequence[Run], *, safe: bool) -> None:
        self._runs = runs
        self._unfinished = dict.fromkeys(runs, "")
        self._escape = escape_controls if safe else str

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        pass

    def piece(self, run: Run, text: str) -> None:
        """Print the lines that this text completes."""
        if len(self._runs) == 1:
            write(self._escape(text))
            return
        *lines, self._unfinished[run] = (self._unfinished[run] + text).split("\n")
        if lines:
            write("".join(self._line(run, line) for line in lines))

    def ended(self, run: Run) -> None:
        """Print the last line."""
        if len(self._runs) == 1:
            if run.text and not run.text.endswith("\n"):
                write("\n")
        elif self._unfinished[run]:
            write(self._line(run, self._unfinished.pop(run)))

    def _line(self, run: Run, line: str) -> str:
        return f"[{run.index}] {self._escape(line)}\n"

    def notice(self, message: str) -> None:
        """Print it to stderr."""
        print_notice(message)

    def report(self, wall: float) -> None:
        """Print the errors and the table to stderr."""
        print_errors(self._runs)
        print_summary(self._runs, wall, stderr=True)


class QuietView:
    """Prints the answers only: a single one as it arrives, several completely and in order.

    An empty line separates two answers. Errors go to stderr.

    Args:
        runs: The runs to show.
        safe: Escape control characters.
    """

    def __init__(self, runs: Sequence[Run], *, safe: bool) -> None:
        self._runs = runs
        self._printed = 0
        self._escape = escape_controls if safe else str

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        pass

    def piece(self, run: Run, text: str) -> None:
        """Print the text of a single run."""
        if len(self._runs) == 1:
            write(self._escape(text))

    def ended(self, run: Run) -> None:
        """Print the answers that only ended runs precede."""
        if len(self._runs) == 1:
            if run.text and not run.text.endswith("\n"):
                write("\n")
            return
        while self._printed < len(self._runs) and self._runs[self._printed].done:
            text = self._runs[self._printed].text.strip("\n")
            write(("\n" if self._printed else "") + self._escape(text) + "\n")
            self._printed += 1

    def notice(self, message: str) -> None:
        """Print nothing."""

    def report(self, wall: float) -> None:
        """Print the errors."""
        print_errors(self._runs)


class JsonView:
    """Prints one JSON object per line for each run, once it has ended."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        pass

    def piece(self, run: Run, text: str) -> None:
        """Print nothing."""

    def ended(self, run: Run) -> None:
        """Print the object of the run."""
        line = json.dumps(run_record(run), ensure_ascii=False)
        write(_ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", line) + "\n")

    def notice(self, message: str) -> None:
        """Print it to stderr."""
        print_notice(message)

    def report(self, wall: float) -> None:
        """Print nothing: each object has its times."""


def run_record(run: Run) -> dict[str, Any]:
    """The fields of a run that `--json` prints."""
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
        kind, message = type(run.error).__name__, error_message(run.error)
        record["error"] = {"type": kind, "message": message, "text": run.error.text}
    return record


def outcome_text(run: Run) -> Text:
    """The outcome of a run, coloured."""
    if run.cancelled:
        return Text(run.outcome, style="yellow")
    return Text(one_line(run.outcome, 12), style="red" if run.error else "green")


def print_errors(runs: Sequence[Run]) -> None:
    """Print the errors to stderr. The same message of several runs is printed once.

    It is preceded by the numbers of its runs, unless all runs have it.
    """
    runs_of: dict[str, list[Run]] = {}
    for run in runs:
        if run.error is not None and not run.cancelled:
            runs_of.setdefault(error_message(run.error), []).append(run)
    for failed in runs_of.values():
        error = failed[0].error
        assert error is not None
        numbers = " ".join(f"[{run.index}]" for run in failed)
        print_error(error, prefix="" if len(failed) == len(runs) else numbers)


def print_summary(runs: Sequence[Run], wall: float, *, stderr: bool = False) -> None:
    """Print a table of the runs; below it the total time, and the sum of their times.

    Nothing is printed if no run has any text.

    Args:
        runs: The runs.
        wall: The seconds that all of them took together.
        stderr: Print to stderr instead of stdout.
    """
    if not any(run.text for run in runs):
        return
    console = Console(stderr=stderr, highlight=False)
    try:
        console.print()
        console.print(_table(runs, console.width))
        if len(runs) > 1:
            console.print(_totals(runs, wall))
    except OSError:
        if not stderr:
            raise


def _table(runs: Sequence[Run], width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    rows = [_cells(run) for run in runs]
    columns = _fitting_columns(rows, width)
    prompts = max(_LEAST_PROMPT, width - _width_without_prompts(rows, columns))
    for name in columns:
        is_text = name in ("prompt", "ended")
        table.add_column(
            name, justify="left" if is_text else "right", no_wrap=True, overflow="ellipsis"
        )
    table.columns[0].style = "cyan"
    for run, row in zip(runs, rows, strict=True):
        row["prompt"] = Text(one_line(run.prompt, prompts))
        table.add_row(*(row[name] for name in columns))
    return table


def _cells(run: Run) -> dict[str, Text]:
    """The row of a run by column; its prompt is filled in once the other widths are known."""
    tokens = run.tokens
    rate = f"{tokens / run.duration:.1f}" if tokens and run.duration else "-"
    return {
        "#": Text(str(run.index)),
        "prompt": Text(),
        "first text": Text(format_seconds(run.ttft)),
        "time": Text(format_seconds(run.duration)),
        "tokens": Text("-" if tokens is None else str(tokens)),
        "tokens/s": Text(rate),
        "ended": outcome_text(run),
    }


def _fitting_columns(rows: Sequence[dict[str, Text]], width: int) -> list[str]:
    """The columns that fit into the width of the terminal, in order."""
    columns = list(rows[0])
    for name in _OPTIONAL_COLUMNS:
        if _width_without_prompts(rows, columns) + _LEAST_PROMPT <= width:
            break
        columns.remove(name)
    return columns


def _width_without_prompts(rows: Sequence[dict[str, Text]], columns: Sequence[str]) -> int:
    widths = (
        max(len(name), *(row[name].cell_len for row in rows))
        for name in columns
        if name != "prompt"
    )
    return sum(widths) + _GAP * (len(columns) - 1)


def _totals(runs: Sequence[Run], wall: float) -> Text:
    total = sum(run.duration for run in runs)
    tokens = sum(run.tokens or 0 for run in runs)
    line = Text("all ").append(str(len(runs)), style="bold").append(" in ")
    line.append(format_seconds(wall), style="bold")
    line.append(f" (their times add up to {format_seconds(total)})")
    if tokens and wall:
        line.append(f"; {tokens / wall:.1f} tokens/s together")
    return line
