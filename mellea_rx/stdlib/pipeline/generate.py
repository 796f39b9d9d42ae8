"""The straight line from a request to the chunks of its answer; sessions, calls and retries use it.

    check     refuses, before a call starts, what can be refused by then
    resolve   decides which backend answers, and checks the call's options against that backend
    generate  makes one try: prompted tools, prefill and format filters, then the backend's stream

Each step calls only what stands below it. `generate_with_retries` (in `tries`) is the entry that
pipelines use: it repeats `generate`.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace

from mellea_rx.core.interfaces.backend import Backend, capabilities_of, is_deferred, resolved
from mellea_rx.core.streams.chunk_source import AnswerSink, drain
from mellea_rx.core.text.unwrapping import FENCE, StreamUnwrapper
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.request import Request
from mellea_rx.stdlib.pipeline.prefill import (
    PrefillEmitter,
    RepeatedPrefillFilter,
    SeamSpaceFilter,
    asking_for_prefill,
    without_trailing_space,
)
from mellea_rx.stdlib.pipeline.prompted_tools import (
    PromptedToolDecoder,
    check_in_words,
    has_tools,
    without_tools,
)
from mellea_rx.stdlib.pipeline.request_ledger import counted
from mellea_rx.stdlib.prompts.renderer import Sources


def check(backend: Backend, options: Options) -> None:
    """Refuse options that neither the backend supports nor the pipeline can emulate.

    Raises:
        OptionError: Names the option.
    """
    if not capabilities_of(backend).tools:
        # A deferred backend has no capabilities yet: `resolve` checks the tools.
        if not is_deferred(backend):
            check_in_words(options)
        options = options.without(ModelOption.TOOLS, ModelOption.TOOL_CHOICE)
    backend.check(options)


async def resolve(backend: Backend, request: Request) -> tuple[Backend, Request]:
    """Decide which backend answers a call. Runs on the engine, after the prompt was rendered.

    Args:
        backend: The backend of the session, or of one attempt.
        request: The request, with the call's options.

    Returns:
        The backend and the request as they are; of a deferred backend, the backend that it
        resolves to, and the request with the call's options over that backend's own.

    Raises:
        OptionError: The resolved backend does not support an option.
        NoBackendError: A deferred backend found none.
    """
    taken = await resolved(backend)
    if taken is backend:  # its options were checked before the call started
        return backend, request
    options = request.options.over(taken.model_options)
    check(taken, options)
    return taken, replace(request, options=options)


def generate(
    backend: Backend, request: Request, sink: AnswerSink, sources: Sources
) -> Awaitable[None]:
    """Make one try at an answer: push its chunks into `sink`, emulating what the backend lacks.

    Args:
        backend: A resolved backend.
        request: The request of this try.
        sink: Takes the chunks.
        sources: The user's templates by name, which replace the library's own.

    Raises:
        MelleaRxError: (when awaited) The error that the backend failed with.
    """
    needs_filters = request.schema is not None or request.prefill
    if needs_filters or _needs_prompted_tools(backend, request):
        return _generate_filtered(backend, request, sink, sources)
    # No coroutine of its own: it would live as long as the answer streams.
    return drain(backend.stream(request), counted(backend, sink.push), backend.name)


def _needs_prompted_tools(backend: Backend, request: Request) -> bool:
    return has_tools(request) and not capabilities_of(backend).tools


async def _generate_filtered(
    backend: Backend, request: Request, sink: AnswerSink, sources: Sources
) -> None:
    # Filters are chained from the sink outwards: a chunk passes them in the reverse order.
    push = sink.push
    emitter = decoder = unwrapper = None
    if request.prefill:
        emitter = PrefillEmitter(request.prefill, sink)
        push = emitter.push
    if _needs_prompted_tools(backend, request):
        request, is_choice = without_tools(request, sources)
        if is_choice:
            decoder = PromptedToolDecoder(push, backend.name)
            push = decoder.take
    if request.prefill:
        push = SeamSpaceFilter(request.prefill, push).push
        if capabilities_of(backend).prefill:
            request = without_trailing_space(request)
        else:
            push = RepeatedPrefillFilter(request.prefill, push).push
            request = asking_for_prefill(request, sources)
        # A server's constraint would hold from where the model begins: from the JSON's middle.
        request = replace(request, schema=None)
    if request.schema is not None:
        unwrapper = StreamUnwrapper(FENCE, push)
        push = unwrapper.push
    try:
        await drain(backend.stream(request), counted(backend, push), backend.name)
    finally:
        if unwrapper is not None:
            unwrapper.end()
    if decoder is not None:
        decoder.finish()
    if emitter is not None:
        emitter.end()
