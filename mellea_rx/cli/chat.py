"""`mellea-rx chat`: a conversation, answers streaming as they come."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from mellea_rx.cli.exits import FINE, INTERRUPTED, TERMINATED, code_of, say_error
from mellea_rx.cli.lines import write
from mellea_rx.cli.run import name_of, prepare
from mellea_rx.cli.signals import Stop
from mellea_rx.cli.text import harmless, seconds
from mellea_rx.cli.wrap import WordWrap
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.errors import MelleaRxError
from mellea_rx.stdlib.session import MelleaSession

__all__ = ["chat_on_pipe", "chat_on_terminal"]

_PROMPT = "you> "
_HELP = """\
/reset   forget the conversation
/exit    end the chat; so does Ctrl-D
/help    this
Ctrl-C during an answer ends that answer only; at the prompt it ends the chat."""


def chat_on_pipe(session: MelleaSession) -> int:
    """Each line of stdin is a turn; its answer goes to stdout. Ends at the first error.

    Returns:
        The exit code.
    """
    with asyncio.Runner() as runner, session:
        for line in sys.stdin:
            if not line.strip():
                continue
            try:
                code = runner.run(_answer_plainly(session, line.strip()))
            except MelleaRxError as error:
                say_error(error)
                return code_of(error)
            if code != FINE:
                return code
    return FINE


async def _answer_plainly(session: MelleaSession, line: str) -> int:
    with Stop() as stop:
        thunk = await session.achat(line)
        code = FINE
        try:
            async for piece in thunk.astream():
                write(piece)
        except asyncio.CancelledError:
            thunk.cancel()
            code = TERMINATED if stop.terminated else INTERRUPTED
        finally:
            if thunk.text and not thunk.text.endswith("\n"):
                write("\n")
    return code


def chat_on_terminal(session: MelleaSession, *, quiet: bool = False) -> int:
    """Turns from the keyboard, until Ctrl-D, /exit, or Ctrl-C at the prompt.

    Args:
        session: Makes the calls.
        quiet: Show the answers and nothing about them.

    Returns:
        The exit code.
    """
    try:
        import readline  # noqa: F401 - gives input() line editing and a history
    except ImportError:
        pass
    console = Console(highlight=False)
    answer = _Answer(console, session, quiet=quiet)
    with asyncio.Runner() as runner, session:
        runner.run(prepare(session))
        if not quiet:
            _dim(console, name_of(session.backend))
            _dim(console, "/help tells what there is; Ctrl-D ends the chat")
        while True:
            try:
                line = input(_PROMPT).strip()
            except EOFError:
                print()
                return FINE
            except KeyboardInterrupt:
                print()
                _dim(console, "chat ended; Ctrl-C during an answer ends that answer only")
                return INTERRUPTED
            if line in ("/exit", "/quit"):
                return FINE
            if line.startswith("/"):
                _command(console, session, line)
            elif line and (code := runner.run(answer.to(line))) != FINE:
                return code


def _command(console: Console, session: MelleaSession, line: str) -> None:
    if line == "/help":
        _dim(console, _HELP)
    elif line == "/reset":
        session.reset()
        _dim(console, "the conversation is forgotten")
    else:
        _dim(console, f"there is no command {line.split()[0]}: /help tells what there is")


def _dim(console: Console, text: str) -> None:
    console.print(Text(harmless(text), style="dim"), soft_wrap=True)


class _Answer:
    """Answers on the terminal, one after the other."""

    def __init__(self, console: Console, session: MelleaSession, *, quiet: bool) -> None:
        self._console = console
        self._session = session
        self._quiet = quiet
        self._wrap = self._new_wrap()

    async def to(self, line: str) -> int:
        """Say `line` and show the answer. An error is shown, and ends only this answer.

        Returns:
            `FINE`, or the code to end the chat with.
        """
        with Stop() as stop:
            try:
                self._wrap = self._new_wrap()
                thunk = await self._session.achat(line)
                try:
                    await self._show(thunk)
                except asyncio.CancelledError:
                    thunk.cancel()
                    self._close_line(thunk)
                    _dim(self._console, "(ended; this turn is not part of the conversation)")
            except MelleaRxError as error:
                say_error(error)
            return TERMINATED if stop.terminated else FINE

    async def _show(self, thunk: ModelOutputThunk[str]) -> None:
        pieces = thunk.astream()
        with self._waiting():
            first = await pieces
        self._write(first.lstrip("\n"))
        try:
            async for piece in pieces:
                self._write(piece)
        finally:
            if thunk.error is not None:
                self._close_line(thunk)
        self._close_line(thunk)
        if not self._quiet:
            tokens = f", {thunk.usage.completion_tokens} tokens" if thunk.usage else ""
            _dim(self._console, f"({seconds(thunk.duration)}{tokens})")

    def _new_wrap(self) -> WordWrap:
        return WordWrap(lambda: self._console.width)

    def _write(self, text: str) -> None:
        write(self._wrap.feed(harmless(text)))

    def _close_line(self, thunk: ModelOutputThunk[str]) -> None:
        write(self._wrap.end())
        if thunk.text and not thunk.text.endswith("\n"):
            write("\n")

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """A spinner until the first text."""
        if self._quiet:
            yield
            return
        spinner = "line" if self._console.options.ascii_only else "dots"
        with self._console.status("", spinner=spinner):
            yield
