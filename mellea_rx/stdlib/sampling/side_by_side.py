"""`SideBySide`: what the strategies have in common that always make all of their attempts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from mellea_rx.core.interfaces.sampling import Requirements, Sampler
from mellea_rx.core.types.output import Output
from mellea_rx.core.types.validation import name_of
from mellea_rx.errors import CallbackError, MelleaRxError
from mellea_rx.stdlib.sampling.attempts import AttemptLoop
from mellea_rx.stdlib.sampling.budget import Budget
from mellea_rx.stdlib.sampling.loop_strategy import CountedStrategy
from mellea_rx.stdlib.sampling.roles import Roles

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, init=False)
class SideBySide(CountedStrategy):
    """A strategy that makes `loop_budget` attempts, up to `max_concurrent` of them at once."""

    def __init__(
        self,
        loop_budget: int | None = None,
        *,
        max_concurrent: int | None = None,
        roles: Roles | None = None,
        budget: Budget | None = None,
        n: int | None = None,
        concurrency_budget: int | None = None,
        requirements: Requirements = (),
    ) -> None:
        # Not `super()`, which refers to the class that `dataclass` replaces by one with slots.
        CountedStrategy.__init__(
            self,
            loop_budget,
            max_concurrent=max_concurrent,
            roles=roles,
            budget=budget,
            n=n,
            concurrency_budget=concurrency_budget,
            default_budget=3,
            default_width=None,
            always=True,  # it compares attempts, with and without requirements
            requirements=requirements,
        )

    def _loop(self, sampler: Sampler) -> AttemptLoop:
        """The attempts of one call: drafts only, since none depends on another one."""
        drafts = replace(self.roles, repair=self.roles.draft)
        return AttemptLoop(sampler, drafts, self.budget)

    @property
    def n(self) -> int:
        """Another name of `loop_budget`."""
        return self.loop_budget

    async def _call(
        self,
        sampler: Sampler,
        function: Callable[..., Any],
        *outputs: Output,
        role: str,
        convert: Callable[[Any], _T],
    ) -> _T:
        """Call a function of the user's with the outputs of attempts, and convert its result.

        Args:
            sampler: Calls it.
            function: The function.
            outputs: Its arguments.
            role: The parameter that it was given as, for the message.
            convert: Makes the result of what it returned.

        Raises:
            CallbackError: Either failed. The message has the function's role and name.
        """
        try:
            return convert(await sampler.call(function, *outputs))
        except MelleaRxError:
            raise
        except Exception as error:
            raise CallbackError(
                f"the {role} {name_of(function)!r} of {type(self).__name__} failed: "
                f"{type(error).__name__}: {error}",
                text=outputs[0].text,
            ) from error
