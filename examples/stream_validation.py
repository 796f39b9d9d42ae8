"""A requirement that is decided sentence by sentence: a bad one ends the request at once.

With repair="continue" the next attempt goes on from the last sentence that was accepted, and the
reader gets each sentence as soon as it is validated.
"""

import asyncio

from mellea_rx import ModelOption, start_session
from mellea_rx.events import Rejected
from mellea_rx.stdlib.requirements import check
from mellea_rx.stdlib.sampling import RejectionSampling


def is_short(sentence: str) -> tuple[bool, str]:
    words = len(sentence.split())
    return words <= 25, f"{words} words"


async def main() -> None:
    async with start_session() as m:
        thunk = await m.ainstruct(
            "Describe the mountains in a few sentences.",
            requirements=[check("No sentence has more than 25 words.", stream_validate=is_short)],
            strategy=RejectionSampling(loop_budget=6, repair="continue"),
            model_options={ModelOption.STREAM: True, ModelOption.MAX_NEW_TOKENS: 80},
        )
        thunk.events.subscribe(
            lambda event: (
                print(f"  [again: {event.reasons[0]}]") if isinstance(event, Rejected) else None
            )
        )
        async for piece in thunk.astream():
            print(piece.strip(), flush=True)
        print(f"met: {thunk.sampling.success}, attempts: {len(thunk.sampling.attempts)}")


asyncio.run(main())
