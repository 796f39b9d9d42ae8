"""Rejection sampling: attempts until one meets every requirement or the budget is spent.

`WeakThenStrong` goes on with a stronger backend when the weaker one's budget is spent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mellea_rx.core.interfaces.backend import Backend, require_backend
from mellea_rx.core.interfaces.sampling import Requirements, Sampler
from mellea_rx.core.types.release import OnReject, Release, ReleaseWish, as_wish
from mellea_rx.core.types.sampling_result import Attempt, SamplingResult
from mellea_rx.core.types.validation import require_positive_int
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.sampling.budget import Budget
from mellea_rx.stdlib.sampling.early_release import EarlyRelease
from mellea_rx.stdlib.sampling.loop_strategy import CountedStrategy, LoopStrategy
from mellea_rx.stdlib.sampling.roles import Roles


@dataclass(frozen=True, slots=True, init=False)
class RejectionSampling(EarlyRelease, CountedStrategy):
    """Makes attempts until one meets all requirements.

    When the budget is spent, the attempt that met the most requirements is the value (the latest
    of equals), and `thunk.sampling.success` is False::

        attempts:  --a--x   --b--x   --c--|
        thunk:     ----------------------c|

    With `repair="continue"` an attempt goes on from the units that were validated before one
    failed, and readers get each unit as soon as it is validated::

        attempts:  -1-2-x      -3-4-|
        thunk:     -1-2---------3-4-|

    Such a call fails where the seconds of its `budget` end an attempt: readers have a part of it,
    with which no other attempt begins.

    Args:
        loop_budget: The maximum number of attempts.
        max_concurrent: The number of attempts that run at once, 1 by default; the first one that
            succeeds ends the others.
        repair: The attempt after one that failed: "restart" makes another one, "continue" goes on
            (see above; only on backends that can continue an assistant's message).
        roles: The backend for each role; the call's own by default.
        budget: The limit on the tokens and seconds of a call; None for no limit.
        concurrency_budget: Another name of `max_concurrent`.
        release: The time at which readers get text; "accepted" by default (see `Release`).
        on_reject: The fate of text that readers have got, when it is rejected; "fail" by default
            (see `OnReject`).
        requirements: Requirements that are added to those of each call.

    Raises:
        InvalidInputError: A number is below 1, there is no such policy, one parameter was given by
            both of its names, or two parameters contradict each other.
    """

    max_concurrent: int
    repair: Literal["restart", "continue"]
    release: Release | None
    on_reject: OnReject | None

    def __init__(
        self,
        loop_budget: int = 2,
        *,
        max_concurrent: int | None = None,
        repair: Literal["restart", "continue"] = "restart",
        roles: Roles | None = None,
        budget: Budget | None = None,
        concurrency_budget: int | None = None,
        release: Release | None = None,
        on_reject: OnReject | None = None,
        requirements: Requirements = (),
    ) -> None:
        # Not `super()`, which refers to the class that `dataclass` replaces by one with slots.
        CountedStrategy.__init__(
            self,
            loop_budget,
            max_concurrent=max_concurrent,
            roles=roles,
            budget=budget,
            concurrency_budget=concurrency_budget,
            requirements=requirements,
        )
        if repair not in ("restart", "continue"):
            raise InvalidInputError(f"repair is 'restart' or 'continue', not {repair!r}")
        name = "max_concurrent" if concurrency_budget is None else "concurrency_budget"
        if repair == "continue" and self._width > 1:
            raise InvalidInputError(
                f"repair='continue' goes on from one attempt: it needs {name}=1"
            )
        if repair == "continue" and on_reject not in (None, "continue"):
            raise InvalidInputError(
                f"repair='continue' means on_reject='continue', not {on_reject!r}"
            )
        object.__setattr__(self, "repair", repair)
        self._set_release(release, on_reject, name)

    @property
    def wish(self) -> ReleaseWish:
        """The release policy that it asks for."""
        continues = self.repair == "continue"
        return as_wish(self.release, "continue" if continues else self.on_reject)

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make attempts until one succeeds."""
        loop = self._loop(sampler)
        if self._width == 1:
            await loop.one_by_one(loop.following, self.loop_budget)
        else:
            await loop.side_by_side(loop.attempt, self.loop_budget, self._width, first=True)
        return loop.outcome()


@dataclass(frozen=True, slots=True, init=False)
class WeakThenStrong(EarlyRelease, LoopStrategy):
    """Asks the session's backend, and another one when no attempt of it is accepted.

        weak:      --a--x --b--x
        strong:                  ---c---|
        thunk:     --------------------c|

    Args:
        strong: The other backend; its own model options hold for what the call does not set.
        weak_budget: The maximum number of attempts of the session's backend.
        strong_budget: The maximum number of attempts of the other one.
        roles: The backend for each role of the weak attempts, and the judge of all of them; the
            call's own by default.
        budget: The limit on the tokens and seconds of a call; None for no limit.
        release: The time at which readers get text, as for `RejectionSampling`.
        on_reject: The fate of text that readers have got, when it is rejected, likewise.
        requirements: Requirements that are added to those of each call.

    Raises:
        InvalidInputError: A budget is below 1, or `strong` is not a backend.
    """

    strong: Backend
    weak_budget: int
    strong_budget: int
    roles: Roles
    budget: Budget | None
    requirements: Requirements
    release: Release | None
    on_reject: OnReject | None
    always: bool = field(init=False, repr=False, compare=False)

    def __init__(
        self,
        strong: Backend,
        *,
        weak_budget: int = 2,
        strong_budget: int = 1,
        roles: Roles | None = None,
        budget: Budget | None = None,
        release: Release | None = None,
        on_reject: OnReject | None = None,
        requirements: Requirements = (),
    ) -> None:
        require_backend(strong, "strong")
        object.__setattr__(self, "strong", strong)
        object.__setattr__(self, "weak_budget", require_positive_int("weak_budget", weak_budget))
        strong_budget = require_positive_int("strong_budget", strong_budget)
        object.__setattr__(self, "strong_budget", strong_budget)
        self._set_shared(roles, budget, requirements)
        self._set_release(release, on_reject)

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The strong backend, and those of the roles."""
        return (self.strong, *self.roles.backends)

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make attempts until one succeeds."""
        loop = self._loop(sampler)

        async def following(last: Attempt | None) -> Attempt:
            weak = len(loop.attempts) < self.weak_budget
            return await loop.following(last, backend=None if weak else self.strong)

        await loop.one_by_one(following, self.weak_budget + self.strong_budget)
        return loop.outcome()
