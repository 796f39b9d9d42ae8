"""The embedded model: llama.cpp in this process, with no server to start.

`LocalBackend` is the backend; `LocalRequest` writes a request in llama.cpp's terms, with the text
of prompts kept apart from control tokens; `require_known` refuses options that llama.cpp does not
have.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from reactivex import Observable

from mellea_rx.backends.local_process import DEFAULT_WINDOW, LoadedModel, ModelSetup, shared_model
from mellea_rx.backends.model_files import DEFAULT_FILE, ControlTokens, is_default, resolve_model
from mellea_rx.core.interfaces.backend import Capabilities, require_images
from mellea_rx.core.runtime.engine import running_engine
from mellea_rx.core.runtime.logs import AnswerCut, log
from mellea_rx.core.runtime.user_functions import in_worker_thread
from mellea_rx.core.streams.chunk_source import ChunkSource, Push
from mellea_rx.core.streams.idle_timeout import IdleTimeout
from mellea_rx.core.types.chunk import Chunk, Usage
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.request import Request
from mellea_rx.core.types.validation import (
    nearest,
    require_model_path,
    require_positive_int,
    well_formed,
)
from mellea_rx.errors import (
    BackendError,
    BadRequestError,
    EngineStoppedError,
    GenerationCancelledError,
    GenerationFailedError,
    MissingExtraError,
    OptionError,
    StreamInterruptedError,
)

_SAMPLING = [
    "adaptive_decay",
    "adaptive_target",
    "backend_sampling",
    "dry_allowed_length",
    "dry_base",
    "dry_multiplier",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
    "dynatemp_exponent",
    "dynatemp_range",
    "frequency_penalty",
    "ignore_eos",
    "logit_bias",
    "logprobs",
    "min_keep",
    "min_p",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
    "n_probs",
    "post_sampling_probs",
    "presence_penalty",
    "repeat_last_n",
    "repeat_penalty",
    "samplers",
    "top_k",
    "top_logprobs",
    "top_n_sigma",
    "top_p",
    "typical_p",
    "xtc_probability",
    "xtc_threshold",
]

_FORM = [
    "add_generation_prompt",
    "chat_template_kwargs",
    "continue_final_message",
    "grammar",
    "grammar_lazy",
    "grammar_triggers",
    "json_schema",
    "preserved_tokens",
    "reasoning_budget_message",
    "reasoning_budget_tokens",
    "reasoning_format",
    "response_format",
    "thinking_budget_tokens",
]

_RUNNING = [
    "cache_prompt",
    "id_slot",
    "lora",
    "n",
    "n_cache_reuse",
    "n_discard",
    "n_indent",
    "n_keep",
    "return_tokens",
    "t_max_predict_ms",
    "timings_per_token",
    "verbose",
]

LLAMA_OPTIONS = frozenset([*_SAMPLING, *_FORM, *_RUNNING])
"""The parameters that llama.cpp's server (tools/server) reads in a chat completion."""


def require_known(names: Iterable[str]) -> None:
    """Check that llama.cpp knows all options. It would ignore an unknown one.

    Raises:
        OptionError: An option is unknown; the message names it and the most similar one.
    """
    for name in names:
        if name not in LLAMA_OPTIONS:
            similar = nearest(name, LLAMA_OPTIONS) or next(
                iter(get_close_matches(name, LLAMA_OPTIONS, n=1)), None
            )
            hint = f"; did you mean {similar!r}?" if similar else ""
            raise OptionError(f"the embedded model has no option {name!r}{hint}")


DEFAULT_MAX_NEW_TOKENS = 1024
"""Default limit of an answer, in tokens: small models may repeat themselves for ever."""


class LocalRequest:
    """A request in llama.cpp's format.

    Args:
        request: The conversation and its options, already checked.

    Attributes:
        joiner: The character that `encode` inserted into control tokens of the text; "" if there
            were none.
        is_limited_by_default: Whether only `DEFAULT_MAX_NEW_TOKENS` limits the answer.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.joiner = ""
        self.is_limited_by_default = request.options.get(ModelOption.MAX_NEW_TOKENS) is None

    def encode(self, control_tokens: ControlTokens) -> dict[str, Any]:
        """The body of a chat completion request. Slow for long prompts: not for the engine's
        thread.

        Args:
            control_tokens: The model's control tokens.
        """
        body = _parameters(self._request)
        if "chat_template_kwargs" in body:  # a template may write them into the prompt
            body["chat_template_kwargs"] = control_tokens.broken_in(body["chat_template_kwargs"])
        body["messages"] = self._messages(control_tokens)
        # With progress, llama.cpp calls back for each block of the prompt. Without it, a generation
        # could not be stopped before its first token.
        body.update(stream=True, return_progress=True, stream_options={"include_usage": True})
        return body

    def restored(self, text: str) -> str:
        """A piece of the answer without the joiners that the model copied from its prompt."""
        return text.replace(self.joiner, "") if self.joiner else text

    def _messages(self, control_tokens: ControlTokens) -> list[dict[str, Any]]:
        given = [well_formed(message.content) for message in self._request.messages]
        told = [control_tokens.broken(text) for text in given]
        # If the text itself contains that character, the inserted ones cannot be distinguished, and
        # none are removed from the answer.
        if told != given and not any(control_tokens.joiner in text for text in given):
            self.joiner = control_tokens.joiner
        return [
            {"role": message.role, "content": text}
            for message, text in zip(self._request.messages, told, strict=True)
        ]


def _parameters(request: Request) -> dict[str, Any]:
    options = request.options
    body: dict[str, Any] = dict(options.extra)
    named = {
        "temperature": options.get(ModelOption.TEMPERATURE),
        "seed": options.get(ModelOption.SEED),
        "max_tokens": options.get(ModelOption.MAX_NEW_TOKENS, DEFAULT_MAX_NEW_TOKENS),
        "stop": options.stop_sequences or None,
    }
    body.update({key: value for key, value in named.items() if value is not None})
    thinking = options.get(ModelOption.THINKING)
    if thinking is not None:
        given = body.get("chat_template_kwargs") or {}
        body["chat_template_kwargs"] = {**given, "enable_thinking": thinking}
    if request.schema is not None:
        schema = {"schema": dict(request.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


_TOOL_OPTIONS = (ModelOption.TOOLS, ModelOption.TOOL_CHOICE)

_RECOMMENDED = {"repeat_penalty": 1.1}
"""Options for the default model, which otherwise may repeat itself until its window is full."""


def _spare_cores() -> int:
    """The number of cores minus one, at least one.

    llama.cpp's threads wait for each other by spinning. With one of them on each core, any other
    work (even a terminal that is redrawn) delays all of them at every barrier.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        cores = os.cpu_count() or 1
    return max(1, cores - 1)


class LocalBackend:
    """A model that runs in this process.

    The first request loads it, in a thread. All backends of this process with the same file and
    parameters share it. It is unloaded when the last of them is closed or garbage-collected.

    Args:
        model_id: A path to a GGUF file; "smollm2" or None for SmolLM2-135M-Instruct, which is
            downloaded on first use (93 MB).
        model_options: Options for every request that does not set them itself. If none sets
            `ModelOption.MAX_NEW_TOKENS`, an answer has at most 1,024 tokens; the first answer that
            is cut off there is reported in the log.
        parallel: The number of generations that run at once; further ones wait in order.
        context_window: The tokens of prompt and answer of each generation.
            `ModelOption.CONTEXT_WINDOW` in `model_options` overrides it.
        threads: The number of computing threads; by default the number of cores minus one.
        batch: The tokens of a prompt that are computed before the next check for cancellation. A
            larger number makes long prompts a little faster and cancellation slower.

    Attributes:
        name: "local".
        model: The model's name: its file's, without the ".gguf".
        model_options: As given, checked.
        context_window: The tokens of prompt and answer of each generation.

    Raises:
        ModelFileError: There is no such file, or it is not a model.
        MissingExtraError: xllamacpp is not installed; the message has the command that does it.
        OptionError: An option has a wrong type, or is not supported.
        InvalidInputError: A number is below 1.
    """

    name = "local"
    capabilities = Capabilities(prefill=True, schema=True)

    def __init__(
        self,
        model_id: str | os.PathLike[str] | None = None,
        *,
        model_options: Mapping[Any, Any] | None = None,
        parallel: int = 4,
        context_window: int = DEFAULT_WINDOW,
        threads: int | None = None,
        batch: int = 64,
    ) -> None:
        require_model_path(model_id)
        threads = _spare_cores() if threads is None else threads
        numbers = {
            "parallel": parallel,
            "context_window": context_window,
            "threads": threads,
            "batch": batch,
        }
        for name, number in numbers.items():
            require_positive_int(name, number)
        recommended = Options(_RECOMMENDED if is_default(model_id) else None)
        self.model_options = Options(model_options).over(recommended)
        self.context_window: int = self.model_options.get(
            ModelOption.CONTEXT_WINDOW, context_window
        )
        self.check(self.model_options)
        if find_spec("xllamacpp") is None:
            raise MissingExtraError(
                "the embedded model is not installed: pip install 'mellea-rx[local]'"
            )
        path = None if is_default(model_id) else resolve_model(model_id).resolve()
        self.model = Path(DEFAULT_FILE if path is None else path.name).stem
        self._setup = ModelSetup(
            None if path is None else str(path), parallel, self.context_window, threads, batch
        )
        self._lease: BackendLease | None = None
        self._limit_is_logged = False

    def check(self, options: Options) -> None:
        """Check options.

        Raises:
            OptionError: The embedded model does not support an option; the message names it.
        """
        require_known(options.extra)
        for key in _TOOL_OPTIONS:
            if options.standard.get(key):
                raise OptionError(
                    f"{key} cannot be set: the embedded model's template knows no tools"
                )
        if options.extra.get("n", 1) != 1:
            raise OptionError("'n' cannot be set: one call is one answer")
        if isinstance(options.get(ModelOption.THINKING), str):
            raise OptionError(
                f"{ModelOption.THINKING} must be a bool for the embedded model: "
                "it knows no levels of effort"
            )
        window = options.get(ModelOption.CONTEXT_WINDOW, 0)
        if window > self.context_window:
            raise OptionError(
                f"{ModelOption.CONTEXT_WINDOW} is {window}, but the embedded model is loaded with "
                f"{self.context_window} tokens: use LocalBackend(context_window={window})"
            )

    def stream(self, request: Request) -> Observable[Chunk]:
        """Generate: a cold observable of chunks; see `Backend.stream`.

        Fails with `BadRequestError` (the prompt is longer than the window, or an option has a wrong
        value), `ModelFileError` (the model cannot be loaded), `GenerationTimeoutError`, or another
        `BackendError`; with `GenerationCancelledError` if the backend is closed meanwhile.
        """
        return ChunkSource(partial(self._produce, request))

    async def prepare(self) -> None:
        """Make sure that the model's file is here: downloads the default one if necessary.

        Raises:
            ModelFileError: The download failed; the message has the command that repeats it.
        """
        await in_worker_thread(resolve_model, self._setup.path)

    async def models(self) -> list[str]:
        """The name of the one model of this backend. Does not load it."""
        return [self.model]

    def close(self) -> None:
        """End running generations, and release the model. A later request loads it again."""
        running = running_engine()
        if running is None:
            return  # no request was ever sent
        # On the engine, after the work that is already scheduled there: a request that is about to
        # start would otherwise take a lease after this, and the model would stay loaded.
        try:
            running.call(self._release)
        except EngineStoppedError:
            self._lease = None  # the engine has ended everything

    def _release(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None and lease.model.is_usable:
            lease.close()

    async def _produce(self, request: Request, push: Push) -> None:
        self.check(request.options)
        require_images(self, request.images)
        lease = self._lease
        if lease is None or not lease.model.is_usable:
            lease = self._lease = BackendLease(shared_model(self._setup))
        await lease.run(self._generate, request, push)

    async def _generate(self, model: LoadedModel, request: Request, push: Push) -> None:
        watch = IdleTimeout(request.options, "the embedded model")
        local_request = LocalRequest(request)
        reader = _Reader(self.model, local_request, push)

        def take(answer: Mapping[str, Any]) -> None:
            if "prompt_progress" in answer:
                watch.working()
            else:
                watch.touch()
            reader.feed(answer)

        call = await model.start(local_request.encode, take)
        try:
            with watch:
                error = await call.ended
        finally:
            call.stop()
        if error is not None:
            raise error
        reader.finish()
        if reader.is_cut_by_default and not self._limit_is_logged:
            self._limit_is_logged = True
            log(AnswerCut(DEFAULT_MAX_NEW_TOKENS))

    def __repr__(self) -> str:
        if "model" not in vars(self):  # a traceback may show one that could not be made
            return "<LocalBackend>"
        return f"<LocalBackend {self.model!r}>"


class BackendLease:
    """One backend's reference to a loaded model, from its first request to `close`.

    Used on the engine's loop only. `close` cancels the requests that run with it.
    """

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, generate: Any, request: Request, push: Push) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await generate(self.model, request, push)
        except asyncio.CancelledError:
            # `uncancel` takes back the cancellation by `close`, and returns the number of others.
            # If the caller has cancelled too, its cancellation takes precedence.
            if not self._closed or task.uncancel() > 0:
                raise
            raise GenerationCancelledError("the backend was closed during this call") from None
        finally:
            self._tasks.discard(task)

    def close(self) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()


class _Reader:
    """Converts llama.cpp's responses to chunks."""

    def __init__(self, model: str, request: LocalRequest, push: Push) -> None:
        self._model = model
        self._request = request
        self._push = push
        self._finish_reason: str | None = None
        self._usage: Usage | None = None

    def feed(self, answer: Mapping[str, Any]) -> None:
        """Convert and push one response.

        Raises:
            BackendError: It reports an error.
        """
        error = answer.get("error")
        if error is not None:
            raise _error_of(error)
        usage = answer.get("usage")
        if usage:
            self._usage = Usage(usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0))
        for choice in answer.get("choices") or ():
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            delta = choice.get("delta") or {}
            chunk = Chunk(
                self._request.restored(delta.get("content") or ""),
                self._request.restored(delta.get("reasoning_content") or ""),
                model=self._model,
            )
            if chunk:
                self._push(chunk)

    @property
    def is_cut_by_default(self) -> bool:
        """Whether the default limit of length cut the answer off."""
        tokens = self._usage.completion_tokens if self._usage else 0
        at_limit = self._finish_reason == "length" and tokens >= DEFAULT_MAX_NEW_TOKENS
        return at_limit and self._request.is_limited_by_default

    def finish(self) -> None:
        """Push the last chunk.

        Raises:
            StreamInterruptedError: The model reported no finish reason.
        """
        if self._finish_reason is None:
            raise StreamInterruptedError("the embedded model's answer ended without its end")
        self._push(Chunk(usage=self._usage, finish_reason=self._finish_reason, model=self._model))


def _error_of(error: Any) -> BackendError:
    told: Mapping[str, Any] = error if isinstance(error, Mapping) else {"message": str(error)}
    message = str(told.get("message", "no reason given"))
    if told.get("type") == "exceed_context_size_error":
        tokens, window = told.get("n_prompt_tokens"), told.get("n_ctx")
        return BadRequestError(
            f"the prompt has {tokens} tokens, and the embedded model's window {window}: "
            f"shorten it, or use LocalBackend(context_window=...) with more",
            status=400,
        )
    code = told.get("code")
    if isinstance(code, int) and 400 <= code < 500:
        return BadRequestError(f"the embedded model refuses this request: {message}", status=code)
    return GenerationFailedError(f"the embedded model failed: {message}")
