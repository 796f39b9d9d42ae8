"""`BudgetForcing`: limits how long a model thinks before it answers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mellea_rx.core.interfaces.sampling import Requirements, Sampler
from mellea_rx.core.types.sampling_result import SamplingResult
from mellea_rx.core.types.validation import require_int, require_positive_int
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.sampling.attempts import AttemptLoop
from mellea_rx.stdlib.sampling.budget import Budget
from mellea_rx.stdlib.sampling.forced_thinking import ForcedThinking, ThinkingLimits
from mellea_rx.stdlib.sampling.loop_strategy import LoopStrategy
from mellea_rx.stdlib.sampling.roles import Roles


@dataclass(frozen=True, slots=True, init=False)
class BudgetForcing(LoopStrategy):
    """Limits how long a model thinks, as in "s1: Simple test-time scaling" (arXiv:2501.19393).

    A first request may have `think_tokens` tokens. Where these end within the thinking, a second
    request goes on from it, closed, to the answer; where they end within the answer, it goes on
    with that. Where both fit, there is one request::

        requests:  --<think>-h-m-m (limit)    <think>hmm</think> --4-2--|
        thinking:  ----------h-m-m
        thunk:     ---------------------------------------------(42)|

    With `min_think_tokens`, thinking that is shorter is continued with a word, up to `extensions`
    times. The first requests then stop at the closing tag::

        requests:  --<think>-h-m (stop)    <think>hm Wait -a-h (stop)    … --4-2--|

    `thunk.thinking` has the thinking, with these words, and the text the answer only. It is one
    attempt, with the usage of all its requests, and is validated as any other; `loop_budget` is
    the number of attempts until one meets the requirements. Judges are not limited.

    It needs a backend that goes on from an assistant's message, and a model that thinks: an answer
    without thinking is the value as it is. Thinking is what the server reports as such, and the
    text between the tags at the beginning of an answer. Requests that go on from thinking have the
    tags in their prefill; in them `ModelOption.THINKING` is False where the call says True.

    Args:
        think_tokens: The maximum of tokens of thinking.
        answer_tokens: The maximum of tokens of the request that writes the answer, or its rest;
            by default the call's `ModelOption.MAX_NEW_TOKENS`.
        min_think_tokens: The minimum of tokens of thinking; None for none. Servers count them
            with those of the answer, if there is one: then it is the share by characters. Where a
            server reports no tokens, four characters count as one.
        extensions: The maximum number of times that thinking is continued.
        wait: The word that it is continued with.
        open: The tag that opens thinking, in the model's own template.
        close: The tag that closes it.
        loop_budget: The maximum number of attempts.
        roles: The backend for each role; the call's own by default.
        budget: The limit on the tokens and seconds of a call; None for no limit.
        requirements: Requirements that are added to those of each call.

    Raises:
        InvalidInputError: A number is below 1, `min_think_tokens` is above `think_tokens`, or a
            text is empty; in a call: the backend does not go on from an assistant's message, or
            the call has a `prefix`.
    """

    think_tokens: int
    answer_tokens: int | None
    min_think_tokens: int | None
    extensions: int
    wait: str
    open: str
    close: str
    loop_budget: int
    roles: Roles
    budget: Budget | None
    requirements: Requirements
    always: bool = field(init=False, repr=False, compare=False)

    def __init__(
        self,
        think_tokens: int,
        *,
        answer_tokens: int | None = None,
        min_think_tokens: int | None = None,
        extensions: int = 1,
        wait: str = "Wait",
        open: str = "<think>",
        close: str = "</think>",
        loop_budget: int = 1,
        roles: Roles | None = None,
        budget: Budget | None = None,
        requirements: Requirements = (),
    ) -> None:
        numbers = {"think_tokens": think_tokens, "loop_budget": loop_budget}
        numbers |= {"extensions": extensions}
        for name, number in numbers.items():
            object.__setattr__(self, name, require_positive_int(name, number))
        if answer_tokens is not None:
            require_positive_int("answer_tokens", answer_tokens)
        if min_think_tokens is not None:
            require_int("min_think_tokens", min_think_tokens, 1)
            if min_think_tokens > think_tokens:
                raise InvalidInputError(
                    f"min_think_tokens must be at most think_tokens ({think_tokens}), "
                    f"not {min_think_tokens}"
                )
        object.__setattr__(self, "answer_tokens", answer_tokens)
        object.__setattr__(self, "min_think_tokens", min_think_tokens)
        for name, text in (("wait", wait), ("open", open), ("close", close)):
            if not isinstance(text, str) or not text.strip():
                raise InvalidInputError(f"{name} must be a str that is not empty, not {text!r}")
            object.__setattr__(self, name, text)
        self._set_shared(roles, budget, requirements, always=True)

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make attempts, each with limited thinking, until one succeeds."""
        if sampler.request.prefill:
            raise InvalidInputError(
                "BudgetForcing cannot be used with prefix=: a model that goes on from the "
                "beginning of its answer does not think"
            )
        loop = AttemptLoop(sampler, await self._forced_roles(sampler), self.budget)
        await loop.one_by_one(lambda _: loop.attempt(), self.loop_budget)
        return loop.outcome()

    async def _forced_roles(self, sampler: Sampler) -> Roles:
        """The backends of all roles; of those that answer, with limited thinking."""
        limits = ThinkingLimits(
            self.think_tokens,
            self.answer_tokens,
            self.min_think_tokens,
            self.extensions,
            self.wait,
            self.open,
            self.close,
        )
        own = await sampler.backend()
        roles = self.roles
        forced_own = ForcedThinking(own, limits, sampler.request.options)
        return replace(
            roles,
            draft=forced_own if roles.draft is None else ForcedThinking(roles.draft, limits),
            repair=forced_own if roles.repair is None else ForcedThinking(roles.repair, limits),
            judge=own if roles.judge is None else roles.judge,
        )
