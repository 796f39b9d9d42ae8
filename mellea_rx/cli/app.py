"""The commands and their arguments."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from difflib import get_close_matches
from typing import Annotated, Any

import typer

from mellea_rx._version import __version__
from mellea_rx.cli import options as shared
from mellea_rx.cli.chat import chat_on_pipe, chat_on_terminal
from mellea_rx.cli.doctor import examine, print_findings
from mellea_rx.cli.exits import (
    EXPLAINED,
    FAILED,
    FINE,
    PIPE_CLOSED,
    WRONG_USAGE,
    code_of,
    say_error,
    stop_writing,
)
from mellea_rx.cli.lines import JsonView, LinesView, QuietView
from mellea_rx.cli.live import LiveView
from mellea_rx.cli.models import list_models
from mellea_rx.cli.notices import notices_to, say_notice
from mellea_rx.cli.run import Run, View, answer_all, read_prompts
from mellea_rx.cli.terminal import can_draw, is_terminal, take_any_text
from mellea_rx.cli.text import harmless
from mellea_rx.core.logs import AttemptRejected, BackendChosen, RequestRetried
from mellea_rx.stdlib.context import ChatContext

__all__ = ["start"]


def _block(title: str, lines: Iterable[str]) -> str:
    """Lines for the end of a help text, as they are (that is what \\b asks for)."""
    return "\n".join(["\b", f"{title}:", *(f"  {line}" for line in lines)])


_RUN_EXAMPLES = (
    'mellea-rx run "Write a haiku about rivers." "Write a haiku about forests."',
    'git diff | mellea-rx run "Write a commit message for this change."',
    'mellea-rx run --json -o top_k=40 --seed 7 "Name a mountain." | jq -r .text',
)
_CHAT_EXAMPLES = (
    "mellea-rx chat --backend ollama --model llama3.2",
    'mellea-rx chat --system "You are a patient teacher of Latin."',
    "printf 'I am Ada.\\nWho am I?\\n' | mellea-rx chat",
)
_MODELS_EXAMPLES = (
    "mellea-rx models",
    "mellea-rx models --backend openai --base-url http://localhost:8000/v1",
    "mellea-rx models | cut -f2",
)
_EXITS = _block("Exit codes", (f"{code:>3}  {meaning}" for code, meaning in EXPLAINED.items()))

app = typer.Typer(
    name="mellea-rx",
    help="Language models from the command line: prompts answered at once, side by side.",
    epilog="\n\n".join(
        (_block("Examples", (*_RUN_EXAMPLES[:2], _CHAT_EXAMPLES[0], "mellea-rx doctor")), _EXITS)
    ),
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def start(arguments: list[str]) -> int:
    """Run the program.

    Args:
        arguments: What stands on the command line after the program's name.

    Returns:
        The exit code.
    """
    take_any_text()
    try:
        code = app(args=arguments, prog_name="mellea-rx", standalone_mode=False)
    except Exception as error:
        told = getattr(error, "format_message", None)  # the parser's errors have it
        if told is None:
            return _ended_by(error)
        command = getattr(getattr(error, "ctx", None), "command_path", "mellea-rx")
        message = _suggestion(error) or told()
        say_error(f"{message}\n  {command} --help tells what there is")
        return WRONG_USAGE
    return code if isinstance(code, int) else FINE


def _suggestion(error: Any) -> str | None:
    """The message about an unknown option that is near to one of ours, the nearest one first."""
    name, options = getattr(error, "option_name", None), getattr(error, "possibilities", None)
    if not name or not options:
        return None
    nearest = get_close_matches(name, options, n=2, cutoff=0.7) or options[:1]
    return f"there is no option {harmless(name)}: did you mean {' or '.join(nearest)}?"


def _ended_by(error: BaseException) -> int:
    code = code_of(error)
    if code == PIPE_CLOSED:
        stop_writing()
    else:
        say_error(error)
    return code


def _guarded(work: Callable[[], int]) -> None:
    """Do a command's work and exit with its code. Nothing passes that Typer would handle."""
    try:
        code = work()
    except Exception as error:
        code = _ended_by(error)
    raise typer.Exit(code)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"mellea-rx {__version__}")
        raise typer.Exit(FINE)


@app.callback(invoke_without_command=True)
def main(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="The version, and no more.", callback=_tell_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Language models from the command line: prompts answered at once, side by side."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
        raise typer.Exit(WRONG_USAGE)


@app.command(epilog="\n\n".join((_block("Examples", _RUN_EXAMPLES), _EXITS)))
def run(
    prompts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROMPT",
            help="What to ask. Text on stdin goes ahead of it, or is the prompt where none is "
            "given; with - it is that prompt alone.",
            show_default=False,
        ),
    ] = None,
    backend: shared.Backend = "auto",
    model: shared.Model = None,
    base_url: shared.BaseUrl = None,
    system: shared.System = None,
    max_tokens: shared.MaxTokens = None,
    temperature: shared.Temperature = None,
    seed: shared.Seed = None,
    timeout: shared.Timeout = None,
    option: shared.Given = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="One JSON object a line for each prompt, as it finishes; no summary."
        ),
    ] = False,
    quiet: shared.Quiet = False,
) -> None:
    """Have several prompts answered at once.

    On a terminal the answers stream side by side, and a table tells who took how long. In a pipe
    each line says whose it is, "[2] ...", and the table goes to stderr; a single prompt's text
    goes out as it is.
    """

    def work() -> int:
        settings = shared.Settings.of(
            (backend, model, base_url),
            option,
            system_prompt=system,
            max_new_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            stream_timeout=timeout,
        )
        session = settings.session()
        runs = read_prompts(prompts or [])
        view = _view(runs, as_json=as_json, quiet=quiet)
        names = is_terminal() and not quiet and not as_json
        with _notices(view.notice, quiet=quiet, names=names):
            return asyncio.run(answer_all(session, runs, view, names=names))

    _guarded(work)


def _view(runs: list[Run], *, as_json: bool, quiet: bool) -> View:
    if as_json:
        return JsonView()
    if quiet:
        return QuietView(runs, safe=is_terminal())
    return LiveView(runs) if can_draw() else LinesView(runs, safe=is_terminal())


def _notices(
    say: Callable[[str], None], *, quiet: bool, names: bool
) -> AbstractContextManager[None]:
    """The library's log, for people: with `names` the backend is told apart from it."""
    if quiet:
        return notices_to(say_notice, level=logging.WARNING)
    told_elsewhere = (BackendChosen,) if names else ()
    return notices_to(say, leave_out=(RequestRetried, AttemptRejected, *told_elsewhere))


@app.command(epilog="\n\n".join((_block("Examples", _CHAT_EXAMPLES), _EXITS)))
def chat(
    backend: shared.Backend = "auto",
    model: shared.Model = None,
    base_url: shared.BaseUrl = None,
    system: shared.System = None,
    max_tokens: shared.MaxTokens = None,
    temperature: shared.Temperature = None,
    seed: shared.Seed = None,
    timeout: shared.Timeout = None,
    option: shared.Given = None,
    quiet: shared.Quiet = False,
) -> None:
    """Talk with a model that remembers what was said.

    Ctrl-C ends the answer that is coming, and keeps the chat; Ctrl-D ends the chat. In a pipe,
    each line of stdin is a turn.
    """

    def work() -> int:
        settings = shared.Settings.of(
            (backend, model, base_url),
            option,
            system_prompt=system,
            max_new_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            stream_timeout=timeout,
        )
        session = settings.session(ChatContext())
        by_hand = sys.stdin.isatty() and is_terminal()
        with _notices(say_notice, quiet=quiet, names=by_hand):
            return chat_on_terminal(session, quiet=quiet) if by_hand else chat_on_pipe(session)

    _guarded(work)


@app.command(epilog="\n\n".join((_block("Examples", _MODELS_EXAMPLES), _EXITS)))
def models(
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend", "-b", metavar="NAME", help="Only this one: ollama, openai or local."
        ),
    ] = None,
    base_url: shared.BaseUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a model.")] = False,
) -> None:
    """List the models of each backend that answers.

    A table on a terminal; in a pipe a line for each model: the backend, a tab, the model.
    """

    def work() -> int:
        return asyncio.run(list_models(backend, base_url, as_json=as_json))

    _guarded(work)


@app.command(short_help="Tell what is installed, and which backends answer.")
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Tell what is installed, which backends answer, and what to do where none does.

    Brings nothing and changes nothing. Exits with 0 when at least one backend is usable, else
    with 1.
    """

    def work() -> int:
        found = asyncio.run(examine())
        if as_json:
            print(json.dumps(found.as_json(), indent=2))
        else:
            print_findings(found)
        return FINE if found.usable else FAILED

    _guarded(work)
