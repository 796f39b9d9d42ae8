"""The parameters that the strategies of this package share, and their checks.

`LoopStrategy` has those of every strategy, `CountedStrategy` also the numbers of attempts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mellea_rx.core.interfaces.backend import Backend
from mellea_rx.core.interfaces.sampling import BaseStrategy, Requirements, Sampler
from mellea_rx.core.types.validation import either_name, kind_of, require_positive_int
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.requirements import as_requirements
from mellea_rx.stdlib.sampling.attempts import AttemptLoop
from mellea_rx.stdlib.sampling.budget import Budget
from mellea_rx.stdlib.sampling.roles import Roles


class LoopStrategy(BaseStrategy):
    """A strategy that makes its attempts in an `AttemptLoop`.

    Attributes:
        roles: The backend for each role.
        budget: The limit on the tokens and seconds of a call; None for no limit.
        requirements: Requirements that are added to those of each call, as a tuple.
        always: Whether it samples also without requirements. It does where a backend for drafts,
            or a limit on the seconds, is given: they hold for a single attempt too.
    """

    __slots__ = ()

    roles: Roles
    budget: Budget | None
    requirements: Requirements
    always: bool

    def _set_shared(
        self,
        roles: Roles | None,
        budget: Budget | None,
        requirements: Requirements,
        *,
        always: bool = False,
    ) -> None:
        """Set the parameters that all strategies share, for a constructor.

        Args:
            roles: The backend for each role; the call's own by default.
            budget: The limit on the tokens and seconds of a call; None for no limit.
            requirements: Requirements that are added to those of each call.
            always: Whether it samples also without requirements, whatever the others are.

        Raises:
            InvalidInputError: One of them has another type.
        """
        roles = Roles() if roles is None else roles
        if not isinstance(roles, Roles):
            raise InvalidInputError(
                f"roles must be a Roles(draft=..., judge=..., repair=...), not {kind_of(roles)}"
            )
        if budget is not None and not isinstance(budget, Budget):
            raise InvalidInputError(
                f"budget must be a Budget(tokens=..., seconds=...), not {kind_of(budget)}"
            )
        object.__setattr__(self, "roles", roles)
        object.__setattr__(self, "budget", budget)
        object.__setattr__(self, "requirements", as_requirements(requirements))
        in_time = budget is not None and budget.seconds is not None
        object.__setattr__(self, "always", always or in_time or roles.draft is not None)

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The backends of its roles."""
        return self.roles.backends

    @property
    def _width(self) -> int:
        """The maximum number of attempts that run at once."""
        return 1

    def _loop(self, sampler: Sampler) -> AttemptLoop:
        """The attempts of one call, of which none is made yet."""
        return AttemptLoop(sampler, self.roles, self.budget)


@dataclass(frozen=True, slots=True, init=False)
class CountedStrategy(LoopStrategy):
    """A strategy that makes up to `loop_budget` attempts.

    Args:
        loop_budget: The maximum number of attempts; None for the default.
        max_concurrent: The number of attempts that run at once; None for the default.
        roles: The backend for each role; the call's own by default.
        budget: The limit on the tokens and seconds of a call; None for no limit.
        n: Another name of `loop_budget`.
        concurrency_budget: Another name of `max_concurrent`.
        default_budget: The default of `loop_budget`; None where it has to be given.
        default_width: The default of `max_concurrent`; None for all attempts at once.
        always: Whether it samples also without requirements, whatever the others are.
        requirements: Requirements that are added to those of each call.

    Raises:
        InvalidInputError: A number is not an int of 1 or more, one parameter was given by both of
            its names, or another one has a wrong type.
    """

    loop_budget: int
    max_concurrent: int | None
    roles: Roles
    budget: Budget | None
    requirements: Requirements
    always: bool = field(init=False, repr=False, compare=False)

    def __init__(
        self,
        loop_budget: int | None,
        *,
        max_concurrent: int | None = None,
        roles: Roles | None = None,
        budget: Budget | None = None,
        n: int | None = None,
        concurrency_budget: int | None = None,
        default_budget: int | None = None,
        default_width: int | None = 1,
        always: bool = False,
        requirements: Requirements = (),
    ) -> None:
        name, count = either_name("loop_budget", loop_budget, "n", n)
        count = default_budget if count is None else count
        object.__setattr__(self, "loop_budget", require_positive_int(name, count))
        name, width = either_name(
            "max_concurrent", max_concurrent, "concurrency_budget", concurrency_budget
        )
        width = default_width if width is None else require_positive_int(name, width)
        object.__setattr__(self, "max_concurrent", width)
        self._set_shared(roles, budget, requirements, always=always)

    @property
    def concurrency_budget(self) -> int | None:
        """Another name of `max_concurrent`."""
        return self.max_concurrent

    @property
    def _width(self) -> int:
        """The maximum number of attempts that run at once."""
        return self.max_concurrent or self.loop_budget
