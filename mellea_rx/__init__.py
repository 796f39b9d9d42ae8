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
from mellea_rx.core.chunk import Chunk, ToolCall, Usage
from mellea_rx.core.image import Image
from mellea_rx.core.options import ModelOption
from mellea_rx.core.reader import ThunkStream
from mellea_rx.core.requirement import Requirement, ValidationResult
from mellea_rx.core.retry import RetryPolicy
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.core.tool import Tool
from mellea_rx.errors import *  # noqa: F403
from mellea_rx.helpers.async_helpers import wait_for_all_mots
from mellea_rx.stdlib.context import ChatContext, SimpleContext
from mellea_rx.stdlib.generative import generative
from mellea_rx.stdlib.mify import mify
from mellea_rx.stdlib.react import areact, react
from mellea_rx.stdlib.session import MelleaSession, get_session
from mellea_rx.stdlib.start import start_session
from mellea_rx.stdlib.tools import acall_tools, call_tools, tool

if TYPE_CHECKING:
    from mellea_rx.backends import (
        LocalBackend,
        OllamaBackend,
        OpenAIBackend,
        ScriptedBackend,
    )

__all__ = [
    "ChatContext",
    "Chunk",
    "Image",
    "LocalBackend",
    "MelleaSession",
    "ModelOption",
    "ModelOutputThunk",
    "OllamaBackend",
    "OpenAIBackend",
    "Requirement",
    "RetryPolicy",
    "ScriptedBackend",
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
    "generative",
    "get_session",
    "mify",
    "react",
    "start_session",
    "tool",
    "wait_for_all_mots",
]
__all__ += _errors.__all__


def __getattr__(name: str) -> Any:
    # Backends are loaded on use: they bring aiohttp or llama.cpp with them.
    if name in _backends.__all__:
        return getattr(_backends, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
