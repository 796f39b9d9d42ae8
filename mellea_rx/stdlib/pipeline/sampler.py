"""`CallSampler`: makes the attempts of one call for its strategy, and records them as events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mellea_rx.core.interfaces.backend import Backend, capabilities_of, require_backend
from mellea_rx.core.interfaces.component import Template
from mellea_rx.core.runtime.logs import AttemptRejected, log
from mellea_rx.core.runtime.user_functions import call_user_function
from mellea_rx.core.streams.generation import Generation
from mellea_rx.core.types.chunk import Chunk, with_text
from mellea_rx.core.types.events import AttemptFailed, AttemptStarted, Rejected, Retrying
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.output import Output
from mellea_rx.core.types.request import Request
from mellea_rx.core.types.sampling_result import Attempt
from mellea_rx.errors import InvalidInputError, MelleaRxError, UnexpectedError
from mellea_rx.stdlib.pipeline.attempt import AttemptSettings, RunningAttempt
from mellea_rx.stdlib.pipeline.generate import check, resolve
from mellea_rx.stdlib.pipeline.prefill import with_prefill
from mellea_rx.stdlib.prompts.renderer import render


class CallSampler:
    """Makes the attempts of one call; see `Sampler`. Used on the engine only.

    Args:
        generation: The call's generation, whose readers get released text.
        setting: The settings of all attempts.
    """

    def __init__(
        self,
        generation: Generation,
        setting: AttemptSettings,
    ) -> None:
        self._setting = setting
        self._generation = generation
        self.event_log = generation.record_events()
        self._count = 0
        self._rejected: Attempt | None = None
        self._released = ""

    @property
    def request(self) -> Request:
        """The call's request."""
        return self._setting.request

    async def backend(self) -> Backend:
        """The call's backend, resolved; see `Sampler.backend`."""
        return self._setting.backend

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a user's function; see `Sampler.call`."""
        return await call_user_function(function, *args, loop=self._setting.loop)

    def render(self, template: Template) -> str:
        """A template's text; see `Sampler.render`."""
        return render(template, self._setting.sources)

    def output(self, attempt: Attempt) -> Output:
        """An attempt's answer as validators see it; see `Sampler.output`."""
        number = max(attempt.number, 1)
        return Output(attempt.answer, origin=self._setting.origin, attempt=number)

    def set_parsed(self, value: Any) -> None:
        """Set the object that the value's text stands for; see `Sampler.set_parsed`."""
        self._generation.set_parsed(value)

    async def attempt(
        self,
        request: Request | None = None,
        *,
        backend: Backend | None = None,
        after: str = "",
        release: bool = False,
    ) -> Attempt:
        """Generate once and validate; see `Sampler.attempt`."""
        number, self._count = self._count, self._count + 1
        taken = self._setting.backend
        request = self.request if request is None else request
        if backend is not None and backend is not taken:
            taken, request = await self._resolve_other(backend, request)
        if after:
            request = _continued(request, after, taken)
        self._record_start(number, taken, request)
        out = self._release if release else None
        running = RunningAttempt(self._setting, number, self.event_log, after, out)
        try:
            attempt = await running.run(taken, _with_own_seed(request, number))
        except MelleaRxError as error:
            failure = (number, type(error).__name__, str(error))
            self.event_log.add(AttemptFailed(self.event_log.now(), *failure))
            raise
        if not attempt.success:
            self._rejected = attempt
            self.event_log.add(Rejected(self.event_log.now(), number, attempt.reasons))
        return attempt

    async def _resolve_other(self, backend: Backend, request: Request) -> tuple[Backend, Request]:
        """Another backend than the call's, and the request with the call's options over its own."""
        require_backend(backend, "attempt(backend=...)")
        options = self._setting.given.over(backend.model_options)
        check(backend, options)
        return await resolve(backend, replace(request, options=options))

    def _record_start(self, number: int, backend: Backend, request: Request) -> None:
        event_log, rejected = self.event_log, self._rejected
        self._rejected = None
        if rejected is not None:
            event_log.add(Retrying(event_log.now(), number, "; ".join(rejected.reasons)))
            log(AttemptRejected(self._generation.number, len(rejected.reasons), number + 1))
        event_log.add(AttemptStarted(event_log.now(), number, backend.name, request.prompt))

    def _release(self, text: str) -> None:
        self._released += text
        self._generation.push(Chunk(text))

    def release_rest(self, value: Chunk) -> None:
        """Pass the rest of the value to readers: all that was not released before.

        Raises:
            UnexpectedError: The value does not begin with the text that the strategy released.
        """
        if not value.text.startswith(self._released):
            raise UnexpectedError(
                "the sampling strategy released text that its value does not begin with",
                text=self._released,
            )
        self._generation.push(with_text(value, value.text[len(self._released) :]))


def _continued(request: Request, text: str, backend: Backend) -> Request:
    """The request whose answer goes on from `text`, where the backend can continue a text."""
    if not capabilities_of(backend).prefill:
        raise InvalidInputError(
            f"repair='continue' needs a backend that goes on from an assistant's message, and "
            f"{backend.name!r} does not: use repair='restart'"
        )
    return with_prefill(request, text)


def _with_own_seed(request: Request, number: int) -> Request:
    seed = request.options.get(ModelOption.SEED)
    if seed is None or number == 0:
        return request
    own = Options({ModelOption.SEED: seed + number})
    return replace(request, options=own.over(request.options))
