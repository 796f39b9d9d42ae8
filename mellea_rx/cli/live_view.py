"""A view of runs for terminals: panels side by side, redrawn while the answers stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from math import ceil
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from mellea_rx.cli.line_views import outcome_text, print_errors, print_summary
from mellea_rx.cli.log_output import error_message
from mellea_rx.cli.run import Run
from mellea_rx.cli.terminal import escape_controls, format_seconds, one_line

__all__ = ["LiveView", "columns_for"]

FRAMES_PER_SECOND = 12
LEAST_WIDTH = 26
"""The smallest width of a panel, border included."""
_BORDER_LINES = 2
_BORDER_COLUMNS = 4
"""The width of the border and the padding of a panel."""


def columns_for(count: int, width: int) -> int:
    """The number of columns for panels, so that all rows have about the same number of them.

    Args:
        count: The number of panels.
        width: The columns of the terminal.


    Example:
        >>> columns_for(3, 80), columns_for(4, 80), columns_for(3, 40)
        (3, 2, 1)
    """
    most = max(1, min(count, width // LEAST_WIDTH))
    return ceil(count / ceil(count / most))


class LiveView:
    """Shows a panel for each run, side by side if the terminal is wide enough.

    Args:
        runs: The runs to show.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs
        self._console = Console(highlight=False)
        self._frame = _Frame(runs, self._console)
        self._live = Live(self._frame, console=self._console, auto_refresh=False, transient=True)
        self._ticking: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._live.start(refresh=True)
        self._ticking = asyncio.get_running_loop().create_task(self._tick())

    def __exit__(self, *_: Any) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        self._live.stop()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1 / FRAMES_PER_SECOND)
            self._live.refresh()

    def piece(self, run: Run, text: str) -> None:
        """Do nothing: the next frame shows it."""

    def ended(self, run: Run) -> None:
        """Do nothing: the next frame shows it."""

    def notice(self, message: str) -> None:
        """Print it above the panels."""
        self._live.console.print(Text(escape_controls(message), style="dim"))

    def report(self, wall: float) -> None:
        """Print the complete texts and the table; only the errors if no run has text."""
        if all(run.error is not None and not run.text for run in self._runs):
            print_errors(self._runs)
            return
        self._console.print(self._frame.complete())
        print_summary(self._runs, wall)


class _Frame:
    """Draws the current state of all runs, cut to the size of the terminal."""

    def __init__(self, runs: Sequence[Run], console: Console) -> None:
        self._runs = runs
        self._console = console
        self._began = time.monotonic()
        self._spinner = Spinner("line" if console.options.ascii_only else "dots")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = columns_for(len(self._runs), options.max_width)
        rows = ceil(len(self._runs) / columns)
        # Two lines stay free: the footer and the line of the cursor.
        lines = (console.size.height - 2) // rows - _BORDER_LINES
        if lines < 1:
            yield self._list(console.size.height - 2, options.max_width)
        else:
            yield self._grid(columns, options.max_width, lines)
        yield self._footer()

    def complete(self) -> RenderableType:
        """All runs with their complete texts."""
        width = self._console.width
        return self._grid(columns_for(len(self._runs), width), width, None)

    def _footer(self) -> Text:
        running = sum(not run.done for run in self._runs)
        spent = time.monotonic() - self._began
        return Text(f"{running} running, {spent:.1f} s; Ctrl-C cancels them", style="dim")

    def _grid(self, columns: int, width: int, most_lines: int | None) -> RenderableType:
        widths = [width // columns + (place < width % columns) for place in range(columns)]
        grid = Table.grid(padding=0)
        for each in widths:
            grid.add_column(width=each)
        for start in range(0, len(self._runs), columns):
            row = list(zip(self._runs[start : start + columns], widths, strict=False))
            bodies = [self._body(run, each - _BORDER_COLUMNS, most_lines) for run, each in row]
            height = max(len(body) for body in bodies) + _BORDER_LINES
            grid.add_row(
                *(
                    self._panel(run, body, each, height)
                    for (run, each), body in zip(row, bodies, strict=True)
                )
            )
        return grid

    def _panel(self, run: Run, body: list[Text], width: int, height: int) -> Panel:
        title = Text(f"{run.index} ", style="bold")
        title.append(one_line(run.prompt, width - _BORDER_COLUMNS - 4), style="not bold")
        title.truncate(width - _BORDER_COLUMNS - 2, overflow="ellipsis")
        subtitle = self._state(run)
        subtitle.truncate(width - _BORDER_COLUMNS - 2, overflow="ellipsis")
        return Panel(
            Text("\n").join(body),
            title=title,
            title_align="left",
            subtitle=subtitle,
            subtitle_align="right",
            border_style=_colour(run),
            width=width,
            height=height,
        )

    def _state(self, run: Run) -> Text:
        if not run.done:
            return Text(f"{self._spin()} {run.duration:.1f} s")
        state = outcome_text(run).append(" ") if run.error is not None else Text()
        state.append(format_seconds(run.duration), style="default")
        if run.tokens is not None:
            state.append(f", {run.tokens} tokens", style="default")
        return state

    def _body(self, run: Run, width: int, most: int | None) -> list[Text]:
        """The wrapped text of a run; its last `most` lines if there are more."""
        text = run.text if most is None else _end_of(run.text, width * most * 2)
        lines = [
            line
            for rejected in run.rejected
            for line in self._wrap(Text(escape_controls(rejected.strip("\n")), "dim strike"), width)
        ]
        lines += self._wrap(Text(escape_controls(text.strip("\n"))), width) if text else []
        if run.cancelled:
            lines += self._wrap(Text("(cancelled)", style="yellow"), width)
        elif run.error is not None:
            lines += self._wrap(
                Text(escape_controls(f"error: {error_message(run.error)}"), style="red"), width
            )
        elif not text and not run.done:
            lines = [Text(f"{self._spin()} {self._activity(run)}", style="dim")]
        elif not text:
            lines = [Text("(no text)", style="dim")]
        return lines if most is None else lines[-most:]

    def _wrap(self, text: Text, width: int) -> list[Text]:
        return list(text.wrap(self._console, max(1, width), overflow="fold"))

    def _list(self, most: int, width: int) -> Group:
        """A line for each run, if the panels do not fit; running ones come first."""
        runs = sorted(self._runs, key=lambda run: run.done)
        lines = []
        for run in runs[: max(1, most if len(runs) <= most else most - 1)]:
            line = Text(f"{run.index} {one_line(run.prompt, width // 3)} ")
            line.append_text(self._state(run))
            line.append(" " + one_line(run.text[-width:], width), style="dim")
            line.truncate(width, overflow="ellipsis")
            lines.append(line)
        if len(lines) < len(runs):
            lines.append(Text(f"… and {len(runs) - len(lines)} more", style="dim"))
        return Group(*lines)

    def _activity(self, run: Run) -> str:
        return "thinking" if run.thunk is not None and run.thunk.thinking else "waiting"

    def _spin(self) -> str:
        return str(self._spinner.render(self._console.get_time()))


def _colour(run: Run) -> str:
    if not run.done:
        return "cyan"
    if run.cancelled:
        return "yellow"
    return "red" if run.error is not None else "green"


def _end_of(text: str, least: int) -> str:
    """The last `least` characters or more, from the start of a line: they wrap as in the text."""
    start = text.rfind("\n", 0, max(0, len(text) - least)) + 1
    return text[max(start, len(text) - 4 * least) :]
