"""`start_session`: a session by the name of its backend."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from mellea_rx.backends.registry import create_backend
from mellea_rx.core.context import Context
from mellea_rx.core.options import ModelOption
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.context import ChatContext, SimpleContext
from mellea_rx.stdlib.session import MelleaSession
from mellea_rx.stdlib.verbs import ModelOptions
from mellea_rx.wire.secrets import Address, as_key, shielded

__all__ = ["start_session"]

_TOOLS = (ModelOption.TOOLS, ModelOption.TOOL_CHOICE)

_CONTEXTS: Mapping[str, Callable[[], Context]] = {"simple": SimpleContext, "chat": ChatContext}


def start_session(
    backend_name: str = "auto",
    model_id: str | os.PathLike[str] | None = None,
    ctx: Context | None = None,
    *,
    context_type: str | Callable[[], Context] | None = None,
    model_options: Mapping[Any, Any] | None = None,
    templates: str | os.PathLike[str] | None = None,
    base_url: str | None = None,
    api_key: str | None = None,
    **backend_options: Any,
) -> MelleaSession:
    """Start a session. Returns at once; the first call makes the first connection.

    Args:
        backend_name: "ollama", "openai", "local" (llama.cpp in this process), "scripted", one that
            was registered, or "auto": Ollama where one answers, else the embedded model, decided
            at the first call. `MELLEA_RX_BACKEND` says what "auto" means.
        model_id: The model's name (for "local": a path to a GGUF file); `MELLEA_RX_MODEL`, else
            the backend's default, by default.
        ctx: What prompts begin with; a `SimpleContext` (nothing) by default.
        context_type: "simple", "chat" or a class, instead of `ctx`.
        model_options: For every call which does not set them itself.
        templates: A folder with files that take the places of the library's templates;
            `MELLEA_RX_TEMPLATES` by default.
        base_url: The server's address.
        api_key: The server's key.
        backend_options: Whatever else the backend takes.

    Example:
        >>> m = start_session("scripted")
        >>> str(m.instruct("Say something."))
        'This is a scripted answer.'

    Raises:
        UnknownBackendError: No such backend; the message lists those there are.
        InvalidInputError: An argument that cannot be used, by name.
        TemplateError: A file of `templates` that cannot be used.
        MissingExtraError: The backend needs an extra that is not installed.
    """
    # Under their own names: no traceback shows the caller's.
    api_key, backend_options = as_key(api_key), shielded(backend_options)
    base_url = None if base_url is None else Address(base_url)
    name, model = _from_environment(backend_name, model_id)
    to_backend, to_session = _shared_out(model_options)
    given = {"base_url": base_url, "api_key": api_key, "model_options": to_backend}
    options = {**backend_options, **{k: v for k, v in given.items() if v is not None}}
    backend = _create(name, model, options)
    folder = templates or os.environ.get("MELLEA_RX_TEMPLATES", "").strip() or None
    context = _context(ctx, context_type)
    return MelleaSession(backend, context, model_options=to_session, templates=folder)


def _shared_out(options: ModelOptions | None) -> tuple[ModelOptions | None, ModelOptions | None]:
    """What the backend gets, and what the session keeps: tools, which it can make up for."""
    if not isinstance(options, Mapping):
        return options, None
    kept = {key: value for key, value in options.items() if key in _TOOLS}
    return {key: value for key, value in options.items() if key not in kept}, kept


def _from_environment(
    name: str, model: str | os.PathLike[str] | None
) -> tuple[str, str | os.PathLike[str] | None]:
    known = os.environ.get("MELLEA_RX_BACKEND", "").strip()
    if name == "auto" and known:
        name = known
    if model is None and known in ("", name):
        model = os.environ.get("MELLEA_RX_MODEL", "").strip() or None
    return name, model


def _create(name: str, model: str | os.PathLike[str] | None, options: dict[str, Any]) -> Any:
    arguments = {} if model is None else {"model_id": model}
    try:
        return create_backend(name, **arguments, **options)
    except TypeError as error:
        # A backend's own signature says which of them it takes.
        told = str(error)
        if "unexpected keyword argument" not in told:
            raise
        wrong = told.rsplit("argument ", 1)[-1].split(".")[0]
        raise InvalidInputError(f"backend {name!r} does not take {wrong}") from None


def _context(
    ctx: Context | None, context_type: str | Callable[[], Context] | None
) -> Context | None:
    if context_type is None:
        return ctx
    if ctx is not None:
        raise InvalidInputError("give ctx or context_type, not both")
    if callable(context_type):
        return context_type()
    if context_type not in _CONTEXTS:
        names = ", ".join(repr(each) for each in _CONTEXTS)
        raise InvalidInputError(f"context_type must be {names} or a class, not {context_type!r}")
    return _CONTEXTS[context_type]()
