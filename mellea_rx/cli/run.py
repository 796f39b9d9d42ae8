"""`mellea-rx run`: prompts answered at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mellea_rx.cli.exits import FINE, INTERRUPTED, TERMINATED, common_code
from mellea_rx.cli.signals import Stop
from mellea_rx.cli.terminal import is_piped, read_stdin
from mellea_rx.core.backend import Backend
from mellea_rx.core.logs import ContextClamped, log
from mellea_rx.core.options import ModelOption
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.errors import (
    GenerationCancelledError,
    GenerationTimeoutError,
    InvalidInputError,
    MelleaRxError,
)
from mellea_rx.stdlib.session import MelleaSession

__all__ = ["Run", "View", "answer_all", "name_of", "prepare", "read_prompts"]


@dataclass(slots=True, eq=False)
class Run:
    """A prompt and what became of it.

    Attributes:
        index: Its number, from 1.
        prompt: The prompt.
        text: The answer so far.
        thunk: The generation, once it is started.
        error: Why it failed.
        done: Whether its end has come, good or bad.
    """

    index: int
    prompt: str
    text: str = ""
    thunk: ModelOutputThunk[str] | None = None
    error: MelleaRxError | None = None
    done: bool = False

    @property
    def duration(self) -> float:
        """Seconds from the call to the end, or to now."""
        return 0.0 if self.thunk is None else self.thunk.duration

    @property
    def ttft(self) -> float | None:
        """Seconds to the first content; None before it."""
        return None if self.thunk is None else self.thunk.ttft

    @property
    def tokens(self) -> int | None:
        """How many tokens the answer has, where the server told."""
        usage = None if self.thunk is None else self.thunk.usage
        return None if usage is None else usage.completion_tokens

    @property
    def cancelled(self) -> bool:
        """Whether it was ended before its end."""
        return isinstance(self.error, GenerationCancelledError)

    @property
    def ended(self) -> str:
        """How it ended, in a word: "stop", "length", "cancelled", "timed out", "failed"."""
        if self.cancelled:
            return "cancelled"
        if self.error is not None:
            return "timed out" if isinstance(self.error, GenerationTimeoutError) else "failed"
        return (self.thunk and self.thunk.finish_reason) or "-"


class View(Protocol):
    """Shows runs. Its context ends when all of them have ended."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: Any) -> None: ...

    def piece(self, run: Run, text: str) -> None:
        """More text of a run; `run.text` has it already."""

    def ended(self, run: Run) -> None:
        """A run has ended, good or bad."""

    def notice(self, message: str) -> None:
        """Something to know besides. Called from any thread."""

    def report(self, wall: float) -> None:
        """All have ended, after `wall` seconds."""


def read_prompts(given: Sequence[str]) -> list[Run]:
    """The prompts, with text from stdin.

    Without a prompt that text is the prompt. With prompts it is a part of each, ahead of it; where
    one of them is "-", it is that one alone.

    Args:
        given: The command line's prompts.

    Raises:
        InvalidInputError: "-" stands there twice, a prompt is empty, or there is none.
    """
    if given.count("-") > 1:
        raise InvalidInputError("the prompt '-' is read from stdin, and so can stand there once")
    text = read_stdin() if "-" in given or is_piped() else ""
    for number, each in enumerate(given, 1):
        if not (text if each == "-" else each).strip():
            where = " (from stdin)" if each == "-" else ""
            raise InvalidInputError(f"prompt {number}{where} is empty")
    if not given and not text:
        raise InvalidInputError(
            'there is no prompt: give one ("Write a haiku."), or text on stdin; '
            "mellea-rx run --help has examples"
        )
    if "-" in given:
        prompts = [text if each == "-" else each for each in given]
    else:
        prompts = [_after(text, each) for each in given] or [text]
    return [Run(number, prompt) for number, prompt in enumerate(prompts, 1)]


def _after(text: str, prompt: str) -> str:
    return f"{text}\n\n{prompt}" if text else prompt


async def answer_all(
    session: MelleaSession, runs: Sequence[Run], view: View, *, names: bool = False
) -> int:
    """Have all prompts answered at once, and show it.

    Ctrl-C ends the generations on their servers; what had come is shown.

    Args:
        session: Makes the calls.
        runs: The prompts.
        view: Shows them.
        names: Show the backend and the model first.

    Returns:
        The exit code.
    """
    await prepare(session)
    if names:
        view.notice(name_of(session.backend))
    began = time.monotonic()
    code = None
    with Stop() as stop, session, view:
        tasks = [asyncio.create_task(_answer(session, run, view)) for run in runs]
        try:
            await asyncio.gather(*tasks)
        except asyncio.CancelledError:
            code = TERMINATED if stop.terminated else INTERRUPTED
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            wall = time.monotonic() - began
    view.report(wall)
    if code is not None:
        return code
    return common_code([run.error for run in runs if run.error is not None]) or FINE


async def prepare(session: MelleaSession) -> None:
    """Do the first call's chores before anything is drawn, since they may show progress.

    A server that would silently work with less context than was asked for is told of in the log.
    """
    backend: Any = session.backend
    if hasattr(backend, "prepare"):
        await backend.prepare()
    asked = backend.model_options.get(ModelOption.CONTEXT_WINDOW)
    if asked is not None and hasattr(backend, "context_length"):
        try:
            has = await backend.context_length()
        except MelleaRxError:
            return  # the call itself says what is wrong
        if has is not None and has < asked:
            log(ContextClamped(asked, backend.model, has))


def name_of(backend: Backend) -> str:
    """The backend and the model that answer, for people.

    Example:
        >>> from mellea_rx import OllamaBackend
        >>> name_of(OllamaBackend("llama3.2", base_url="http://localhost:11434"))
        'llama3.2, by ollama at http://localhost:11434'
    """
    model, origin = getattr(backend, "model", None), getattr(backend, "origin", None)
    where = f"{backend.name} at {origin}" if origin else backend.name
    return f"{model}, by {where}" if model else where


async def _answer(session: MelleaSession, run: Run, view: View) -> None:
    try:
        run.thunk = await session.ainstruct(run.prompt)
        async for piece in run.thunk.astream():
            run.text += piece
            view.piece(run, piece)
    except MelleaRxError as error:
        run.error = error
    except asyncio.CancelledError:
        why = "ended before its end"
        if run.thunk is not None:
            run.thunk.cancel(why)
            rest = run.thunk.text[len(run.text) :]
            run.text += rest
            view.piece(run, rest)
        run.error = GenerationCancelledError(why, text=run.text)
    run.done = True
    view.ended(run)
