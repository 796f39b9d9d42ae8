"""What a sampling strategy is, and what it works with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from mellea_rx.core.backend import Backend
from mellea_rx.core.component import Template
from mellea_rx.core.journal import EventLog
from mellea_rx.core.request import Request
from mellea_rx.core.sampling_result import Attempt, SamplingResult

__all__ = ["Attempt", "Sampler", "SamplingResult", "SamplingStrategy"]


class Sampler(Protocol):
    """What a strategy works with; one per call.

    Attributes:
        request: What the call asks.
        journal: Where what happens is told; attempts tell of themselves.
    """

    @property
    def request(self) -> Request: ...

    @property
    def journal(self) -> EventLog: ...

    async def backend(self) -> Backend:
        """Whom the call asks, once that is decided."""
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
            request: What to ask; the call's own by default.
            backend: Whom to ask; the call's own by default.
            after: Text that the answer goes on from: the `kept` of an attempt before.
            release: Readers get units as soon as they are validated. Only where the value will
                begin with them, whatever becomes of this attempt.

        Raises:
            InvalidInputError: `after`, and the backend cannot go on from a text.
            MelleaRxError: The generation, or a function of the user's, failed.
        """
        ...

    def render(self, template: Template) -> str:
        """The text of a template whose values are all there; the user's own, where they have one.

        Raises:
            TemplateError: It cannot be rendered.
        """
        ...

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the user's: a sync one in a thread, an async one on their loop."""
        ...

    def stands_for(self, value: Any) -> None:
        """Say what the value's text stands for, where that is known: `thunk.parsed`."""
        ...


class SamplingStrategy(Protocol):
    """Decides how often to try, and which attempt becomes the value.

    Two attributes are asked for where a strategy has them: `always` (True: it samples also where a
    call has no requirements; else such a call's one attempt goes out as it comes) and `callables`
    (functions of the user's that it calls).
    """

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make attempts until it is content. On the engine; readers see only the chosen one."""
        ...
