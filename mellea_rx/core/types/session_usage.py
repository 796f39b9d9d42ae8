"""`SessionUsage`: the requests and tokens of a session, by model, and their cost by `Price`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mellea_rx.core.types.chunk import Usage
from mellea_rx.core.types.validation import kind_of
from mellea_rx.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a model's tokens, in any one currency, per million tokens.

    Example:
        >>> Price(prompt=2.0, completion=8.0).of(Usage(500_000, 250_000))
        3.0

    Attributes:
        prompt: The price of a million tokens of prompts.
        completion: The price of a million generated tokens.

    Raises:
        InvalidInputError: A price is not a finite number of 0 or more.
    """

    prompt: float
    completion: float

    def __post_init__(self) -> None:
        for name in ("prompt", "completion"):
            given: Any = getattr(self, name)
            is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
            if not is_number or not math.isfinite(given) or given < 0:
                raise InvalidInputError(
                    f"{name} of a Price must be a finite number of 0 or more, not {given!r:.100}"
                )

    def of(self, usage: Usage) -> float:
        """The cost of some tokens."""
        total = self.prompt * usage.prompt_tokens + self.completion * usage.completion_tokens
        return total / 1_000_000


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """The requests to one model, and their tokens.

    Attributes:
        requests: Requests that began, with failed ones and retries.
        reported: Those of which the server reported tokens. The others count no tokens.
        tokens: The reported tokens.
        cost: The cost of the reported tokens; None where the model has no price.
    """

    requests: int = 0
    reported: int = 0
    tokens: Usage = field(default_factory=Usage)
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class SessionUsage:
    """The requests and tokens of a session up to one moment.

    Attributes:
        models: The usage of each model, by the name that the backend asks for it.
    """

    models: Mapping[str, ModelUsage] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def requests(self) -> int:
        """Requests that began: of attempts, of judges, and retries."""
        return sum(each.requests for each in self.models.values())

    @property
    def tokens(self) -> Usage:
        """The tokens of all models, as far as servers reported them."""
        counted = [each.tokens for each in self.models.values()]
        return Usage(
            sum(each.prompt_tokens for each in counted),
            sum(each.completion_tokens for each in counted),
        )

    @property
    def cost(self) -> float | None:
        """The cost of the reported tokens; None where a model that was asked has no price."""
        costs = [each.cost for each in self.models.values()]
        known = [each for each in costs if each is not None]
        return sum(known) if len(known) == len(costs) else None

    @property
    def unpriced(self) -> tuple[str, ...]:
        """The models that were asked and have no price."""
        return tuple(name for name, each in self.models.items() if each.cost is None)


def checked_prices(prices: Mapping[str, Price] | None) -> Mapping[str, Price]:
    """A copy of a price table; an empty one for None.

    Raises:
        InvalidInputError: It is not a mapping of model names to prices.
    """
    if prices is None:
        return {}
    if not isinstance(prices, Mapping):
        raise InvalidInputError(
            f'prices must map model names to prices, {{"model": Price(...)}}, not {kind_of(prices)}'
        )
    for name, price in prices.items():
        if not isinstance(name, str) or not isinstance(price, Price):
            raise InvalidInputError(
                f"prices[{name!r:.100}] must be a Price under a model's name, not {kind_of(price)}"
            )
    return dict(prices)
