"""A model that llama.cpp holds in this process: loaded once, shared, with slots to generate in."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from mellea_rx.backends.control_tokens import ControlTokens, read_control_tokens
from mellea_rx.backends.gguf_metadata import read_metadata
from mellea_rx.backends.llama_process import hold, run_in_thread, sheltered
from mellea_rx.backends.model_files import resolve_model
from mellea_rx.core.engine import Engine, engine
from mellea_rx.core.logs import ContextClamped, log
from mellea_rx.errors import (
    BackendError,
    BadRequestError,
    EngineStoppedError,
    GenerationFailedError,
    MelleaRxError,
    MissingExtraError,
    ModelFileError,
)

__all__ = ["Call", "Encode", "LoadedModel", "ModelSetup", "Take", "shared_model"]

Encode = Callable[[ControlTokens], Mapping[str, Any]]
"""Makes a chat completion's request, in the generation's thread."""

DEFAULT_WINDOW = 2048
"""Tokens of prompt and answer that each generation has, where nobody asks for another number."""

Take = Callable[[Mapping[str, Any]], None]
"""Takes one of llama.cpp's answers, on the engine; what it raises ends the call."""


@dataclass(frozen=True, slots=True)
class ModelSetup:
    """What a model is loaded with; equal setups share one.

    Attributes:
        path: An absolute path; None for the default model.
        parallel: How many generations run at once.
        window: Tokens of prompt and answer that each of them has.
        threads: Threads that compute.
        batch: Tokens of a prompt that are computed between two looks at whether to stop.
    """

    path: str | None
    parallel: int
    window: int
    threads: int
    batch: int


class LoadedModel:
    """A model and its slots. Lives on the engine; is unloaded with its last reference.

    Args:
        setup: What to load; that happens with the first `start`.
    """

    def __init__(self, setup: ModelSetup) -> None:
        self._setup = setup
        self._engine = engine()
        self._slots = asyncio.Semaphore(setup.parallel)
        self._server: Any = None
        self._control_tokens = ControlTokens()
        self._loading: asyncio.Future[MelleaRxError | None] | None = None
        self._released = False

    @property
    def is_usable(self) -> bool:
        """False in a forked child for a model of the parent's, at exit, and without its engine."""
        return not (self._released or self._engine.has_stopped)

    async def start(self, encode: Encode, take: Take) -> Call:
        """Load, wait for a slot, generate in a thread.

        Args:
            encode: Makes a chat completion's request, as llama.cpp's server takes it, of the
                texts that are control tokens of this model. Called in the generation's thread.
            take: Gets every answer; never called once the call is stopped.

        Returns:
            The running call. It gives its slot back by itself.

        Raises:
            ModelFileError: There is no such model, or it does not load.
            MissingExtraError: xllamacpp is not installed.
            EngineStoppedError: The interpreter is going down.
        """
        await self._load()
        await self._slots.acquire()
        try:
            body = partial(encode, self._control_tokens)
            call = Call(self._engine, self._server, body, take, self._left)
            run_in_thread(call.run, call.stop, "mellea-rx-generation")
        except BaseException:
            self._slots.release()
            raise
        return call

    def release(self) -> Any:
        """Give the server away; see `Holder`."""
        self._released = True
        server, self._server = self._server, None
        return server

    async def _load(self) -> None:
        if self._server is not None:
            return
        if self._loading is None:
            run_in_thread(self._load_in_thread, _nothing, "mellea-rx-load")
            self._loading = self._engine.loop.create_future()
        # Shared by all first calls; one of them being cancelled does not end it.
        error = await asyncio.shield(self._loading)
        if error is not None:
            raise copy.copy(error) from error.__cause__

    def _load_in_thread(self) -> None:
        error: MelleaRxError | None = None
        try:
            hold(self)
            path = resolve_model(self._setup.path)
            self._control_tokens = read_control_tokens(path)
            self._server = sheltered(open_server(path, _within_context(path, self._setup)))
        except MelleaRxError as failure:
            error = failure
        except Exception as failure:
            error = ModelFileError(f"the model could not be loaded: {failure}")
            error.__cause__ = failure
        _tell(self._engine, self._loaded, error)

    def _loaded(self, error: MelleaRxError | None) -> None:
        loading, self._loading = self._loading, None
        if loading is not None and not loading.done():
            loading.set_result(error)

    def _left(self) -> None:
        # A method of the model's: it must not be unloaded while a thread is in there.
        self._slots.release()


class Call:
    """One generation, in a thread of its own.

    Attributes:
        ended: Done when the thread has left llama.cpp, with what went wrong or None.
    """

    def __init__(
        self,
        running: Engine,
        server: Any,
        body: Callable[[], Mapping[str, Any]],
        take: Take,
        left: Callable[[], None],
    ) -> None:
        self.ended: asyncio.Future[Exception | None] = running.loop.create_future()
        self._engine = running
        self._server = server
        self._body = body
        self._take = take
        self._left = left
        self._stopped = False

    def stop(self) -> None:
        """End it at its next token, or block of its prompt. Idempotent, from any thread."""
        self._stopped = True

    def run(self) -> None:
        """Generate; blocks until the end."""
        error: Exception | None = None
        server: Any = self._server
        self._server = None
        try:
            if not self._stopped:
                server.handle_chat_completions(dict(self._body()), self._on_answer)
        except Exception as failure:
            error = _failed(failure)
        if error is None and self._stopped:
            error = EngineStoppedError("the embedded model was stopped: the interpreter goes down")
        del server
        _tell(self._engine, self._end, error)

    def _on_answer(self, answer: Mapping[str, Any]) -> bool:
        # Called by llama.cpp, which swallows exceptions: True is the only way out.
        if not self._stopped and not _tell(self._engine, self._deliver, answer):
            self._stopped = True
        return self._stopped

    def _deliver(self, answer: Mapping[str, Any]) -> None:
        if self._stopped:
            return
        try:
            self._take(answer)
        except Exception as error:
            self.stop()
            self._settle(error)

    def _end(self, error: Exception | None) -> None:
        self._left()
        self._settle(error)

    def _settle(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(error)


def _failed(error: Exception) -> BackendError:
    """What llama.cpp raised, in our words."""
    ours: BackendError
    if isinstance(error, (ValueError, TypeError)):
        ours = BadRequestError(f"the embedded model refuses this request: {error}", status=400)
    else:
        ours = GenerationFailedError(f"the embedded model failed: {error}")
    ours.__cause__ = error
    return ours


_shared: WeakValueDictionary[ModelSetup, LoadedModel] = WeakValueDictionary()


def shared_model(setup: ModelSetup) -> LoadedModel:
    """The model of this setup that the whole process shares. Call it on the engine."""
    model = _shared.get(setup)
    if model is None or not model.is_usable:
        model = _shared[setup] = LoadedModel(setup)
    return model


def _tell(running: Engine, function: Callable[..., object], *args: object) -> bool:
    try:
        running.call(function, *args)
    except EngineStoppedError:
        return False
    return True


def _within_context(path: Path, setup: ModelSetup) -> ModelSetup:
    """A setup whose window is no larger than the context that the model has; says so in the log."""
    if setup.window <= DEFAULT_WINDOW:
        return setup  # nobody asked for it: the metadata need not be read
    metadata = read_metadata(path, lambda key: key.endswith(".context_length"))
    has = min(metadata.values(), default=setup.window)
    if setup.window <= has:
        return setup
    log(ContextClamped(setup.window, path.stem, has))
    return replace(setup, window=has)


def _nothing() -> None:
    """Loading cannot be stopped; it takes a second or so."""


def open_server(path: Path, setup: ModelSetup) -> Any:
    """Load a model's file, and close the door that llama.cpp's server opens for strangers.

    Raises:
        ModelFileError: There is no such model, or it does not load.
        MissingExtraError: xllamacpp is not installed.
    """
    xllamacpp = _xllamacpp()
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_parallel = setup.parallel
    params.n_ctx = setup.parallel * setup.window
    params.n_batch = params.n_ubatch = setup.batch
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = setup.threads
    params.verbosity = -1
    params.warmup = False
    params.fit_params = False  # it would load twice, and choose another window
    params.cache_ram_mib = 0  # else 8 GB of old prompts; each slot still keeps its last one
    params.n_threads_http = 1
    params.ui = params.endpoint_slots = False
    params.api_keys = [secrets.token_hex(32)]
    door = None if sys.platform == "win32" else _door()
    try:
        if door is not None:
            params.hostnames = [str(door)]
        server = xllamacpp.Server(params)
        _await_listener(door, server.listening_address)
    except RuntimeError as error:
        message = (
            f"llama.cpp could not load {path} with {setup.parallel} slots of {setup.window} "
            f"tokens: the file is damaged, or of a kind that it does not know, or too large"
        )
        raise ModelFileError(message) from error
    finally:
        if door is not None:
            shutil.rmtree(door.parent, ignore_errors=True)
    return server


def _xllamacpp() -> Any:
    try:
        import xllamacpp  # optional, and 60 ms
    except ImportError as error:
        raise MissingExtraError(
            "the embedded model needs xllamacpp: pip install 'mellea-rx[local]'"
        ) from error
    return xllamacpp


def _door() -> Path:
    """Where the server listens while it loads: a socket that nobody else can reach."""
    folder = tempfile.mkdtemp(prefix="mrx-")
    if len(folder) > 90:  # a socket's path has 104 bytes on macOS, 108 on Linux
        shutil.rmtree(folder)
        folder = tempfile.mkdtemp(prefix="mrx-", dir="/tmp")
    return Path(folder) / "s.sock"  # the suffix is what makes it a Unix socket


def _await_listener(door: Path | None, address: str) -> None:
    """Wait until the listener runs: a server that is destroyed before that never ends."""
    if door is not None:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(10)
        target: Any = str(door)
    else:
        host, _, port = address.rpartition("://")[2].rpartition(":")
        client = socket.socket()
        client.settimeout(10)
        target = (host, int(port))
    # A listener that cannot be reached is no fault: nobody needs it.
    with client, contextlib.suppress(OSError):
        client.connect(target)
        client.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        client.recv(1)
