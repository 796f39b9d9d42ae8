"""`SessionBudget`: the tokens, cost and requests that all calls of a session may spend together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mellea_rx.core.types.session_usage import SessionUsage
from mellea_rx.core.types.validation import require_positive_int
from mellea_rx.errors import BudgetExceededError, InvalidInputError


@dataclass(frozen=True, slots=True)
class SessionBudget:
    """A limit on what all calls of a session spend together.

    Once it is spent, each further request fails with `BudgetExceededError` before it is sent: that
    of a new call, of a retry, of an attempt or of a judge. Requests that run are not ended. Tokens
    and cost are known when a request has ended, so requests that run side by side may exceed them;
    the number of requests is exact. (`Budget` limits a sampling strategy within one call.)

    Example:
        >>> SessionBudget(tokens=100_000, requests=50)
        SessionBudget(tokens=100000, cost=None, requests=50)

    Attributes:
        tokens: Tokens of prompts and answers, as far as servers report them.
        cost: Their cost, by the session's `prices`; each model that is asked needs a price.
        requests: Requests that begin, with failed ones.

    Raises:
        InvalidInputError: No limit was given; `tokens` or `requests` is not an int of 1 or more; or
            `cost` is not a finite number above 0.
    """

    tokens: int | None = None
    cost: float | None = None
    requests: int | None = None

    def __post_init__(self) -> None:
        if self.tokens is None and self.cost is None and self.requests is None:
            raise InvalidInputError(
                "a SessionBudget needs a limit: give tokens=, cost= or requests="
            )
        for name in ("tokens", "requests"):
            given = getattr(self, name)
            if given is not None:
                require_positive_int(name, given)
        cost: Any = self.cost
        if cost is not None:
            is_number = isinstance(cost, (int, float)) and not isinstance(cost, bool)
            if not is_number or not math.isfinite(cost) or cost <= 0:
                raise InvalidInputError(f"cost must be a finite number above 0, not {cost!r:.100}")

    def require_left(self, used: SessionUsage, model: str, *, has_price: bool) -> None:
        """Refuse a request once the budget is spent.

        Args:
            used: The session's usage so far.
            model: The model that is to be asked.
            has_price: Whether the model has a price.

        Raises:
            BudgetExceededError: A limit is reached.
            InvalidInputError: The budget limits the cost, and the model has no price.
        """
        if self.cost is not None and not has_price:
            raise InvalidInputError(
                f"the session's budget limits the cost, and model {model!r} has no price: give "
                f"prices={{{model!r}: Price(...)}}"
            )
        spent = {"tokens": used.tokens.total_tokens, "cost": used.cost, "requests": used.requests}
        for name, amount in spent.items():
            limit = getattr(self, name)
            if limit is not None and amount is not None and amount >= limit:
                raise BudgetExceededError(
                    f"the session's budget is spent: {name} {amount:g} of {limit:g}, so model "
                    f"{model!r} is not asked; give SessionBudget({name}=...) more, or start "
                    "another session"
                )
