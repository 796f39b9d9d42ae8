"""The retry loop of one generation, used by calls, attempts, the judge and summaries.

A try that fails before its first chunk is repeated as `ModelOption.RETRIES` allows. One that
breaks off later is repeated as `ModelOption.ON_INTERRUPT` says:

    no chunk yet:    --#      --#    --a--b--c|
    "continue":      --a--b#         --c|
    "restart":       --a--b#         --x--y--z|
"""

from __future__ import annotations

import asyncio

from mellea_rx.core.interfaces.backend import Backend, capabilities_of, require_images
from mellea_rx.core.runtime.logs import RequestRetried, error_summary, log
from mellea_rx.core.runtime.wait_graph import running_number
from mellea_rx.core.streams.chunk_source import AnswerSink
from mellea_rx.core.types.options import ModelOption
from mellea_rx.core.types.request import Request
from mellea_rx.errors import (
    BackendError,
    GenerationFailedError,
    IdleTimeoutError,
    StreamInterruptedError,
)
from mellea_rx.stdlib.pipeline.generate import generate
from mellea_rx.stdlib.pipeline.prefill import with_prefill
from mellea_rx.stdlib.pipeline.prompted_tools import has_tools
from mellea_rx.stdlib.prompts.renderer import NO_SOURCES, Sources

_INTERRUPTIONS = (StreamInterruptedError, IdleTimeoutError, GenerationFailedError)


async def generate_with_retries(
    backend: Backend, request: Request, sink: AnswerSink, sources: Sources = NO_SOURCES
) -> None:
    """Generate an answer, emulating features that the backend lacks. Runs on the engine.

    - Prefill: where the request ends with an assistant's message, the answer goes on from it. That
      text is pushed ahead of the answer, unless the sink has text already. A backend that cannot
      continue a message is asked for the text in words, and drops it where the model repeats it.
      White space where the two texts meet is not doubled.
    - Schema: only the JSON is pushed, without a code fence around it.
    - Tools: to a backend without them they are described in the prompt, and the model's choice is
      pushed as a tool call or as text.

    Args:
        backend: A resolved backend; see `resolve`.
        request: The request of the first try.
        sink: Takes the chunks of all tries.
        sources: The user's templates by name, which replace the library's own.

    Raises:
        InvalidInputError: The backend does not take an image of the request.
        BackendError: The error of the last try.
    """
    require_images(backend, request.images)
    policy, loop = request.options.retry_policy, asyncio.get_running_loop()
    started_at, tries = loop.time(), 1
    while True:
        try:
            await generate(backend, request, sink, sources)
            return
        except BackendError as error:
            following = _next_request(error, backend, request, sink)
            pause = policy.pause_in_budget(error, tries, loop.time() - started_at)
            if following is None or pause is None:
                raise
            restarts = sink.has_content and following is request
            if restarts and not sink.restart(error):
                raise
            sink.retrying(error, pause, restarts=restarts)
            log(RequestRetried(running_number(), error_summary(error), tries, pause))
        await asyncio.sleep(pause)
        request, tries = following, tries + 1


def _next_request(
    error: BackendError, backend: Backend, request: Request, sink: AnswerSink
) -> Request | None:
    """The request of the try that follows a failed one; None where there is to be none."""
    if not sink.has_content:
        return request if request.options.retry_policy.should_retry(error) else None
    # The server accepted the request, since the answer had begun: the interruption may be
    # transient, whatever the retry policy says of the error.
    if not isinstance(error, _INTERRUPTIONS):
        return None
    match request.options.get(ModelOption.ON_INTERRUPT, "fail"):
        case "restart":
            return request
        case "continue" if _can_continue(backend, request):
            return with_prefill(request, sink.text)
    return None


def _can_continue(backend: Backend, request: Request) -> bool:
    """Whether a backend can be asked for the rest of an answer.

    It cannot where the answer is JSON that has to fit a schema: that holds from the first token.
    """
    able = capabilities_of(backend)
    in_json = request.schema is not None or (has_tools(request) and not able.tools)
    return able.prefill and not in_json
