"""`mellea-rx chat`: a conversation with streamed answers, on a terminal or in a pipe."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from mellea_rx.cli.conversation_file import ConversationFile
from mellea_rx.cli.exit_codes import INTERRUPTED, SUCCESS, TERMINATED, code_of
from mellea_rx.cli.log_output import print_error
from mellea_rx.cli.run import CancelOnSigterm, describe_backend, prepare
from mellea_rx.cli.terminal import WordWrap, escape_controls, format_seconds, write
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.errors import MelleaRxError
from mellea_rx.stdlib.session.session import MelleaSession

__all__ = ["chat_on_pipe", "chat_on_terminal"]

_PROMPT = "you> "
_HELP = """\
/reset   clear the conversation
/exit    end the chat (as Ctrl-D does)
/help    show this list
Ctrl-C cancels the current answer; at the prompt it ends the chat."""


def chat_on_pipe(session: MelleaSession, file: ConversationFile) -> int:
    """Take each line of stdin as a turn, and write the answers to stdout, up to the first error.

    Args:
        session: Makes the calls.
        file: Is written after each turn.

    Returns:
        The exit code.
    """
    with asyncio.Runner() as runner, session:
        for line in sys.stdin:
            if not line.strip():
                continue
            try:
                code = runner.run(_write_answer(session, line.strip()))
                file.save(session)
            except MelleaRxError as error:
                print_error(error)
                return code_of(error)
            if code != SUCCESS:
                return code
    return SUCCESS


async def _write_answer(session: MelleaSession, line: str) -> int:
    with CancelOnSigterm() as sigterm:
        thunk = await session.achat(line)
        code = SUCCESS
        try:
            async for piece in thunk.astream():
                write(piece)
        except asyncio.CancelledError:
            thunk.cancel()
            code = TERMINATED if sigterm.terminated else INTERRUPTED
        finally:
            if thunk.text and not thunk.text.endswith("\n"):
                write("\n")
    return code


def chat_on_terminal(session: MelleaSession, file: ConversationFile, *, quiet: bool = False) -> int:
    """Take turns from the keyboard, until Ctrl-D, /exit, or Ctrl-C at the prompt.

    Args:
        session: Makes the calls.
        file: Is written after each turn.
        quiet: Show the answers only.

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
            _print_dim(console, describe_backend(session.backend))
            _print_dim(console, "/help lists the commands; Ctrl-D ends the chat")
            if session.ctx.history():
                _print_dim(console, f"the conversation so far has {_turns(session)}")
        while True:
            try:
                line = input(_PROMPT).strip()
            except EOFError:
                print()
                return SUCCESS
            except KeyboardInterrupt:
                print()
                _print_dim(console, "chat ended; during an answer, Ctrl-C cancels the answer only")
                return INTERRUPTED
            if line in ("/exit", "/quit"):
                return SUCCESS
            if line.startswith("/"):
                _command(console, session, line)
                code = SUCCESS
            elif line:
                code = runner.run(answer.to(line))
            else:
                continue
            try:
                file.save(session)
            except MelleaRxError as error:  # the chat goes on, and says so after each turn
                print_error(error)
            if code != SUCCESS:
                return code


def _turns(session: MelleaSession) -> str:
    count = len(session.ctx.history())
    return f"{count} turn" if count == 1 else f"{count} turns"


def _command(console: Console, session: MelleaSession, line: str) -> None:
    if line == "/help":
        _print_dim(console, _HELP)
    elif line == "/reset":
        session.reset()
        _print_dim(console, "conversation cleared")
    else:
        _print_dim(console, f"unknown command {line.split()[0]}: /help lists the commands")


def _print_dim(console: Console, text: str) -> None:
    console.print(Text(escape_controls(text), style="dim"), soft_wrap=True)


class _Answer:
    """Shows answers on the terminal, one after another."""

    def __init__(self, console: Console, session: MelleaSession, *, quiet: bool) -> None:
        self._console = console
        self._session = session
        self._quiet = quiet
        self._wrap = self._new_wrap()

    async def to(self, line: str) -> int:
        """Send `line` and show the answer. An error is printed, and ends only this answer.

        Returns:
            `SUCCESS`, or the exit code if the chat has to end.
        """
        with CancelOnSigterm() as sigterm:
            try:
                self._wrap = self._new_wrap()
                thunk = await self._session.achat(line)
                try:
                    await self._show(thunk)
                except asyncio.CancelledError:
                    thunk.cancel()
                    self._close_line(thunk)
                    _print_dim(self._console, "(cancelled; not part of the conversation)")
            except MelleaRxError as error:
                print_error(error)
            return TERMINATED if sigterm.terminated else SUCCESS

    async def _show(self, thunk: ModelOutputThunk[str]) -> None:
        pieces = thunk.astream()
        with self._spinner():
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
            _print_dim(self._console, f"({format_seconds(thunk.duration)}{tokens})")

    def _new_wrap(self) -> WordWrap:
        return WordWrap(lambda: self._console.width)

    def _write(self, text: str) -> None:
        write(self._wrap.feed(escape_controls(text)))

    def _close_line(self, thunk: ModelOutputThunk[str]) -> None:
        write(self._wrap.end())
        if thunk.text and not thunk.text.endswith("\n"):
            write("\n")

    @contextmanager
    def _spinner(self) -> Iterator[None]:
        """Show a spinner until the first text."""
        if self._quiet:
            yield
            return
        spinner = "line" if self._console.options.ascii_only else "dots"
        with self._console.status("", spinner=spinner):
            yield
