"""Questions to a model beside the answer of a call: those of judges and of strategies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mellea_rx.core.interfaces.backend import Backend, require_backend
from mellea_rx.core.streams.chunk_source import CollectingSink
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.request import Request, RequestMessage
from mellea_rx.stdlib.pipeline.generate import check, resolve
from mellea_rx.stdlib.pipeline.retries import generate_with_retries
from mellea_rx.stdlib.pipeline.usage_tally import UsageTally
from mellea_rx.stdlib.prompts.renderer import Sources


def options_beside(options: Options) -> Options:
    """The options of a question beside a call: temperature 0, and those of the call that hold too.

    The latter decide how the model runs and how a request is sent, not the form of an answer.
    """
    kept = {  # another context window would have Ollama load the model again
        ModelOption.CONTEXT_WINDOW,
        ModelOption.FIRST_TOKEN_TIMEOUT,
        ModelOption.RETRIES,
    }
    if options.get(ModelOption.THINKING) is False:
        kept.add(ModelOption.THINKING)  # else it would use its few tokens for thinking
    own = {ModelOption.TEMPERATURE: 0, ModelOption.STREAM_TIMEOUT: options.stream_timeout}
    return Options(own).over(options.without(*set(ModelOption).difference(kept)))


async def resolve_beside(backend: Backend, given: Options, taker: str) -> tuple[Backend, Options]:
    """A backend that is asked beside the call's, resolved, and its options. Runs on the engine.

    Args:
        backend: The backend; it may be deferred.
        given: The call's options, without the options of the call's backend.
        taker: The argument that takes the backend, for the message.

    Raises:
        InvalidInputError: It is not a backend.
        OptionError: It does not support an option of the call that holds for it.
        NoBackendError: A deferred backend found none.
    """
    require_backend(backend, taker)
    options = options_beside(given.over(backend.model_options))
    check(backend, options)
    taken, request = await resolve(backend, Request((), options))
    return taken, options_beside(request.options)  # without those of a resolved backend's own


async def ask_model(
    backend: Backend,
    prompt: str,
    options: Options,
    *,
    schema: Mapping[str, Any] | None = None,
    sources: Sources,
    tally: UsageTally,
) -> Chunk:
    """Ask a model one question. Runs on the engine.

    Args:
        backend: A resolved backend.
        prompt: The question.
        options: Its model options.
        schema: A JSON schema that the answer has to fit; None for free text.
        sources: The user's templates by name, which replace the library's own.
        tally: Counts the tokens.

    Returns:
        The whole answer.

    Raises:
        BackendError: The backend failed.
    """
    gathered = CollectingSink()
    request = Request((RequestMessage("user", prompt),), options, schema=schema)
    try:
        await generate_with_retries(backend, request, gathered, sources)
    finally:
        tally.add(gathered.answer.usage)
    return gathered.answer
