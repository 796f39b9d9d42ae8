"""Backends by name; their modules are loaded on use."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from typing import Any

from mellea_rx.core.backend import Backend
from mellea_rx.core.locks import no_fork
from mellea_rx.errors import UnknownBackendError
from mellea_rx.wire.secrets import shielded

__all__ = ["backend_names", "backend_parameters", "create_backend", "register_backend"]

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
    backend: Backend = _factory(name)(*args, **options)
    return backend


def backend_parameters(name: str) -> frozenset[str]:
    """The keywords that a backend's factory names.

    Raises:
        UnknownBackendError: As `create_backend`.
    """
    try:
        parameters = signature(_factory(name)).parameters.values()
    except (TypeError, ValueError):  # it does not say, as many a built-in
        return frozenset()
    return frozenset(each.name for each in parameters if each.kind is each.KEYWORD_ONLY)


def _factory(name: str) -> Callable[..., Any]:
    factory = _factories.get(name) if isinstance(name, str) else None
    if factory is None:
        names = ", ".join(repr(each) for each in backend_names())
        raise UnknownBackendError(f"there is no backend {name!r}: there are {names}{_hint(name)}")
    if not isinstance(factory, str):
        return factory
    module, _, attribute = factory.partition(":")
    with no_fork:
        made: Callable[..., Any] = getattr(import_module(module), attribute)
    return made


def _hint(name: object) -> str:
    """The name that is nearest, or how a model is named."""
    if not isinstance(name, str) or not name.strip():
        return ""
    near = get_close_matches(name, _factories, n=1)
    if near and not set(name) & set("0123456789.:/"):
        return f"; did you mean {near[0]!r}?"
    backend = "ollama"
    if name.endswith(".gguf") or name == "smollm2":
        backend = "local"
    elif name.startswith(("gpt-", "o1", "o3", "o4", "chatgpt-")):
        backend = "openai"
    return f"; a model's name comes second: start_session({backend!r}, {name!r})"
