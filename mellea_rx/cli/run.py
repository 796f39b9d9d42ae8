"""`mellea-rx run`: reads prompts, and generates their answers concurrently.

Also contains what `chat` shares with it: preparing a backend, and cancelling on SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from mellea_rx.cli.exit_codes import INTERRUPTED, TERMINATED, common_code
from mellea_rx.cli.log_output import print_notice
from mellea_rx.core.interfaces.backend import Backend
from mellea_rx.core.runtime.logs import ContextClamped, log
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.chunk import Retracted
from mellea_rx.core.types.options import ModelOption
from mellea_rx.core.types.release import Release
from mellea_rx.errors import (
    GenerationCancelledError,
    GenerationTimeoutError,
    InvalidInputError,
    MelleaRxError,
)
from mellea_rx.stdlib.sampling import RepairTemplate
from mellea_rx.stdlib.session.session import MelleaSession

__all__ = [
    "CancelOnSigterm",
    "Checks",
    "Run",
    "View",
    "answer_all",
    "describe_backend",
    "prepare",
    "read_prompts",
]

_STDIN_NOTICE_DELAY = 2.0
"""Seconds of waiting for stdin after which a notice says so."""


@dataclass(slots=True, eq=False)
class Run:
    """One prompt and its answer.

    Attributes:
        index: The number of the prompt, from 1.
        prompt: The prompt.
        text: The answer so far.
        thunk: The generation, once it has started.
        error: The reason why it failed, if it did.
        done: Whether it has ended, successfully or not.
        rejected: The texts that were shown and then rejected, oldest first.
    """

    index: int
    prompt: str
    text: str = ""
    thunk: ModelOutputThunk[str] | None = None
    error: MelleaRxError | None = None
    done: bool = False
    rejected: list[str] = field(default_factory=list)

    def retract(self, characters: int) -> None:
        """Move text from the end of the answer to the rejected ones."""
        kept = len(self.text) - characters
        self.rejected.append(self.text[kept:])
        self.text = self.text[:kept]

    @property
    def duration(self) -> float:
        """Seconds from the call to its end, or until now."""
        return 0.0 if self.thunk is None else self.thunk.duration

    @property
    def ttft(self) -> float | None:
        """Seconds from the call to the first content; None before it."""
        return None if self.thunk is None else self.thunk.ttft

    @property
    def tokens(self) -> int | None:
        """The number of tokens in the answer; None if the server does not report it."""
        usage = None if self.thunk is None else self.thunk.usage
        return None if usage is None else usage.completion_tokens

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return isinstance(self.error, GenerationCancelledError)

    @property
    def outcome(self) -> str:
        """The finish reason, "cancelled", "timed out" or "failed"; "-" if unknown."""
        if self.cancelled:
            return "cancelled"
        if self.error is not None:
            return "timed out" if isinstance(self.error, GenerationTimeoutError) else "failed"
        return (self.thunk and self.thunk.finish_reason) or "-"


@dataclass(frozen=True, slots=True)
class Checks:
    """The requirements on all answers.

    Attributes:
        requirements: The requirements, in words.
        attempts: The maximum number of attempts at each answer.
        require: Whether an answer that meets them in no attempt is an error.
        release: The time at which text is shown (see `Release`).
    """

    requirements: tuple[str, ...] = ()
    attempts: int = 2
    require: bool = False
    release: Release = "accepted"

    def call(self, session: MelleaSession, prompt: str) -> Awaitable[ModelOutputThunk[str]]:
        """Start the call of one prompt."""
        if not self.requirements:
            return session.ainstruct(prompt)
        return session.ainstruct(
            prompt,
            requirements=list(self.requirements),
            strategy=RepairTemplate(self.attempts),
            require=self.require,
            release=self.release,
            on_reject="marker",
        )


class View(Protocol):
    """Shows runs. `answer_all` enters it, and leaves it once all runs have ended."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: Any) -> None: ...

    def piece(self, run: Run, text: str) -> None:
        """Show more text of a run; `run.text` contains it already."""

    def ended(self, run: Run) -> None:
        """Show that a run has ended, successfully or not."""

    def notice(self, message: str) -> None:
        """Show a message that belongs to no run. Called from any thread."""

    def report(self, wall: float) -> None:
        """Show the results; called after leaving, with the seconds that all runs took."""


class CancelOnSigterm:
    """While entered, SIGTERM cancels the current task, as Ctrl-C does under `asyncio.run`.

    Generations are then cancelled on their servers, and the terminal is restored.

    Attributes:
        terminated: Whether SIGTERM was received.
    """

    terminated = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None

        def terminate() -> None:
            self.terminated = True
            task.cancel()

        try:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
        except (NotImplementedError, ValueError):  # Windows; a thread that is not the main one
            pass
        return self

    def __exit__(self, *_: object) -> None:
        try:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        except (NotImplementedError, ValueError):
            pass


def read_prompts(arguments: Sequence[str]) -> list[Run]:
    """Combine the prompts of the command line with text from stdin.

    Without prompts, that text is the prompt. Otherwise it is put before each prompt; but if one
    of them is "-", the text replaces that prompt and is not part of the others.

    Args:
        arguments: The prompts of the command line.

    Raises:
        InvalidInputError: "-" is given twice, a prompt is empty, or there is no prompt.
    """
    if arguments.count("-") > 1:
        raise InvalidInputError("the prompt '-' stands for stdin, so it can be given only once")
    text = _read_stdin() if "-" in arguments or _has_piped_stdin() else ""
    for number, each in enumerate(arguments, 1):
        if not (text if each == "-" else each).strip():
            where = " (from stdin)" if each == "-" else ""
            raise InvalidInputError(f"prompt {number}{where} is empty")
    if not arguments and not text:
        raise InvalidInputError(
            'there is no prompt: give one ("Write a haiku."), or text on stdin; '
            "see mellea-rx run --help for examples"
        )
    if "-" in arguments:
        prompts = [text if each == "-" else each for each in arguments]
    else:
        prompts = [f"{text}\n\n{each}" if text else each for each in arguments] or [text]
    return [Run(number, prompt) for number, prompt in enumerate(prompts, 1)]


def _has_piped_stdin() -> bool:
    """Whether stdin is a file or a pipe."""
    return sys.stdin is not None and not sys.stdin.closed and not sys.stdin.isatty()


def _read_stdin() -> str:
    """All text on stdin, without surrounding white space. A notice is printed if that takes long.

    A pipe that another program keeps open would otherwise look like a program that hangs.
    """
    if sys.stdin is None or sys.stdin.closed:
        return ""
    notice = threading.Timer(
        _STDIN_NOTICE_DELAY,
        print_notice,
        ["waiting for the end of the text on stdin (for no text: < /dev/null)"],
    )
    notice.daemon = True
    notice.start()
    try:
        return sys.stdin.read().strip()
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"stdin is not valid {error.encoding} text: byte {error.start} cannot be decoded"
        ) from None
    finally:
        notice.cancel()


async def answer_all(
    session: MelleaSession,
    runs: Sequence[Run],
    view: View,
    checks: Checks = Checks(),
    *,
    show_backend: bool = False,
) -> int:
    """Generate the answers to all prompts concurrently, and show them.

    Ctrl-C cancels the generations on their servers; the text received so far is shown.

    Args:
        session: Makes the calls.
        runs: The prompts.
        view: Shows them.
        checks: The requirements on them.
        show_backend: Show the backend and the model first.

    Returns:
        The exit code.
    """
    await prepare(session)
    if show_backend:
        view.notice(describe_backend(session.backend))
    began = time.monotonic()
    code = None
    with CancelOnSigterm() as sigterm, session, view:
        tasks = [asyncio.create_task(_answer(session, run, view, checks)) for run in runs]
        try:
            await asyncio.gather(*tasks)
        except asyncio.CancelledError:
            code = TERMINATED if sigterm.terminated else INTERRUPTED
        finally:
            # All tasks end before the view is left: each of them still shows its last text.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            wall = time.monotonic() - began
    view.report(wall)
    if code is not None:
        return code
    return common_code([run.error for run in runs if run.error is not None])


async def prepare(session: MelleaSession) -> None:
    """Download or load the model before anything is drawn, since that may print progress.

    Logs a warning if the server would silently use a smaller context window than requested.
    """
    backend: Any = session.backend
    if hasattr(backend, "prepare"):
        await backend.prepare()
    requested = backend.model_options.get(ModelOption.CONTEXT_WINDOW)
    if requested is not None and hasattr(backend, "context_length"):
        try:
            available = await backend.context_length()
        except MelleaRxError:
            return  # the call itself will fail with the same error
        if available is not None and available < requested:
            log(ContextClamped(requested, backend.model, available))


def describe_backend(backend: Backend) -> str:
    """Name the model and the backend in one line.

    Example:
        >>> from mellea_rx import OllamaBackend
        >>> describe_backend(OllamaBackend("llama3.2", base_url="http://localhost:11434"))
        'llama3.2 on ollama at http://localhost:11434'
    """
    model, origin = getattr(backend, "model", None), getattr(backend, "origin", None)
    where = f"{backend.name} at {origin}" if origin else backend.name
    return f"{model} on {where}" if model else where


async def _answer(session: MelleaSession, run: Run, view: View, checks: Checks) -> None:
    try:
        run.thunk = await checks.call(session, run.prompt)
        async for piece in run.thunk.astream(retractions=True):
            if isinstance(piece, Retracted):  # only views that redraw are shown such text
                run.retract(piece.characters)
                continue
            run.text += piece
            view.piece(run, piece)
    except MelleaRxError as error:
        run.error = error
    except asyncio.CancelledError:
        why = "cancelled by the user"
        if run.thunk is not None:
            run.thunk.cancel(why)
            # Text that arrived since the last piece has not been shown yet.
            rest = run.thunk.text[len(run.text) :]
            run.text += rest
            view.piece(run, rest)
        run.error = GenerationCancelledError(why, text=run.text)
    run.done = True
    view.ended(run)
