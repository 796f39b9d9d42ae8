"""The start and the end of a call, for the log; pipelines call `log_call` and `log_prompt`."""

from __future__ import annotations

from mellea_rx.core.interfaces.backend import Backend, model_of
from mellea_rx.core.runtime.logs import (
    AnswerReceived,
    CallEnded,
    CallStarted,
    PromptSent,
    log,
    logs_calls,
    logs_content,
)
from mellea_rx.core.streams.generation import Generation
from mellea_rx.core.streams.retraction import Retraction
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.request import Request


def log_call(generation: Generation, backend: Backend) -> None:
    """Log a call's start, and its end when that comes, where DEBUG is on now."""
    if logs_calls():
        log(CallStarted(generation.number, backend.name, _model_of(backend)))
        generation.witness = _EndLog(generation, backend)


def log_prompt(generation: Generation, request: Request) -> None:
    """Log a call's prompt, where its start was logged and content is switched on."""
    if generation.witness is not None and logs_content():
        said = [(message.role, message.content) for message in request.messages]
        log(PromptSent(generation.number, said))


class _EndLog:
    """Logs a generation's end; a subscriber that ignores its chunks."""

    has_ended = True
    is_idle = False

    def __init__(self, generation: Generation, backend: Backend) -> None:
        self._generation = generation
        self._backend = backend

    def add(self, chunk: Chunk) -> bool:
        return False

    def end(self) -> bool:
        return True

    def retract(self, retraction: Retraction) -> bool:
        return False

    def wake(self) -> None:
        """Log the end. Called without the generation's lock."""
        generation = self._generation
        generation.witness = None  # they hold each other
        answer, error = generation.answer(), generation.error
        usage = answer.usage
        log(
            CallEnded(
                generation.number,
                self._backend.name,
                answer.model or _model_of(self._backend),
                (answer.finish_reason or "complete") if error is None else type(error).__name__,
                usage.prompt_tokens if usage else None,
                usage.completion_tokens if usage else None,
                generation.ttft,
                generation.duration,
            )
        )
        if logs_content():
            log(AnswerReceived(generation.number, answer.text))


def _model_of(backend: Backend) -> str:
    return model_of(backend) or "-"
