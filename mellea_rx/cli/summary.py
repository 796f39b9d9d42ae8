"""Who took how long, and who failed."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mellea_rx.cli.exits import say_error
from mellea_rx.cli.run import Run
from mellea_rx.cli.text import first_line, seconds

__all__ = ["outcome", "print_summary", "say_errors"]


_OTHER_COLUMNS = 56
"""How wide the table is without the prompts."""


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
            whose.setdefault(str(run.error), []).append(run)
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
    table.add_column("#", justify="right", style="cyan", no_wrap=True)
    table.add_column("prompt", no_wrap=True, overflow="ellipsis")
    for name in ("first text", "time", "tokens", "tokens/s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("ended", no_wrap=True)
    for run in runs:
        tokens = run.tokens
        rate = f"{tokens / run.duration:.1f}" if tokens and run.duration else "-"
        table.add_row(
            str(run.index),
            Text(first_line(run.prompt, max(8, width - _OTHER_COLUMNS))),
            seconds(run.ttft),
            seconds(run.duration),
            "-" if tokens is None else str(tokens),
            rate,
            outcome(run),
        )
    return table


def _totals(runs: Sequence[Run], wall: float) -> Text:
    total = sum(run.duration for run in runs)
    tokens = sum(run.tokens or 0 for run in runs)
    line = Text("all ").append(str(len(runs)), style="bold").append(" in ")
    line.append(seconds(wall), style="bold")
    line.append(f" (their times add up to {seconds(total)})")
    if tokens and wall:
        line.append(f"; {tokens / wall:.1f} tokens/s together")
    return line
