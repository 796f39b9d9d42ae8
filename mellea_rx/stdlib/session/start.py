"""`start_session`: starts a session by the name of its backend. For users."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

from mellea_rx.backends.registry import backend_parameters, create_backend
from mellea_rx.core.interfaces.context import Context, is_context
from mellea_rx.core.types.options import ModelOption, standard_option
from mellea_rx.core.types.release import OnReject, Release
from mellea_rx.core.types.session_budget import SessionBudget
from mellea_rx.core.types.session_usage import Price
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.context.contexts import ChatContext, SimpleContext
from mellea_rx.stdlib.session.call_options import (
    KEYWORDS,
    ModelOptions,
    unknown_keyword,
    with_keywords,
)
from mellea_rx.stdlib.session.session import MelleaSession
from mellea_rx.wire.redaction import Address, as_key, shielded

_TOOLS = (ModelOption.TOOLS, ModelOption.TOOL_CHOICE)

_CONTEXTS: Mapping[str, Callable[[], Context]] = {"simple": SimpleContext, "chat": ChatContext}


def start_session(
    backend_name: str = "auto",
    model_id: str | os.PathLike[str] | None = None,
    ctx: Context | None = None,
    *,
    model: str | os.PathLike[str] | None = None,
    context_type: str | Callable[[], Context] | None = None,
    model_options: Mapping[Any, Any] | None = None,
    templates: str | os.PathLike[str] | None = None,
    base_url: str | None = None,
    api_key: str | None = None,
    release: Release | None = None,
    on_reject: OnReject | None = None,
    prices: Mapping[str, Price] | None = None,
    budget: SessionBudget | None = None,
    **options: Any,
) -> MelleaSession:
    """Start a session. Returns at once; the first call makes the first connection.

    Args:
        backend_name: "ollama", "openai", "local" (llama.cpp in this process), "scripted", one that
            was registered, or "auto": Ollama where a server answers, else the embedded model,
            decided at the first call. `MELLEA_RX_BACKEND` replaces "auto".
        model_id: The model's name (for "local": a path to a GGUF file); `MELLEA_RX_MODEL`, else
            the backend's default, by default.
        ctx: The context that prompts begin with; a `SimpleContext` (no history) by default.
        model: Another name of `model_id`.
        context_type: "simple", "chat" or a class, instead of `ctx`.
        model_options: Options for every call that does not set them itself.
        templates: A folder with files that replace the library's templates; `MELLEA_RX_TEMPLATES`
            by default.
        base_url: The server's address.
        api_key: The server's key.
        release: The time at which readers get text that is still checked; see `MelleaSession`.
        on_reject: The fate of such text, when it is rejected; see `MelleaSession`.
        prices: The price of each model, for `usage.cost`; see `MelleaSession`.
        budget: The limit on what all calls spend together; see `MelleaSession`.
        options: Model options as keywords (`temperature=0`; see `ModelKwargs`), and any other
            parameter of the backend.

    Example:
        >>> m = start_session("scripted")
        >>> str(m.instruct("Say something."))
        'This is a scripted answer.'

    Raises:
        UnknownBackendError: The backend does not exist; the message lists all names.
        InvalidInputError: An argument cannot be used; the message names it.
        ConfigurationError: There is no key for OpenAI's own server.
        TemplateError: A file of `templates` cannot be used.
        MissingExtraError: The backend needs an extra that is not installed.
    """
    # Replaced under the same names, so that no traceback shows the secrets of the caller.
    api_key, options = as_key(api_key), shielded(options)
    base_url = None if base_url is None else Address(base_url)
    name, model = _from_environment(backend_name, _model(model_id, model))
    own = backend_parameters(name)
    keywords = {key: options.pop(key) for key in KEYWORDS if key in options and key not in own}
    given_options = with_keywords(start_session, model_options, keywords)
    to_backend, to_session = _shared_out(given_options)
    given = {"base_url": base_url, "api_key": api_key, "model_options": to_backend}
    options.update({key: value for key, value in given.items() if value is not None})
    backend = _create(name, model, options)
    folder = templates or os.environ.get("MELLEA_RX_TEMPLATES", "").strip() or None
    context = _context(ctx, context_type)
    return MelleaSession(
        backend,
        context,
        model_options=to_session,
        templates=folder,
        release=release,
        on_reject=on_reject,
        prices=prices,
        budget=budget,
    )


def _shared_out(options: ModelOptions | None) -> tuple[ModelOptions | None, ModelOptions | None]:
    """The options for the backend, and those for the session: tools, which it can emulate."""
    if not isinstance(options, Mapping):
        return options, None
    kept = {key: value for key, value in options.items() if standard_option(key) in _TOOLS}
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


def _model(
    model_id: str | os.PathLike[str] | None, model: str | os.PathLike[str] | None
) -> str | os.PathLike[str] | None:
    if model_id is not None and model is not None and model_id != model:
        raise InvalidInputError("model= is another name of model_id=: give one of them")
    return model if model_id is None else model_id


def _create(name: str, model: str | os.PathLike[str] | None, options: dict[str, Any]) -> Any:
    arguments = {} if model is None else {"model_id": model}
    try:
        return create_backend(name, **arguments, **options)
    except TypeError as error:
        # The constructor of the backend decides which arguments it takes.
        message = str(error)
        if "unexpected keyword argument" not in message:
            raise
        wrong = message.rsplit("argument ", 1)[-1].split(".")[0]
        hint = _hint(wrong.strip("'"), name)
        raise InvalidInputError(f"backend {name!r} does not take {wrong}{hint}") from None


def _hint(keyword: str, backend_name: str) -> str:
    """The hint for a keyword that a backend does not take; "" where it is one of sessions."""
    own = {*signature(start_session).parameters} - {"options"}
    if keyword in own:
        return ""
    return f": {unknown_keyword(keyword, own | backend_parameters(backend_name))}"


def _context(
    ctx: Context | None, context_type: str | Callable[[], Context] | None
) -> Context | None:
    if context_type is None:
        return ctx
    if ctx is not None:
        raise InvalidInputError("give ctx or context_type, not both")
    if is_context(context_type):
        raise InvalidInputError("context_type= takes a name or a class: a context, give it as ctx=")
    make = _CONTEXTS.get(context_type) if isinstance(context_type, str) else context_type
    made = make() if callable(make) else None
    if not is_context(made):
        names = ", ".join(repr(each) for each in _CONTEXTS)
        raise InvalidInputError(
            f"context_type must be {names} or the class of a context, not {context_type!r}"
        )
    return made
