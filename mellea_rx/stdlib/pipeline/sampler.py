"""`CallSampler`: makes the attempts of one call for its strategy, and records them as events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from mellea_rx.core.interfaces.backend import Backend, capabilities_of, require_backend
from mellea_rx.core.interfaces.component import Template
from mellea_rx.core.runtime.logs import AttemptRejected, log
from mellea_rx.core.runtime.time_limit import unfinished, within
from mellea_rx.core.runtime.user_functions import call_user_function
from mellea_rx.core.streams.generation import Generation
from mellea_rx.core.types.chunk import Chunk, Usage, with_text
from mellea_rx.core.types.events import AttemptFailed, AttemptStarted, Rejected, Retrying
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.output import Output
from mellea_rx.core.types.release import Release, ReleasePolicy
from mellea_rx.core.types.request import Request
from mellea_rx.core.types.requirement import Requirement
from mellea_rx.core.types.sampling_result import Attempt
from mellea_rx.core.types.validation import name_of, require_number
from mellea_rx.errors import InvalidInputError, MelleaRxError
from mellea_rx.stdlib.pipeline.asking import ask_model, options_beside, resolve_beside
from mellea_rx.stdlib.pipeline.attempt import AttemptSettings, RunningAttempt
from mellea_rx.stdlib.pipeline.generate import check, resolve
from mellea_rx.stdlib.pipeline.prefill import with_prefill
from mellea_rx.stdlib.pipeline.release import ReleasedText
from mellea_rx.stdlib.pipeline.validation import Judge
from mellea_rx.stdlib.prompts.renderer import render
from mellea_rx.stdlib.requirements.unit_judge import UnitJudge


class CallSampler:
    """Makes the attempts of one call; see `Sampler`. Used on the engine only.

    Args:
        generation: The call's generation, whose readers get released text.
        setting: The settings of all attempts.
        policy: The call's release policy.
    """

    def __init__(
        self, generation: Generation, setting: AttemptSettings, policy: ReleasePolicy
    ) -> None:
        self._setting = setting
        self._generation = generation
        self.policy = policy
        self.event_log = generation.record_events()
        self._readers = ReleasedText(generation, policy)
        self._count = 0
        self._rejected: Attempt | None = None
        self._why_rejected = ""

    @property
    def request(self) -> Request:
        """The call's request."""
        return self._setting.request

    async def backend(self) -> Backend:
        """The call's backend, resolved; see `Sampler.backend`."""
        return self._setting.backend

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a user's function; see `Sampler.call`."""
        with unfinished(lambda: f"the function {name_of(function)!r} of the strategy"):
            return await call_user_function(function, *args, loop=self._setting.loop)

    @property
    def usage(self) -> Usage:
        """The tokens of all attempts and questions so far; see `Sampler.usage`."""
        return self._setting.tally.total

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
        judge: Backend | None = None,
        seconds: float | None = None,
    ) -> Attempt:
        """Generate once and validate; see `Sampler.attempt`."""
        if seconds is not None:
            require_number("attempt(seconds=...)", seconds)
        number, self._count = self._count, self._count + 1
        taken = self._setting.backend
        request = self.request if request is None else request
        if backend is not None and backend is not taken:
            taken, request = await self._resolve_other(backend, request)
        judge_of = await self._resolve_judge(judge, taken, request)
        if after:
            request = _continued(request, after, taken)
        self._record_start(number, taken, request)
        mode: Release = "accepted"
        if release:
            mode = self.policy.release if self.policy.is_early else "validated"
            self._readers.become(Chunk(after), self._why_rejected)
        running = RunningAttempt(
            self._setting, judge_of, number, self.event_log, after, mode, self._readers
        )
        work = running.run(taken, _with_own_seed(request, number))
        try:
            attempt = await within(
                seconds, work, f"the attempt took longer than {seconds or 0:.3g} s"
            )
        except MelleaRxError as error:
            error.text = running.text
            failure = (number, type(error).__name__, str(error))
            self.event_log.add(AttemptFailed(self.event_log.now(), *failure))
            raise
        if not attempt.success:
            self._rejected = attempt
            self._why_rejected = "; ".join(attempt.reasons)
            self.event_log.add(Rejected(self.event_log.now(), number, attempt.reasons))
        return attempt

    async def ask(
        self,
        prompt: str | Template,
        *,
        schema: Mapping[str, Any] | None = None,
        backend: Backend | None = None,
        options: Options | None = None,
    ) -> Chunk:
        """Ask a model a question that is no attempt; see `Sampler.ask`."""
        setting = self._setting
        asked, known = setting.backend, options_beside(self.request.options)
        if backend is not None and backend is not asked:
            asked, known = await resolve_beside(backend, setting.given, "ask(backend=...)")
        if options is not None:
            known = options.over(known)
            check(asked, known)
        text = prompt if isinstance(prompt, str) else self.render(prompt)
        return await ask_model(
            asked, text, known, schema=schema, sources=setting.sources, tally=setting.tally
        )

    async def _resolve_other(self, backend: Backend, request: Request) -> tuple[Backend, Request]:
        """Another backend than the call's, and the request with the call's options over its own."""
        require_backend(backend, "attempt(backend=...)")
        options = self._setting.given.over(backend.model_options)
        check(backend, options)
        return await resolve(backend, replace(request, options=options))

    async def _resolve_judge(
        self, judge: Backend | None, taken: Backend, request: Request
    ) -> Judge:
        """The judge of an attempt: the backend of the attempt where none is given, or needed."""
        if judge is None or judge is taken:
            return Judge(taken, request.options)
        require_backend(judge, "attempt(judge=...)")
        if not any(map(_needs_model, self._setting.requirements)):
            return Judge(taken, request.options)
        return Judge(*await resolve_beside(judge, self._setting.given, "attempt(judge=...)"))

    def _record_start(self, number: int, backend: Backend, request: Request) -> None:
        event_log, rejected = self.event_log, self._rejected
        self._rejected = None
        if rejected is not None:
            event_log.add(Retrying(event_log.now(), number, "; ".join(rejected.reasons)))
            log(AttemptRejected(self._generation.number, len(rejected.reasons), number + 1))
        event_log.add(AttemptStarted(event_log.now(), number, backend.name, request.prompt))

    def complete(self, chosen: Attempt) -> None:
        """Make the chosen attempt the value: pass to readers all of it that they have not got.

        Raises:
            UnexpectedError: It does not begin with the text that the strategy released.
        """
        value = chosen.answer
        if self.policy.release == "validated" and not chosen.success:
            value = with_text(value, chosen.kept)  # no reader sees text that was rejected
        self._readers.become(value, self._why_rejected)


def _needs_model(requirement: Requirement) -> bool:
    """Whether a model may have to judge a requirement."""
    return requirement.answer_function is None or isinstance(requirement.unit_function, UnitJudge)


def _continued(request: Request, text: str, backend: Backend) -> Request:
    """The request whose answer goes on from `text`, where the backend can continue a text."""
    if not capabilities_of(backend).prefill:
        raise InvalidInputError(
            "on_reject='continue' or repair='continue' needs a backend that goes on from an "
            f"assistant's message, and {backend.name!r} does not: use another policy"
        )
    return with_prefill(request, text)


def _with_own_seed(request: Request, number: int) -> Request:
    seed = request.options.get(ModelOption.SEED)
    if seed is None or number == 0:
        return request
    own = Options({ModelOption.SEED: seed + number})
    return replace(request, options=own.over(request.options))
