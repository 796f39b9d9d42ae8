"""One call through the proxy, by its seed and number, and the check of its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from io import StringIO

from mellea_rx import MelleaRxError, MelleaSession, ModelOption, RetryPolicy
from tests.chaos.faults import fault_of, may_end_in

__all__ = ["WHOLE", "WORDS", "End", "outcome"]

WORDS = [f"wörd {n}, " for n in range(12)]
WHOLE = "".join(WORDS)
_OPTIONS = {
    ModelOption.STREAM: True,
    ModelOption.RETRIES: RetryPolicy(tries=3, initial=0.01, jitter=0),
}
_LIMIT = 60.0
"""Seconds within which every call has to end."""


@dataclass(frozen=True)
class End:
    """The end of one case.

    Attributes:
        kind: The class of its error; None where it ended well.
        text: What it had said.
    """

    kind: type[BaseException] | None
    text: str

    def wrong(self, seed: int, case: int) -> str | None:
        """The fault of a wrong end, with the seed and number that repeat it; None for a right
        one."""
        fault = fault_of(seed, case)
        name = self.kind.__name__ if self.kind else "a success"
        told = f"seed {seed}, case {case}, {fault}: {name} with {self.text!r}"
        if self.kind not in may_end_in(fault):
            return f"the wrong end: {told}"
        right = self.text == WHOLE if self.kind is None else WHOLE.startswith(self.text)
        return None if right else f"the wrong text: {told}"


async def outcome(m: MelleaSession, case: int, silence: float = 3) -> End:
    """Make one call, and read it while it streams.

    Args:
        m: Its session speaks to the proxy.
        case: Its number, which the proxy finds in the prompt.
        silence: Seconds after which a stall is one: more than a busy machine makes.
    """
    options = {**_OPTIONS, ModelOption.STREAM_TIMEOUT: silence}
    said = StringIO()
    try:
        async with asyncio.timeout(_LIMIT):
            thunk = await m.ainstruct(f"Tell case-{case}.", model_options=options)
            async for piece in thunk.astream():
                said.write(piece)
    except MelleaRxError as error:
        text = said.getvalue()
        # The text before the error has to equal the error's text, or the reader lost some.
        return End(type(error), error.text if error.text == text else f"{text}|{error.text}")
    except TimeoutError:
        return End(TimeoutError, said.getvalue())
    return End(None, said.getvalue())
