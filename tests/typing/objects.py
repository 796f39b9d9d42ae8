"""Typed use of `mify` and of chat contexts: checked by mypy --strict and pyright, never run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_type

from mellea_rx import (
    ChatContext,
    ComputedThunk,
    MelleaSession,
    ScriptedBackend,
    mify,
)
from mellea_rx.backends import RequestMessage
from mellea_rx.stdlib.components import Mified
from mellea_rx.stdlib.context import Compactor, Exchange, Summarize, Summary, TokenThreshold


@mify
class Plain:
    def __init__(self, name: str) -> None:
        self.name = name


@mify(fields_exclude={"cost"}, methods_include=["cheaper"], stringify=lambda offer: "an offer")
@dataclass
class Offer:
    price: float
    cost: float

    def cheaper(self, percent: int) -> Offer:
        return Offer(self.price * (100 - percent) / 100, self.cost)


def classes_stay_what_they_are() -> None:
    assert_type(Plain("a"), Plain)
    assert_type(Plain("a").name, str)
    assert_type(Offer(1.0, 0.5).cheaper(5), Offer)
    kind: type[Offer] = Offer
    assert_type(kind(1.0, cost=0.5), Offer)


def objects_get_a_view(m: MelleaSession) -> None:
    view = mify(Offer(1.0, 0.5), fields_include={"price"})
    assert_type(view, Mified)
    assert_type(m.query(view, "What?"), ComputedThunk[str])
    assert_type(m.transform(view, "Change it."), ComputedThunk[Any])


def latest(history: tuple[Exchange, ...]) -> Sequence[Exchange | Summary]:
    return [Summary(history[:-2]), *history[-2:]]


def contexts() -> None:
    own: Compactor = latest
    ready: list[Compactor] = [TokenThreshold(1500), Summarize(turns=8), own]
    for compactor in ready:
        ctx = ChatContext(window_size=5, compactor=compactor)
        assert_type(ctx.messages, tuple[RequestMessage, ...])
        assert_type([message.content for message in ctx], list[str])
    begun = ChatContext.from_messages(
        [{"role": "user", "content": "a"}, RequestMessage("user", "b")]
    )
    assert_type(begun, ChatContext)
    MelleaSession(ScriptedBackend(), begun)
