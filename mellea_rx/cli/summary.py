"""Who took how long, and who failed."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mellea_rx.cli.exits import say_error, told
from mellea_rx.cli.run import Run
from mellea_rx.cli.text import first_line, seconds

__all__ = ["outcome", "print_summary", "say_errors"]


_GAP = 3
"""Spaces between two columns."""
_LEAST_PROMPT = 8
_FIRST_TO_GO = ("tokens/s", "first text", "tokens", "ended", "time")
"""The columns that a narrow terminal does without, one after the other."""


def outcome(run: Run) -> Text:
    """How a run ended, in a coloured word."""
    if run.cancelled:
        return Text(run.ended, style="yellow")
    return Text(first_line(run.ended, 12), style="red" if run.error else "green")


def say_errors(runs: Sequence[Run]) -> None:
    """The errors on stderr; one that several runs share once, with all their numbers."""
    whose: dict[str, list[Run]] = {}
    for run in runs:
        if run.error is not None and not run.cancelled:
            whose.setdefault(told(run.error), []).append(run)
    for sharing in whose.values():
        all_of_them = len(sharing) == len(runs)
        numbers = "" if all_of_them else " ".join(f"[{run.index}]" for run in sharing)
        error = sharing[0].error
        assert error is not None
        say_error(error, whose=numbers)


def print_summary(runs: Sequence[Run], wall: float, *, stderr: bool = False) -> None:
    """The table, and the time of all beside the sum of their times.

    Nothing is printed where no run came to an answer.

    Args:
        runs: What ran.
        wall: Seconds that all of them took together.
        stderr: Print to stderr, not to stdout.
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
    columns = _fitting(rows, width)
    prompts = max(_LEAST_PROMPT, width - _taken(rows, columns))
    for name in columns:
        is_text = name in ("prompt", "ended")
        table.add_column(
            name, justify="left" if is_text else "right", no_wrap=True, overflow="ellipsis"
        )
    table.columns[0].style = "cyan"
    for run, row in zip(runs, rows, strict=True):
        row["prompt"] = Text(first_line(run.prompt, prompts))
        table.add_row(*(row[name] for name in columns))
    return table


def _cells(run: Run) -> dict[str, Text]:
    """A run's row, but for its prompt, which takes the width that the others leave."""
    tokens = run.tokens
    rate = f"{tokens / run.duration:.1f}" if tokens and run.duration else "-"
    return {
        "#": Text(str(run.index)),
        "prompt": Text(),
        "first text": Text(seconds(run.ttft)),
        "time": Text(seconds(run.duration)),
        "tokens": Text("-" if tokens is None else str(tokens)),
        "tokens/s": Text(rate),
        "ended": outcome(run),
    }


def _fitting(rows: Sequence[dict[str, Text]], width: int) -> list[str]:
    """The columns that a terminal has the width for, in order."""
    columns = list(rows[0])
    for name in _FIRST_TO_GO:
        if _taken(rows, columns) + _LEAST_PROMPT <= width:
            break
        columns.remove(name)
    return columns


def _taken(rows: Sequence[dict[str, Text]], columns: Sequence[str]) -> int:
    """The width of a table without its prompts."""
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
    line.append(seconds(wall), style="bold")
    line.append(f" (their times add up to {seconds(total)})")
    if tokens and wall:
        line.append(f"; {tokens / wall:.1f} tokens/s together")
    return line
