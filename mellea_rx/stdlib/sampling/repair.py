"""`RepairTemplate` and `MultiTurn`: rejection sampling that gives the model the reasons."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace

from mellea_rx.core.interfaces.component import Template
from mellea_rx.core.interfaces.sampling import BaseStrategy, Requirements, Sampler
from mellea_rx.core.types.request import Request, RequestMessage, has_prefill
from mellea_rx.core.types.sampling_result import Attempt, SamplingResult
from mellea_rx.core.types.validation import require_positive_int
from mellea_rx.stdlib.requirements import as_requirements
from mellea_rx.stdlib.sampling.attempts import outcome, until_accepted

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


@dataclass(frozen=True, slots=True)
class RepairTemplate(BaseStrategy):
    """Rejection sampling whose prompt has the reasons why the attempt before was rejected.

    Attributes:
        loop_budget: The maximum number of attempts.
        requirements: Requirements that are added to those of each call.

    Raises:
        InvalidInputError: The budget is below 1.
    """

    loop_budget: int = 2
    _: KW_ONLY
    requirements: Requirements = ()

    def __post_init__(self) -> None:
        require_positive_int("loop_budget", self.loop_budget)
        object.__setattr__(self, "requirements", as_requirements(self.requirements))

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make attempts until one succeeds, each with the reasons of the one before."""

        async def following(last: Attempt | None) -> Attempt:
            request = None if last is None else _repaired(sampler, last)
            return await sampler.attempt(request)

        return outcome(await until_accepted(following, self.loop_budget))


@dataclass(frozen=True, slots=True)
class MultiTurn(BaseStrategy):
    """Rejection sampling as a conversation: the model sees its answers, and the reasons after each.

    Attributes:
        loop_budget: The maximum number of attempts.
        requirements: Requirements that are added to those of each call.

    Raises:
        InvalidInputError: The budget is below 1.
    """

    loop_budget: int = 2
    _: KW_ONLY
    requirements: Requirements = ()

    def __post_init__(self) -> None:
        require_positive_int("loop_budget", self.loop_budget)
        object.__setattr__(self, "requirements", as_requirements(self.requirements))

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make attempts until one succeeds, each as a further turn."""
        request = sampler.request

        async def following(last: Attempt | None) -> Attempt:
            nonlocal request
            if last is not None:
                request = _with_turn(sampler, request, last)
            return await sampler.attempt(request)

        return outcome(await until_accepted(following, self.loop_budget))


def _repaired(sampler: Sampler, failed: Attempt) -> Request:
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
