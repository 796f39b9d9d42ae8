"""The interface of sampling strategies, and of the sampler that makes their attempts.

Strategies implement the one and use the other; calls use both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

from mellea_rx.core.interfaces.backend import Backend
from mellea_rx.core.interfaces.component import Template
from mellea_rx.core.interfaces.optional import optional_member
from mellea_rx.core.streams.event_log import EventLog
from mellea_rx.core.types.chunk import Chunk, Usage
from mellea_rx.core.types.options import Options
from mellea_rx.core.types.output import Output
from mellea_rx.core.types.release import OPEN, ReleasePolicy, ReleaseWish
from mellea_rx.core.types.request import Request
from mellea_rx.core.types.requirement import Requirement
from mellea_rx.core.types.sampling_result import Attempt, SamplingResult

Requirements: TypeAlias = Iterable[str | Requirement] | str | Requirement
"""Requirements as users give them: texts or `Requirement`s, one or several."""


class Sampler(Protocol):
    """Makes the attempts of one call for its strategy.

    Attributes:
        request: The call's request.
        policy: The call's release policy.
        event_log: The record of the call's events; attempts add their own.
    """

    @property
    def policy(self) -> ReleasePolicy: ...

    @property
    def request(self) -> Request: ...

    @property
    def event_log(self) -> EventLog: ...

    @property
    def usage(self) -> Usage:
        """The tokens of the call so far: of its attempts, judges and questions (`ask`).

        They count when a request ends, as far as the server reports them.
        """
        ...

    async def backend(self) -> Backend:
        """The call's backend; of a deferred backend, the one that it resolved to."""
        ...

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
        """Generate once and validate.

        Attempts are counted, and `ModelOption.SEED` grows with them, so that none repeats another.
        Being cancelled ends the request on the server.

        Args:
            request: The request; the call's own by default.
            backend: The backend; the call's own by default. Of another one, its own model options
                hold for what the call does not set.
            after: Text that the answer goes on from: the `kept` of an attempt before.
            release: Whether readers get text of it before it is accepted: as the call's policy
                says, or where that says nothing, units that are validated, and then only for a
                strategy whose value will begin with them, even where this attempt is rejected.
                The next such attempt takes back what `after` does not begin with.
            judge: The backend that decides the requirements which a model judges; that of the
                attempt by default. Of another one, its own model options hold for what the call
                does not set, where they hold for a judge (see `ask`).
            seconds: The time limit of the attempt, its validation included; None for none.

        Raises:
            TotalTimeoutError: The attempt took longer, and was ended, on the server too; `text` is
                its text so far.
            InvalidInputError: `after` was given, and the backend cannot continue a text; or
                `backend` or `judge` is not a backend, or does not support an option.
            MelleaRxError: The generation, or a user's function, failed.
        """
        ...

    async def ask(
        self,
        prompt: str | Template,
        *,
        schema: Mapping[str, Any] | None = None,
        backend: Backend | None = None,
        options: Options | None = None,
    ) -> Chunk:
        """Ask a model a question that is no attempt, as to judge one. Requests are tried again.

        The request has no other messages than the question, and temperature 0. Of the call's
        options those hold that decide how the model runs and how a request is sent (the context
        window, time limits, retries, no thinking), and the servers' own. Being cancelled ends the
        request on the server.

        Args:
            prompt: The question: a text, or a template, which the user's of that name replaces.
            schema: A JSON schema that the answer has to fit; None for free text.
            backend: The backend; the call's own by default. Of another one, its own model options
                of these kinds hold for what the call does not set.
            options: Further model options, which go before the others.

        Returns:
            The whole answer; a refusal has the finish reason "refusal" or "content_filter".

        Raises:
            InvalidInputError: `backend` is not a backend, or does not support an option.
            TemplateError: The template cannot be rendered.
            BackendError: The backend failed.
        """
        ...

    def render(self, template: Template) -> str:
        """The text of a template, or of the user's template that replaces it.

        Its values must all be there.

        Raises:
            TemplateError: It cannot be rendered.
        """
        ...

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a user's function: a sync one in a worker thread, an async one on its own loop."""
        ...

    def output(self, attempt: Attempt) -> Output:
        """An attempt's answer as validators see it, for the user's functions that judge it."""
        ...

    def set_parsed(self, value: Any) -> None:
        """Set the object that the value's text stands for (`thunk.parsed`), where it is known."""
        ...


class SamplingStrategy(Protocol):
    """Decides how often to try, and which attempt becomes the value.

    Any object with this method is one. `BaseStrategy` has the optional members, `always`,
    `backends`, `callables` and `requirements`, with their defaults.
    """

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make attempts, and choose one. Runs on the engine; readers see only the chosen one."""
        ...


class BaseStrategy(ABC):
    """A base class for strategies, with the defaults of the optional members.

    Inheriting it is a convenience. A strategy of another class may have any of these members too,
    and gets the default of each that it lacks.
    """

    __slots__ = ()

    @property
    def wish(self) -> ReleaseWish:
        """The release policy that it asks for; open by default."""
        return OPEN

    def policy_refusal(self, policy: ReleasePolicy) -> str:
        """The reason why it cannot release text before it is accepted; "" where it can."""
        return "it chooses among whole attempts"

    always: bool = False
    """Whether it samples also where a call has no requirements. By default it does not: the one
    attempt of such a call streams to readers."""

    requirements: Requirements = ()
    """Requirements that are added to those of each call; none by default. They are stated in the
    prompt as the call's own."""

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The backends that it asks besides the call's; none by default.

        A blocking wait on an event loop that one of them needs is refused, as for `callables`.
        """
        return ()

    @property
    def callables(self) -> tuple[Callable[..., Any], ...]:
        """The user's functions that it calls; none by default.

        A blocking wait on an event loop that one of them needs is refused, since it could never
        end.
        """
        return ()

    @abstractmethod
    async def sample(self, sampler: Sampler) -> SamplingResult:
        """See `SamplingStrategy`."""


def is_strategy(value: object) -> bool:
    """Whether a value is a sampling strategy."""
    return not isinstance(value, type) and hasattr(value, "sample")


def samples_always(strategy: SamplingStrategy) -> bool:
    """See `BaseStrategy.always`."""
    return bool(optional_member(strategy, BaseStrategy, "always"))


def wish_of(strategy: SamplingStrategy) -> ReleaseWish:
    """See `BaseStrategy.wish`."""
    wish: ReleaseWish = optional_member(strategy, BaseStrategy, "wish")
    return wish


def policy_refusal(strategy: SamplingStrategy, policy: ReleasePolicy) -> str:
    """See `BaseStrategy.policy_refusal`."""
    return str(optional_member(strategy, BaseStrategy, "policy_refusal")(policy))


def requirements_of(strategy: object) -> Requirements:
    """See `BaseStrategy.requirements`. A class, given instead of its object, has none."""
    if isinstance(strategy, type):
        return ()
    given: Requirements = optional_member(strategy, BaseStrategy, "requirements")
    return given


def callables_of(strategy: SamplingStrategy) -> tuple[Callable[..., Any], ...]:
    """See `BaseStrategy.callables`."""
    return tuple(optional_member(strategy, BaseStrategy, "callables"))


def backends_of(strategy: SamplingStrategy) -> tuple[Backend, ...]:
    """See `BaseStrategy.backends`."""
    return tuple(optional_member(strategy, BaseStrategy, "backends"))
