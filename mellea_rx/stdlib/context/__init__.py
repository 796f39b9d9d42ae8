"""Contexts: the part of a conversation that a prompt begins with, and ways to keep it short."""

from mellea_rx.core.interfaces.context import Compactor, Context, Exchange, Summary, Turn
from mellea_rx.stdlib.context.compaction import Summarize, TokenThreshold
from mellea_rx.stdlib.context.contexts import ChatContext, SimpleContext

__all__ = [
    "ChatContext",
    "Compactor",
    "Context",
    "Exchange",
    "SimpleContext",
    "Summarize",
    "Summary",
    "TokenThreshold",
    "Turn",
]
