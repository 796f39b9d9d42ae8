"""The commands of `mellea-rx` with their arguments and help texts, and how errors end them."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from difflib import get_close_matches
from typing import Annotated, Any, cast, get_args

import typer

from mellea_rx._version import __version__
from mellea_rx.cli.chat import chat_on_pipe, chat_on_terminal
from mellea_rx.cli.conversation_file import opened_conversation
from mellea_rx.cli.doctor import examine, list_models, print_findings
from mellea_rx.cli.exit_codes import (
    FAILED,
    MEANINGS,
    PIPE_CLOSED,
    SUCCESS,
    USAGE_ERROR,
    code_of,
)
from mellea_rx.cli.line_views import JsonView, LinesView, QuietView
from mellea_rx.cli.live_view import LiveView
from mellea_rx.cli.log_output import log_to, print_error, print_notice
from mellea_rx.cli.options import BaseUrl, SessionOptions, with_session_options
from mellea_rx.cli.run import Checks, Run, View, answer_all, read_prompts
from mellea_rx.cli.terminal import (
    can_redraw,
    discard_output,
    escape_controls,
    escape_unencodable,
    is_terminal,
)
from mellea_rx.core.runtime.logs import AttemptRejected, BackendChosen, RequestRetried
from mellea_rx.core.types.release import Release
from mellea_rx.errors import InvalidInputError

__all__ = ["start"]


def _block(title: str, lines: Iterable[str]) -> str:
    """A block at the end of a help text; after \\b Click does not wrap its lines."""
    return "\n".join(["\b", f"{title}:", *(f"  {line}" for line in lines)])


_RUN_EXAMPLES = (
    'mellea-rx run "Write a haiku about rivers." "Write a haiku about forests."',
    'git diff | mellea-rx run "Write a commit message for this change."',
    'mellea-rx run -r "It has no exclamation mark." --release validated "Praise the sea."',
    'mellea-rx run --json -o top_k=40 --seed 7 "Name a mountain." | jq -r .text',
)
_CHAT_EXAMPLES = (
    "mellea-rx chat --backend ollama --model llama3.2",
    'mellea-rx chat --system "You are a patient teacher of Latin."',
    "mellea-rx chat --save latin.json",
    "mellea-rx chat --continue latin.json",
    "printf 'I am Ada.\\nWho am I?\\n' | mellea-rx chat",
)
_MODELS_EXAMPLES = (
    "mellea-rx models",
    "mellea-rx models --backend openai --base-url http://localhost:8000/v1",
    "mellea-rx models | cut -f2",
)
_EXIT_CODES = _block("Exit codes", (f"{code:>3}  {meaning}" for code, meaning in MEANINGS.items()))

app = typer.Typer(
    name="mellea-rx",
    help="Generate text with language models, for several prompts concurrently.",
    epilog="\n\n".join(
        (
            _block("Examples", (*_RUN_EXAMPLES[:2], _CHAT_EXAMPLES[0], "mellea-rx doctor")),
            _EXIT_CODES,
        )
    ),
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def start(arguments: list[str]) -> int:
    """Run the program.

    Args:
        arguments: The arguments of the command line, without the name of the program.

    Returns:
        The exit code.
    """
    escape_unencodable()
    try:
        code = app(args=arguments, prog_name="mellea-rx", standalone_mode=False)
    except Exception as error:
        format_message = getattr(error, "format_message", None)  # errors of the parser have it
        if format_message is None:
            return _report(error)
        command = getattr(getattr(error, "ctx", None), "command_path", "mellea-rx")
        print_error(f"{_suggestion(error) or format_message()}\n  see {command} --help")
        return USAGE_ERROR
    return code if isinstance(code, int) else SUCCESS


def _suggestion(error: Any) -> str | None:
    """A message that names the options nearest to an unknown one; None for other errors."""
    name, options = getattr(error, "option_name", None), getattr(error, "possibilities", None)
    if not name or not options:
        return None
    nearest = get_close_matches(name, options, n=2, cutoff=0.7) or options[:1]
    return f"unknown option {escape_controls(name)}: did you mean {' or '.join(nearest)}?"


def _report(error: BaseException) -> int:
    """Print an error, and return its exit code. A closed pipe is not reported."""
    code = code_of(error)
    if code == PIPE_CLOSED:
        discard_output()
    else:
        print_error(error)
    return code


def _exit_with(work: Callable[[], int]) -> None:
    """Do the work of a command, and exit with its code or that of its error.

    Errors are handled here because Typer would print a traceback for them.
    """
    try:
        code = work()
    except Exception as error:
        code = _report(error)
    raise typer.Exit(code)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"mellea-rx {__version__}")
        raise typer.Exit(SUCCESS)


@app.callback(invoke_without_command=True)
def main(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Generate text with language models, for several prompts concurrently."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
        raise typer.Exit(USAGE_ERROR)


@app.command(epilog="\n\n".join((_block("Examples", _RUN_EXAMPLES), _EXIT_CODES)))
@with_session_options
def run(
    options: SessionOptions,
    prompts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROMPT",
            help="The prompts. Text on stdin is put before each of them, or is the prompt if none "
            "is given; a prompt - is replaced by that text, and the others are then left alone.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print a JSON object per line for each prompt as it ends; no table."
        ),
    ] = False,
    requirement: Annotated[
        list[str] | None,
        typer.Option(
            "--requirement",
            "-r",
            metavar="TEXT",
            help="A requirement on each answer, in words: the model checks it, and an answer that "
            "does not meet it is rejected. Can be repeated.",
        ),
    ] = None,
    attempts: Annotated[
        int,
        typer.Option("--attempts", metavar="N", help="Maximum number of attempts at an answer."),
    ] = 2,
    require: Annotated[
        bool,
        typer.Option(
            "--require",
            help="An answer that meets the requirements in no attempt is an error; by default the "
            "best attempt is printed, with a warning.",
        ),
    ] = False,
    release: Annotated[
        str,
        typer.Option(
            "--release",
            metavar="WHEN",
            help="When to show text on a terminal: accepted (once its attempt is), validated (as "
            "long as nothing in it is rejected) or live (at once). Text that is rejected later is "
            "struck through. Elsewhere only accepted text is printed.",
        ),
    ] = "accepted",
) -> None:
    """Generate the answers to several prompts concurrently.

    On a terminal, the answers stream side by side, followed by a table of their times. In a pipe,
    each line starts with the number of its prompt, "[2] ...", and the table goes to stderr; the
    text of a single prompt is printed unchanged.
    """

    def work() -> int:
        session = options.session()
        runs = read_prompts(prompts or [])
        view = _view(runs, as_json=as_json, quiet=options.quiet)
        shown = release if isinstance(view, LiveView) else "accepted"
        checks = _checks(requirement or [], attempts, release, require=require, shown=shown)
        show_backend = is_terminal() and not options.quiet and not as_json
        with _log_output(view.notice, quiet=options.quiet, show_backend=show_backend):
            return asyncio.run(answer_all(session, runs, view, checks, show_backend=show_backend))

    _exit_with(work)


def _checks(
    requirements: list[str], attempts: int, release: str, *, require: bool, shown: str
) -> Checks:
    """The requirements of the command line.

    Args:
        requirements: In words.
        attempts: The maximum number of attempts.
        release: The policy that was asked for.
        require: Whether an answer that does not meet them is an error.
        shown: The policy of the view.

    Raises:
        InvalidInputError: A value cannot be used, or has no meaning without requirements.
    """
    if attempts < 1:
        raise InvalidInputError(f"--attempts must be 1 or more, not {attempts}")
    if release not in get_args(Release):
        known = ", ".join(get_args(Release))
        raise InvalidInputError(f"--release is one of {known}, not {release!r}")
    given = {"--attempts": attempts != 2, "--require": require, "--release": release != "accepted"}
    alone = [name for name, is_given in given.items() if is_given]
    if alone and not requirements:
        raise InvalidInputError(f"{alone[0]} needs --requirement: there is nothing to be checked")
    if any(not each.strip() for each in requirements):
        raise InvalidInputError("--requirement is empty: say what an answer has to be")
    return Checks(tuple(requirements), attempts, require, cast("Release", shown))


def _view(runs: list[Run], *, as_json: bool, quiet: bool) -> View:
    if as_json:
        return JsonView()
    if quiet:
        return QuietView(runs, safe=is_terminal())
    return LiveView(runs) if can_redraw() else LinesView(runs, safe=is_terminal())


def _log_output(
    show: Callable[[str], None], *, quiet: bool, show_backend: bool
) -> AbstractContextManager[None]:
    """Show the log messages that matter to the user of a command.

    With `show_backend` the command itself names the backend, so the log's message is left out.
    """
    if quiet:
        return log_to(print_notice, level=logging.WARNING)
    shown_otherwise = (BackendChosen,) if show_backend else ()
    return log_to(show, leave_out=(RequestRetried, AttemptRejected, *shown_otherwise))


@app.command(epilog="\n\n".join((_block("Examples", _CHAT_EXAMPLES), _EXIT_CODES)))
@with_session_options
def chat(
    options: SessionOptions,
    save: Annotated[
        str | None,
        typer.Option("--save", metavar="FILE", help="Keep the conversation in this new file."),
    ] = None,
    goes_on: Annotated[
        str | None,
        typer.Option(
            "--continue", metavar="FILE", help="Go on with the conversation in this file."
        ),
    ] = None,
) -> None:
    """Chat with a model that remembers the conversation.

    Ctrl-C cancels the current answer and keeps the chat; Ctrl-D ends the chat. In a pipe, each
    line of stdin is a turn.
    """

    def work() -> int:
        context, file = opened_conversation(save, goes_on)
        session = options.session(context)
        interactive = sys.stdin.isatty() and is_terminal()
        with _log_output(print_notice, quiet=options.quiet, show_backend=interactive):
            if interactive:
                return chat_on_terminal(session, file, quiet=options.quiet)
            return chat_on_pipe(session, file)

    _exit_with(work)


@app.command(epilog="\n\n".join((_block("Examples", _MODELS_EXAMPLES), _EXIT_CODES)))
def models(
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend", "-b", metavar="NAME", help="Ask this one only: ollama, openai or local."
        ),
    ] = None,
    base_url: BaseUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line.")] = False,
) -> None:
    """List the models of each backend that answers.

    On a terminal, prints a table. In a pipe, prints a line for each model: the backend, a tab, and
    the model.
    """

    def work() -> int:
        return asyncio.run(list_models(backend, base_url, as_json=as_json))

    _exit_with(work)


@app.command(short_help="Show the installed packages and the usable backends.")
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show the installed packages, the usable backends, and how to make the others usable.

    Downloads and changes nothing. Exits with 0 if at least one backend is usable, else with 1.
    """

    def work() -> int:
        found = asyncio.run(examine())
        if as_json:
            print(json.dumps(found.as_json(), indent=2))
        else:
            print_findings(found)
        return SUCCESS if found.usable else FAILED

    _exit_with(work)
