"""Events of a call, as frozen values: `thunk.events` emits them, and they can be written down."""

from mellea_rx.core.types.events import (
    AttemptFailed,
    AttemptStarted,
    Completed,
    Event,
    Failed,
    Rejected,
    Retrying,
    TextAdded,
    ThinkingAdded,
    ToolCalled,
    ToolReturned,
    UsageReported,
    Validated,
    dump_events,
    load_events,
)

__all__ = [
    "AttemptFailed",
    "AttemptStarted",
    "Completed",
    "Event",
    "Failed",
    "Rejected",
    "Retrying",
    "TextAdded",
    "ThinkingAdded",
    "ToolCalled",
    "ToolReturned",
    "UsageReported",
    "Validated",
    "dump_events",
    "load_events",
]
