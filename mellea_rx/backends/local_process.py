"""llama.cpp in this process: models loaded once and shared, their threads, exit and fork.

Used by the embedded backend. The only module that imports xllamacpp.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import copy
import ctypes
import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar
from weakref import WeakSet, WeakValueDictionary

from mellea_rx.backends.model_files import (
    ControlTokens,
    read_control_tokens,
    read_metadata,
    resolve_model,
)
from mellea_rx.core.runtime.engine import Engine, engine
from mellea_rx.core.runtime.logs import ContextClamped, log
from mellea_rx.errors import (
    BackendError,
    BadRequestError,
    EngineStoppedError,
    GenerationFailedError,
    MelleaRxError,
    MissingExtraError,
    ModelFileError,
)

_T = TypeVar("_T")


class Holder(Protocol):
    """An owner of a server of llama.cpp."""

    def release(self) -> Any:
        """Give up the server and return it (None if there is none), and never load another."""


_guard = threading.Lock()
"""Held while a thread is registered and started, and while exit begins. So each thread is either in
`_threads` when exit reads it, or is refused; none is started that nobody would join."""
_threads: dict[threading.Thread, Callable[[], None]] = {}
_holders: WeakSet[Holder] = WeakSet()
_exiting = False
_immortal = False
"""True in a child that was forked while a server existed: no server can be destroyed here."""


def hold(holder: Holder) -> None:
    """Register an owner, by a weak reference, before it loads a server. Exit and a fork take the
    server from it."""
    _holders.add(holder)


def keep_if_forked(server: _T) -> _T:
    """Return a new server; in a child where it can never be destroyed, keep it for ever."""
    if _immortal:
        _keep_for_ever(server)
    return server


def run_in_thread(work: Callable[[], None], stop: Callable[[], None], name: str) -> None:
    """Run `work` in a daemon thread that the interpreter's exit waits for.

    Args:
        work: May block in llama.cpp.
        stop: Makes `work` end soon; called at exit, in another thread.
        name: The thread's name.

    Raises:
        EngineStoppedError: The interpreter exits.
    """

    def run() -> None:
        try:
            work()
        finally:
            _threads.pop(thread, None)

    thread = threading.Thread(target=run, name=name, daemon=True)
    with _guard:
        if _exiting:
            raise EngineStoppedError("the embedded model has stopped, because the program exits")
        _threads[thread] = stop
        thread.start()


@atexit.register
def _stop_at_exit() -> None:
    """At exit: stop all threads, join them, then unload the models; a server must not be destroyed
    while a thread is inside it."""
    global _exiting
    with _guard:
        _exiting = True
        running = dict(_threads)
    # Without the lock: a thread that ends meanwhile removes itself from `_threads`.
    for stop in running.values():
        stop()
    # Without a time limit: a thread that stays inside llama.cpp aborts the process. Each ends at
    # its next token, or block of the prompt.
    for thread in running:
        thread.join()
    for holder in list(_holders):
        holder.release()


def _reset_in_child() -> None:
    global _guard, _immortal
    # Another thread of the parent may have held the lock; it does not exist here to release it.
    _guard = threading.Lock()
    _threads.clear()
    holders = list(_holders)
    _holders.clear()
    for holder in holders:
        _keep_for_ever(holder.release())
    if holders and not _immortal:
        _immortal = True
        _skip_cpp_teardown()


def _keep_for_ever(server: object) -> None:
    """Add a reference that is never released, not even at the interpreter's exit."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(server))


def _skip_cpp_teardown() -> None:
    """Let this forked child end without C++ destructors, which wait for threads that it lacks.

    It runs within C's `exit`, after Python has finalised, and before all handlers that were
    registered earlier.
    """
    libc = ctypes.CDLL(None)
    try:
        on_exit, atexit_in_c = libc.on_exit, libc.__cxa_atexit
    except AttributeError:
        return  # not glibc: there is no such function, and the child may hang at its exit
    on_exit(libc._exit, None)
    atexit_in_c(libc.fflush, None, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)


Encode = Callable[[ControlTokens], Mapping[str, Any]]
"""Creates the body of a chat completion request, in the generation's thread."""

DEFAULT_WINDOW = 2048
"""The default number of tokens of prompt and answer of each generation."""

Take = Callable[[Mapping[str, Any]], None]
"""Accepts one response of llama.cpp, on the engine's loop. An exception ends the generation."""


@dataclass(frozen=True, slots=True)
class ModelSetup:
    """The parameters of a loaded model. Backends with equal setups share one model.

    Attributes:
        path: An absolute path; None for the default model.
        parallel: The number of generations that run at once.
        window: The tokens of prompt and answer of each generation.
        threads: The number of computing threads.
        batch: The tokens of a prompt that are computed before the next check for cancellation.
    """

    path: str | None
    parallel: int
    window: int
    threads: int
    batch: int


class LoadedModel:
    """A model and its slots, used on the engine's loop. It is unloaded with its last reference.

    Args:
        setup: Its parameters. The first `start` loads it.
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
        """False at exit, after its engine has stopped, and in a forked child for the parent's
        model."""
        return not (self._released or self._engine.has_stopped)

    async def start(self, encode: Encode, take: Take) -> Completion:
        """Load the model, wait for a slot, and start a generation in a thread.

        Args:
            encode: Creates the body of a chat completion request, given the model's control
                tokens. Called in the generation's thread.
            take: Accepts every response; never called after the generation was stopped.

        Returns:
            The running generation. It returns its slot by itself.

        Raises:
            ModelFileError: There is no such model, or it cannot be loaded.
            MissingExtraError: xllamacpp is not installed.
            EngineStoppedError: The interpreter exits.
        """
        await self._load()
        await self._slots.acquire()
        try:
            body = partial(encode, self._control_tokens)
            call = Completion(self._engine, self._server, body, take, self._release_slot)
            run_in_thread(call.run, call.stop, "mellea-rx-generation")
        except BaseException:
            self._slots.release()
            raise
        return call

    def release(self) -> Any:
        """Give up the server and return it; see `Holder`."""
        self._released = True
        server, self._server = self._server, None
        return server

    async def _load(self) -> None:
        if self._server is not None:
            return
        if self._loading is None:
            run_in_thread(self._load_in_thread, _do_nothing, "mellea-rx-load")
            self._loading = self._engine.loop.create_future()
        # One future for all calls that wait for the model: `shield` keeps the cancellation of one
        # of them from cancelling it for the others.
        error = await asyncio.shield(self._loading)
        if error is not None:
            # A copy for each call: a shared error would collect the tracebacks of all of them.
            raise copy.copy(error) from error.__cause__

    def _load_in_thread(self) -> None:
        error: MelleaRxError | None = None
        try:
            # Registered before the server exists: a fork or exit in between would miss it.
            hold(self)
            path = resolve_model(self._setup.path)
            self._control_tokens = read_control_tokens(path)
            self._server = keep_if_forked(open_server(path, _within_context(path, self._setup)))
        except MelleaRxError as failure:
            error = failure
        except Exception as failure:
            error = ModelFileError(f"the model could not be loaded: {failure}")
            error.__cause__ = failure
        _post(self._engine, self._loaded, error)

    def _loaded(self, error: MelleaRxError | None) -> None:
        loading, self._loading = self._loading, None
        if loading is not None and not loading.done():
            loading.set_result(error)

    def _release_slot(self) -> None:
        # A bound method keeps the model referenced: it must not be unloaded while a thread is
        # inside llama.cpp.
        self._slots.release()


class Completion:
    """One generation, in a thread of its own.

    `_stopped` is shared by the threads without a lock: it changes once, from False to True. A
    thread that reads the old value generates one more token, which `_deliver` drops.

    Attributes:
        ended: A future of the engine's loop: the error, or None, when the thread has left
            llama.cpp; or, before that, an exception that `take` raised.
    """

    def __init__(
        self,
        running: Engine,
        server: Any,
        body: Callable[[], Mapping[str, Any]],
        take: Take,
        release_slot: Callable[[], None],
    ) -> None:
        self.ended: asyncio.Future[Exception | None] = running.loop.create_future()
        self._engine = running
        self._server = server
        self._body = body
        self._take = take
        self._release_slot = release_slot
        self._stopped = False

    def stop(self) -> None:
        """End the generation at its next token, or block of its prompt. Idempotent and
        thread-safe."""
        self._stopped = True

    def run(self) -> None:
        """Generate; blocks until the end. Runs in the generation's thread."""
        error: Exception | None = None
        server: Any = self._server
        self._server = None
        try:
            if not self._stopped:
                server.handle_chat_completions(dict(self._body()), self._on_answer)
        except Exception as failure:
            error = _failed(failure)
        if error is None and self._stopped:
            error = EngineStoppedError("the embedded model was stopped, because the program exits")
        # This thread must not hold the last reference when the slot is returned: the server would
        # then be destroyed here.
        del server
        _post(self._engine, self._end, error)

    def _on_answer(self, answer: Mapping[str, Any]) -> bool:
        # Called by llama.cpp in the generation's thread. It ignores exceptions; to return True is
        # the only way to end the generation.
        if not self._stopped and not _post(self._engine, self._deliver, answer):
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
        self._release_slot()
        self._settle(error)

    def _settle(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(error)


def _failed(error: Exception) -> BackendError:
    """The library's error for an exception of llama.cpp."""
    ours: BackendError
    if isinstance(error, (ValueError, TypeError)):
        ours = BadRequestError(f"the embedded model refuses this request: {error}", status=400)
    else:
        ours = GenerationFailedError(f"the embedded model failed: {error}")
    ours.__cause__ = error
    return ours


_shared: WeakValueDictionary[ModelSetup, LoadedModel] = WeakValueDictionary()


def shared_model(setup: ModelSetup) -> LoadedModel:
    """The process's shared model for this setup. To be called on the engine's loop."""
    model = _shared.get(setup)
    if model is None or not model.is_usable:
        model = _shared[setup] = LoadedModel(setup)
    return model


def _post(running: Engine, function: Callable[..., object], *args: object) -> bool:
    try:
        running.call(function, *args)
    except EngineStoppedError:
        return False
    return True


def _within_context(path: Path, setup: ModelSetup) -> ModelSetup:
    """The setup, with its window reduced to the model's context if it is larger; logs a
    reduction."""
    if setup.window <= DEFAULT_WINDOW:
        return setup  # not larger than the default: the metadata need not be read
    metadata = read_metadata(path, lambda key: key.endswith(".context_length"))
    has = min(metadata.values(), default=setup.window)
    if setup.window <= has:
        return setup
    log(ContextClamped(setup.window, path.stem, has))
    return replace(setup, window=has)


def _do_nothing() -> None:
    """Does nothing: loading cannot be stopped. It takes about a second."""


def open_server(path: Path, setup: ModelSetup) -> Any:
    """Load a model's file into a server of llama.cpp that no other process can reach.

    llama.cpp's server always listens: here on a socket in a private folder, which is deleted when
    the server runs, and with a random key.

    Raises:
        ModelFileError: There is no such model, or it cannot be loaded.
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
    params.fit_params = False  # it would load the model twice, and choose another window
    params.cache_ram_mib = 0  # else 8 GB of old prompts; each slot still keeps its last one
    params.n_threads_http = 1
    params.ui = params.endpoint_slots = False
    params.api_keys = [secrets.token_hex(32)]
    socket_path = None if sys.platform == "win32" else _private_socket()
    try:
        if socket_path is not None:
            params.hostnames = [str(socket_path)]
        server = xllamacpp.Server(params)
        _await_listener(socket_path, server.listening_address)
    except RuntimeError as error:
        message = (
            f"llama.cpp could not load {path} with {setup.parallel} slots of {setup.window} "
            f"tokens: the file is damaged, or of a kind that it does not know, or too large"
        )
        raise ModelFileError(message) from error
    finally:
        if socket_path is not None:
            shutil.rmtree(socket_path.parent, ignore_errors=True)
    return server


def _xllamacpp() -> Any:
    try:
        import xllamacpp  # an optional dependency; its import takes 60 ms
    except ImportError as error:
        raise MissingExtraError(
            "the embedded model needs xllamacpp: pip install 'mellea-rx[local]'"
        ) from error
    return xllamacpp


def _private_socket() -> Path:
    """The path of a Unix socket in a new folder that only this user can open."""
    folder = tempfile.mkdtemp(prefix="mrx-")
    if len(folder) > 90:  # a socket's path has 104 bytes on macOS, 108 on Linux
        shutil.rmtree(folder)
        folder = tempfile.mkdtemp(prefix="mrx-", dir="/tmp")
    return Path(folder) / "s.sock"  # llama.cpp recognises a Unix socket by this suffix


def _await_listener(socket_path: Path | None, address: str) -> None:
    """Wait until the server listens. If it is destroyed before that, its destructor never
    returns."""
    if socket_path is not None:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(10)
        target: Any = str(socket_path)
    else:
        host, _, port = address.rpartition("://")[2].rpartition(":")
        client = socket.socket()
        client.settimeout(10)
        target = (host, int(port))
    # A failure is ignored: nothing uses this listener.
    with client, contextlib.suppress(OSError):
        client.connect(target)
        client.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        client.recv(1)
