"""The interface of sampling strategies, and of the sampler that makes their attempts.

Strategies implement the one and use the other; calls use both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol, TypeAlias

from mellea_rx.core.interfaces.backend import Backend
from mellea_rx.core.interfaces.component import Template
from mellea_rx.core.interfaces.optional import optional_member
from mellea_rx.core.streams.event_log import EventLog
from mellea_rx.core.types.output import Output
from mellea_rx.core.types.request import Request
from mellea_rx.core.types.requirement import Requirement
from mellea_rx.core.types.sampling_result import Attempt, SamplingResult

Requirements: TypeAlias = Iterable[str | Requirement] | str | Requirement
"""Requirements as users give them: texts or `Requirement`s, one or several."""


class Sampler(Protocol):
    """Makes the attempts of one call for its strategy.

    Attributes:
        request: The call's request.
        event_log: The record of the call's events; attempts add their own.
    """

    @property
    def request(self) -> Request: ...

    @property
    def event_log(self) -> EventLog: ...

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
    ) -> Attempt:
        """Generate once and validate.

        Attempts are counted, and `ModelOption.SEED` grows with them, so that none repeats another.
        Being cancelled ends the request on the server.

        Args:
            request: The request; the call's own by default.
            backend: The backend; the call's own by default. Of another one, its own model options
                hold for what the call does not set.
            after: Text that the answer goes on from: the `kept` of an attempt before.
            release: Whether readers get units as soon as they are validated. Only for a strategy
                whose value will begin with them, even where this attempt is rejected.

        Raises:
            InvalidInputError: `after` was given, and the backend cannot continue a text.
            MelleaRxError: The generation, or a user's function, failed.
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
    `callables` and `requirements`, with their defaults.
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

    always: ClassVar[bool] = False
    """Whether it samples also where a call has no requirements. By default it does not: the one
    attempt of such a call streams to readers."""

    requirements: Requirements = ()
    """Requirements that are added to those of each call; none by default. They are stated in the
    prompt as the call's own."""

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


def requirements_of(strategy: object) -> Requirements:
    """See `BaseStrategy.requirements`. A class, given instead of its object, has none."""
    if isinstance(strategy, type):
        return ()
    given: Requirements = optional_member(strategy, BaseStrategy, "requirements")
    return given


def callables_of(strategy: SamplingStrategy) -> tuple[Callable[..., Any], ...]:
    """See `BaseStrategy.callables`."""
    return tuple(optional_member(strategy, BaseStrategy, "callables"))
