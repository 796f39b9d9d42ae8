"""What answers a request: a backend's own stream, with what it cannot do made up for."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from functools import partial

from reactivex import Observable

from mellea_rx.core.backend import (
    Backend,
    capabilities_of,
    decides_late,
    require_images,
    resolved,
)
from mellea_rx.core.chunk import Chunk
from mellea_rx.core.options import ModelOption, Options
from mellea_rx.core.request import Request
from mellea_rx.core.shell import FENCE, Peeler
from mellea_rx.core.sink import Sink
from mellea_rx.core.source import Push, forward
from mellea_rx.formatters.template import NO_SOURCES, Sources
from mellea_rx.stdlib.beginnings import Opener, Unrepeated, Unspaced, in_words, without_last_space
from mellea_rx.stdlib.tools.in_words import ChoiceReader, check_in_words, has_tools, without_tools
from mellea_rx.stdlib.tries import until_answered

__all__ = ["answer", "answer_from_its_beginning", "check"]


def check(backend: Backend, options: Options) -> None:
    """Refuse what neither the backend can do nor the pipeline make up for.

    Raises:
        OptionError: Names the option.
    """
    if not capabilities_of(backend).tools:
        if not decides_late(backend):  # else it is asked when it is decided
            check_in_words(options)
        options = options.without(ModelOption.TOOLS, ModelOption.TOOL_CHOICE)
    backend.check(options)


def answer(
    backend: Backend, request: Request, sink: Sink, sources: Sources = NO_SOURCES
) -> Awaitable[None]:
    """Have `backend` answer, and push all chunks of it. Runs on the engine.

    Where the request ends with an assistant's message, only what follows that message is pushed:
    whoever makes the call says the beginning itself (`answer_from_its_beginning` does). A backend
    that cannot go on from it is asked for it in words, and what it repeats of it is dropped. White
    space where the two meet is not doubled.

    Where the answer has to fit a schema, only the JSON is pushed, without a fence around it.

    A backend that takes no tools is told of them in words; what it chooses comes out as a call or
    as text.

    A try that fails is followed by another as the request's options have it; see `until_answered`.

    Args:
        backend: Who answers.
        request: What it is asked.
        sink: Takes the chunks.
        sources: What takes the place of templates, by their names.

    Raises:
        OptionError: An option that the backend does not have, where it was decided only now.
        InvalidInputError: An image that the backend does not take.
        MelleaRxError: What the backend failed with.
    """
    return _answer(backend, request, sink, sink.push, sources)


def answer_from_its_beginning(
    backend: Backend, request: Request, sink: Sink, sources: Sources = NO_SOURCES
) -> Awaitable[None]:
    """As `answer`, with how the answer begins pushed ahead of what follows it."""
    if not request.beginning:
        return _answer(backend, request, sink, sink.push, sources)
    return _answer_opened(backend, request, sink, sources)


async def _answer_opened(backend: Backend, request: Request, sink: Sink, sources: Sources) -> None:
    opener = Opener(request.beginning, sink)
    await _answer(backend, request, sink, opener.add, sources)
    opener.end()


def _answer(
    backend: Backend, request: Request, sink: Sink, push: Push, sources: Sources
) -> Awaitable[None]:
    # No coroutine more than it takes: each is kept as long as the answer streams.
    if decides_late(backend):
        return _answer_late(backend, request, sink, push, sources)
    require_images(backend, request.images)
    return until_answered(partial(_ask, backend, push, sources), backend, request, sink)


async def _answer_late(
    backend: Backend, request: Request, sink: Sink, push: Push, sources: Sources
) -> None:
    taken = await resolved(backend)
    # Decided only now, so the door could not ask it.
    request = replace(request, options=request.options.over(taken.model_options))
    check(taken, request.options)
    await _answer(taken, request, sink, push, sources)


def _ask(backend: Backend, push: Push, sources: Sources, request: Request) -> Awaitable[None]:
    """One try, with what the backend cannot do made up for."""
    in_words = has_tools(request) and not capabilities_of(backend).tools
    if in_words or request.beginning or request.schema is not None:
        return _ask_helped(backend, push, sources, request)
    return forward(backend.stream(request), push)


async def _ask_helped(backend: Backend, push: Push, sources: Sources, request: Request) -> None:
    reader: ChoiceReader | None = None
    if has_tools(request) and not capabilities_of(backend).tools:
        request, is_choice = without_tools(request, sources)
        if is_choice:
            reader = ChoiceReader(push, backend.name)
            push = reader.take
    if request.beginning:
        push = Unspaced(request.beginning, push).add
        if capabilities_of(backend).continues:
            request = without_last_space(request)
        else:
            push = Unrepeated(request.beginning, push).add
            request = in_words(request, sources)
    if request.schema is None:
        await forward(backend.stream(request), push)
    elif request.beginning:
        # A server's constraint holds from where the model begins to speak: from the JSON's middle.
        await forward(backend.stream(replace(request, schema=None)), push)
    else:
        await _forward_json(backend.stream(request), push)
    if reader is not None:
        reader.finish()


async def _forward_json(source: Observable[Chunk], push: Push) -> None:
    bare = Peeler(FENCE, push)
    try:
        await forward(source, bare.push)
    finally:
        bare.end()
