"""Generative programs as observables.

    import mellea_rx

    m = mellea_rx.start_session()
    thunk = await m.ainstruct("Write a haiku about concurrency.")    # returns at once
    print(await thunk.avalue())

A thunk is an Observable of chunks: subscribe to it, merge and zip it, iterate it with
`astream()`, or await its value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mellea_rx import backends as _backends
from mellea_rx import errors as _errors
from mellea_rx._version import __version__
from mellea_rx.core.runtime.lazy_names import load_name as _load_name
from mellea_rx.core.streams.reader import RetractableStream, ThunkStream
from mellea_rx.core.streams.thunk import ComputedThunk, ModelOutputThunk
from mellea_rx.core.types.chunk import Chunk, Retracted, ToolCall, Usage
from mellea_rx.core.types.image import Image
from mellea_rx.core.types.options import ModelOption
from mellea_rx.core.types.output import Output
from mellea_rx.core.types.requirement import Requirement, ValidationResult
from mellea_rx.core.types.retry_policy import RetryPolicy
from mellea_rx.core.types.session_budget import SessionBudget
from mellea_rx.core.types.session_usage import ModelUsage, Price, SessionUsage
from mellea_rx.core.types.tool import Tool
from mellea_rx.errors import *  # noqa: F403
from mellea_rx.helpers.async_helpers import wait_for_all_mots
from mellea_rx.helpers.run import engine_here, run
from mellea_rx.stdlib.context.contexts import ChatContext, SimpleContext
from mellea_rx.stdlib.session.session import MelleaSession, get_session
from mellea_rx.stdlib.session.start import start_session

if TYPE_CHECKING:
    from mellea_rx.backends import (
        LocalBackend,
        OllamaBackend,
        OpenAIBackend,
        ScriptedBackend,
    )
    from mellea_rx.stdlib.generative import generative
    from mellea_rx.stdlib.objects.mify import mify
    from mellea_rx.stdlib.react import ReactStep, areact, react
    from mellea_rx.stdlib.tools import acall_tools, call_tools, tool

__all__ = [
    "ChatContext",
    "Chunk",
    "ComputedThunk",
    "Image",
    "LocalBackend",
    "MelleaSession",
    "ModelOption",
    "ModelOutputThunk",
    "ModelUsage",
    "OllamaBackend",
    "OpenAIBackend",
    "Output",
    "Price",
    "ReactStep",
    "Requirement",
    "RetractableStream",
    "Retracted",
    "RetryPolicy",
    "ScriptedBackend",
    "SessionBudget",
    "SessionUsage",
    "SimpleContext",
    "ThunkStream",
    "Tool",
    "ToolCall",
    "Usage",
    "ValidationResult",
    "__version__",
    "acall_tools",
    "areact",
    "call_tools",
    "engine_here",
    "generative",
    "get_session",
    "mify",
    "react",
    "run",
    "start_session",
    "tool",
    "wait_for_all_mots",
]
__all__ += _errors.__all__


_MODULES = (
    "backends",
    "errors",
    "events",
    "helpers",
    "logs",
    "operators",
    "stdlib",
    "testing",
    "web",
)

# What not every program needs is loaded on use; backends bring aiohttp or llama.cpp with them.
_HOMES = {
    **{name: f"{__name__}.{name}" for name in _MODULES},
    **dict.fromkeys({*_backends.__all__}.intersection(__all__), _backends.__name__),
    **dict.fromkeys(("ReactStep", "areact", "react"), "mellea_rx.stdlib.react"),
    **dict.fromkeys(("acall_tools", "call_tools", "tool"), "mellea_rx.stdlib.tools"),
    "generative": "mellea_rx.stdlib.generative",
    "mify": "mellea_rx.stdlib.mify",
}


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})


def __getattr__(name: str) -> Any:
    return _load_name(__name__, _HOMES, name)
