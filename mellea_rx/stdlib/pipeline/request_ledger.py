"""`RequestLedger`: the requests and tokens of a session. `generate` counts each try in it."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import replace
from types import MappingProxyType

from mellea_rx.core.interfaces.backend import Backend, model_of
from mellea_rx.core.streams.chunk_source import Push
from mellea_rx.core.types.chunk import Chunk, Usage
from mellea_rx.core.types.session_budget import SessionBudget
from mellea_rx.core.types.session_usage import ModelUsage, Price, SessionUsage

ledger_of_call: ContextVar[RequestLedger | None] = ContextVar("mellea_rx_ledger", default=None)
"""The ledger of the session whose call runs; its judges and parallel attempts inherit it."""


def counted(backend: Backend, push: Push) -> Push:
    """Count a request that begins now, and the tokens that its chunks report.

    Args:
        backend: The resolved backend.
        push: Takes the request's chunks.

    Returns:
        `push`, with the count before it; outside of a session's calls `push` itself.
    """
    ledger = ledger_of_call.get()
    return push if ledger is None else ledger.begin(model_of(backend) or backend.name, push)


class RequestLedger:
    """Adds up a session's requests. Written on the engine only, read by any thread.

    Args:
        prices: The price of each model.
        budget: The limit on the session's usage; None for none.
    """

    def __init__(self, prices: Mapping[str, Price], budget: SessionBudget | None = None) -> None:
        self.prices = prices
        self.budget = budget
        self._models: dict[str, ModelUsage] = {}

    def snapshot(self) -> SessionUsage:
        """The usage so far."""
        return SessionUsage(MappingProxyType(self._models))

    def begin(self, model: str, push: Push) -> Push:
        """Count a request to a model; the function returned also counts the chunks' tokens.

        Raises:
            BudgetExceededError: The budget is spent.
            InvalidInputError: The budget limits the cost, and the model has no price.
        """
        if self.budget is not None:
            has_price = model in self.prices
            self.budget.require_left(self.snapshot(), model, has_price=has_price)
        known = self._models.get(model) or ModelUsage(cost=0.0 if model in self.prices else None)
        self._set(model, replace(known, requests=known.requests + 1))
        latest: Usage | None = None

        def push_counted(chunk: Chunk) -> None:
            nonlocal latest
            if chunk.usage is not None:
                # A server may report more than once: each report replaces the one before.
                self._report(model, latest, chunk.usage)
                latest = chunk.usage
            push(chunk)

        return push_counted

    def _report(self, model: str, before: Usage | None, now: Usage) -> None:
        known, earlier = self._models[model], before or Usage()
        tokens = Usage(
            known.tokens.prompt_tokens + now.prompt_tokens - earlier.prompt_tokens,
            known.tokens.completion_tokens + now.completion_tokens - earlier.completion_tokens,
        )
        price = self.prices.get(model)
        cost = None if price is None else price.of(tokens)
        reported = known.reported + (before is None)
        self._set(model, replace(known, reported=reported, tokens=tokens, cost=cost))

    def _set(self, model: str, usage: ModelUsage) -> None:
        # A new dict each time: snapshots in other threads keep the one that they have.
        self._models = {**self._models, model: usage}
