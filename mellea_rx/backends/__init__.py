"""The backends and `ModelOption`. A backend's module is imported on first use of its class."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mellea_rx.backends.registry import backend_names, register_backend
from mellea_rx.core.interfaces.backend import Backend, BaseBackend, Capabilities
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.request import Request, RequestMessage

if TYPE_CHECKING:
    from mellea_rx.backends.local import LocalBackend
    from mellea_rx.backends.ollama import OllamaBackend
    from mellea_rx.backends.openai import OpenAIBackend
    from mellea_rx.backends.scripted import Pause, ScriptedBackend
    from mellea_rx.wire.transport import Limits

__all__ = [
    "Backend",
    "BaseBackend",
    "Capabilities",
    "Limits",
    "LocalBackend",
    "ModelOption",
    "OllamaBackend",
    "OpenAIBackend",
    "Options",
    "Pause",
    "Request",
    "RequestMessage",
    "ScriptedBackend",
    "backend_names",
    "register_backend",
]

_MODULES = {
    "Limits": "mellea_rx.wire.transport",
    "LocalBackend": "mellea_rx.backends.local",
    "OllamaBackend": "mellea_rx.backends.ollama",
    "OpenAIBackend": "mellea_rx.backends.openai",
    "Pause": "mellea_rx.backends.scripted",
    "ScriptedBackend": "mellea_rx.backends.scripted",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
