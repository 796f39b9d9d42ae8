"""`RepairTemplate` and `MultiTurn`: rejection sampling that gives the model the reasons."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import partial

from mellea_rx.core.interfaces.component import Template
from mellea_rx.core.interfaces.sampling import Requirements, Sampler
from mellea_rx.core.types.release import OnReject, Release
from mellea_rx.core.types.request import Request, RequestMessage, has_prefill
from mellea_rx.core.types.sampling_result import Attempt, SamplingResult
from mellea_rx.stdlib.sampling.budget import Budget
from mellea_rx.stdlib.sampling.early_release import EarlyRelease
from mellea_rx.stdlib.sampling.loop_strategy import CountedStrategy
from mellea_rx.stdlib.sampling.roles import Roles

__all__ = ["REPAIR", "REPAIR_TURN", "MultiTurn", "RepairTemplate"]

REPAIR = Template(
    """\
{{ prompt }}

An answer to this was rejected, for these reasons:
- {{ reasons | join('\n- ') }}
Write an answer that has none of these faults.""",
    name="repair",
)

REPAIR_TURN = Template(
    """\
This answer was rejected, for these reasons:
- {{ reasons | join('\n- ') }}
Answer again, without these faults.""",
    name="repair_turn",
)

_NOT_RUN = "This call was not run: the answer was rejected."


@dataclass(frozen=True, slots=True, init=False)
class _Repairing(EarlyRelease, CountedStrategy):
    """A strategy that makes rounds of attempts, and tells each round what the one before lacked."""

    max_concurrent: int
    release: Release | None
    on_reject: OnReject | None

    def __init__(
        self,
        loop_budget: int = 2,
        *,
        max_concurrent: int | None = None,
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
        name = "max_concurrent" if concurrency_budget is None else "concurrency_budget"
        self._set_release(release, on_reject, name)

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make attempts until one succeeds, in rounds."""
        loop = self._loop(sampler)
        await loop.rounds(partial(self._repaired, sampler), self.loop_budget, self._width)
        return loop.outcome()

    @staticmethod
    @abstractmethod
    def _repaired(sampler: Sampler, request: Request, rejected: Attempt) -> Request:
        """The request that follows a rejected attempt.

        Args:
            sampler: Renders templates.
            request: The request of that attempt.
            rejected: That attempt.
        """


class RepairTemplate(_Repairing):
    """Rejection sampling whose prompt has the reasons why the attempt before was rejected.

    With `max_concurrent` above 1 attempts are made in rounds. All attempts of a round have the same
    prompt, the first one that succeeds ends the others, and the next round has the reasons of the
    best one (the attempt that met the most requirements, the latest of equals)::

        attempts:  --a--x        --d----x
                   ----b--x      ---e|
                   ---c---x      ------f…   (ended)
        prompt:    p             p + reasons of b
        thunk:     -----------------e|

    An attempt that fails with an error fails alone in a round, and ends the call where
    `max_concurrent` is 1.

    Args:
        loop_budget: The maximum number of attempts, of all rounds together.
        max_concurrent: The number of attempts in a round, 1 by default.
        roles: The backend for each role; the call's own by default.
        budget: The limit on the tokens and seconds of a call; None for no limit.
        concurrency_budget: Another name of `max_concurrent`.
        release: The time at which readers get text, as for `RejectionSampling`.
        on_reject: The fate of text that readers have got, when it is rejected, likewise.
        requirements: Requirements that are added to those of each call.

    Raises:
        InvalidInputError: A number is below 1, or one parameter was given by both of its names.
    """

    __slots__ = ()

    @staticmethod
    def _repaired(sampler: Sampler, request: Request, rejected: Attempt) -> Request:
        return _with_reasons(sampler, rejected)


class MultiTurn(_Repairing):
    """Rejection sampling as a conversation: the model sees its answers, and the reasons after each.

    With `max_concurrent` above 1 attempts are made in rounds, as for `RepairTemplate`; the
    conversation has the best attempt of each round::

        attempts:  --a--x        --d----x
                   ----b--x      ---e|
        prompt:    p             p, b, reasons of b
        thunk:     -----------------e|

    Args:
        loop_budget: The maximum number of attempts, of all rounds together.
        max_concurrent: The number of attempts in a round, 1 by default.
        roles: The backend for each role; the call's own by default.
        budget: The limit on the tokens and seconds of a call; None for no limit.
        concurrency_budget: Another name of `max_concurrent`.
        release: The time at which readers get text, as for `RejectionSampling`.
        on_reject: The fate of text that readers have got, when it is rejected, likewise.
        requirements: Requirements that are added to those of each call.

    Raises:
        InvalidInputError: A number is below 1, or one parameter was given by both of its names.
    """

    __slots__ = ()

    @staticmethod
    def _repaired(sampler: Sampler, request: Request, rejected: Attempt) -> Request:
        return _with_turn(sampler, request, rejected)


def _with_reasons(sampler: Sampler, failed: Attempt) -> Request:
    """The call's request with the reasons in its last message of the user's."""
    request = sampler.request
    messages = list(request.messages)
    index = max(i for i, message in enumerate(messages) if message.role != "assistant")
    content = sampler.render(REPAIR.given(prompt=messages[index].content, reasons=failed.reasons))
    messages[index] = replace(messages[index], content=content)
    return replace(request, messages=tuple(messages))


def _with_turn(sampler: Sampler, request: Request, failed: Attempt) -> Request:
    """The request, the answer that failed, and the reasons as the user's next message."""
    reasons = sampler.render(REPAIR_TURN.given(reasons=failed.reasons))
    messages = request.messages
    prefill = messages[-1:] if has_prefill(messages) else ()
    answer = RequestMessage("assistant", failed.text, tool_calls=failed.answer.tool_calls)
    # A server refuses tool calls that no result follows.
    results = [
        RequestMessage("tool", _NOT_RUN, tool_name=call.name, tool_call_id=call.id)
        for call in answer.tool_calls
    ]
    turns = (answer, *results, RequestMessage("user", reasons), *prefill)
    return replace(request, messages=(*messages[: len(messages) - len(prefill)], *turns))
