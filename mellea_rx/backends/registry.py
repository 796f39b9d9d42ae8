"""The registry of backends by name, for `start_session`. Imports their modules on first use."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from typing import Any

from mellea_rx.core.interfaces.backend import Backend
from mellea_rx.core.runtime.fork import no_fork
from mellea_rx.errors import UnknownBackendError
from mellea_rx.wire.redaction import shielded

__all__ = ["backend_names", "backend_parameters", "create_backend", "register_backend"]

_factories: dict[str, str | Callable[..., Backend]] = {
    "auto": "mellea_rx.backends.auto:AutoBackend",
    "local": "mellea_rx.backends.local:LocalBackend",
    "ollama": "mellea_rx.backends.ollama:OllamaBackend",
    "openai": "mellea_rx.backends.openai:OpenAIBackend",
    "scripted": "mellea_rx.backends.scripted:ScriptedBackend",
}


def backend_names() -> list[str]:
    """The names that `start_session` accepts, sorted."""
    return sorted(_factories)


def register_backend(name: str, factory: str | Callable[..., Backend]) -> None:
    """Register a backend, so that `start_session(name)` creates it.

    Args:
        name: Its name; an existing one is replaced.
        factory: A function or class that creates it from `model_id` and keyword options; or its
            place, as "module:attribute", to be imported on first use.
    """
    _factories[name] = factory


def create_backend(name: str, *args: Any, **options: Any) -> Backend:
    """Create a backend.

    Args:
        name: A registered name.
        args: Positional arguments of its factory.
        options: Keyword arguments of its factory.

    Raises:
        UnknownBackendError: The name is not registered; the message lists those that are.
    """
    options = shielded(options)  # rebinds the variable, so that no traceback shows a key
    backend: Backend = _factory(name)(*args, **options)
    return backend


def backend_parameters(name: str) -> frozenset[str]:
    """The names of the keyword-only parameters of a backend's factory; none if it has no signature.

    Raises:
        UnknownBackendError: The name is not registered.
    """
    try:
        parameters = signature(_factory(name)).parameters.values()
    except (TypeError, ValueError):  # no signature, as of many built-in functions
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
    # A fork in the middle of an import would leave a half-imported module, and the import lock
    # held for ever, in the child.
    with no_fork:
        created: Callable[..., Any] = getattr(import_module(module), attribute)
    return created


def _hint(name: object) -> str:
    """A hint for an unknown name: the most similar one, or how to pass a model's name."""
    if not isinstance(name, str) or not name.strip():
        return ""
    similar = get_close_matches(name, _factories, n=1)
    if similar and not set(name) & set("0123456789.:/"):
        return f"; did you mean {similar[0]!r}?"
    backend = "ollama"
    if name.endswith(".gguf") or name == "smollm2":
        backend = "local"
    elif name.startswith(("gpt-", "o1", "o3", "o4", "chatgpt-")):
        backend = "openai"
    return f"; a model's name comes second: start_session({backend!r}, {name!r})"
