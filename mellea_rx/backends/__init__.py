"""The backends and `ModelOption`. A backend's module is imported on first use of its class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mellea_rx.backends.registry import backend_names, register_backend
from mellea_rx.core.interfaces.backend import Backend, BaseBackend, Capabilities
from mellea_rx.core.runtime.lazy_names import load_name
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.request import Request, RequestMessage

if TYPE_CHECKING:
    from mellea_rx.backends.local import LocalBackend
    from mellea_rx.backends.ollama import ListedModel, OllamaBackend
    from mellea_rx.backends.openai import OpenAIBackend
    from mellea_rx.backends.scripted import Pause, ScriptedBackend
    from mellea_rx.wire.transport import Limits

__all__ = [
    "Backend",
    "BaseBackend",
    "Capabilities",
    "Limits",
    "ListedModel",
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


_HOMES = {
    "Limits": "mellea_rx.wire.transport",
    "ListedModel": "mellea_rx.backends.ollama",
    "LocalBackend": "mellea_rx.backends.local",
    "OllamaBackend": "mellea_rx.backends.ollama",
    "OpenAIBackend": "mellea_rx.backends.openai",
    "Pause": "mellea_rx.backends.scripted",
    "ScriptedBackend": "mellea_rx.backends.scripted",
}


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    return load_name(__name__, _HOMES, name)
