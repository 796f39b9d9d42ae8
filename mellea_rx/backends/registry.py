"""Backends by name; their modules are loaded on use."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from mellea_rx.core.backend import Backend
from mellea_rx.core.locks import no_fork
from mellea_rx.errors import UnknownBackendError
from mellea_rx.wire.secrets import shielded

__all__ = ["backend_names", "create_backend", "register_backend"]

_factories: dict[str, str | Callable[..., Backend]] = {
    "auto": "mellea_rx.backends.auto:AutoBackend",
    "local": "mellea_rx.backends.llama_cpp:LocalBackend",
    "ollama": "mellea_rx.backends.ollama:OllamaBackend",
    "openai": "mellea_rx.backends.openai:OpenAIBackend",
    "scripted": "mellea_rx.backends.scripted:ScriptedBackend",
}


def backend_names() -> list[str]:
    """The names that `start_session` takes, sorted."""
    return sorted(_factories)


def register_backend(name: str, factory: str | Callable[..., Backend]) -> None:
    """Let `start_session(name)` make a backend of your own.

    Args:
        name: Its name; an existing one is replaced.
        factory: Makes it from `model_id` and keyword options, or "module:attribute" of what does.
    """
    _factories[name] = factory


def create_backend(name: str, *args: Any, **options: Any) -> Backend:
    """Make a backend.

    Raises:
        UnknownBackendError: No such name; the message lists those there are.
    """
    options = shielded(options)  # under its own name: no traceback shows the caller's
    factory = _factories.get(name)
    if factory is None:
        near = get_close_matches(str(name), _factories, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        names = ", ".join(repr(each) for each in backend_names())
        raise UnknownBackendError(f"there is no backend {name!r}: there are {names}{hint}")
    if isinstance(factory, str):
        module, _, attribute = factory.partition(":")
        with no_fork:
            factory = getattr(import_module(module), attribute)
    backend: Backend = factory(*args, **options)
    return backend
