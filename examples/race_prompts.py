"""Two ways to ask, at once: the first answer that is short enough wins, the other is cancelled."""

import asyncio

from mellea_rx import ModelOption, NoAnswerError, start_session
from mellea_rx.operators import race

QUESTION = "What is a river?"
STYLES = (
    "You are a poet. Answer in one sentence.",
    "You are a scientist. Answer in one sentence.",
)
OPTIONS = {ModelOption.STREAM: True, ModelOption.MAX_NEW_TOKENS: 60}


def short(text: str) -> bool:
    return 0 < len(text.split()) <= 60


async def main() -> None:
    async with start_session(model_options=OPTIONS) as m:
        thunks = [
            await m.ainstruct(QUESTION, model_options={ModelOption.SYSTEM_PROMPT: style})
            for style in STYLES
        ]
        try:
            winner = await race(*thunks, accept=short)
        except NoAnswerError as error:
            print(error)
            return
        print(f"{STYLES[winner.index]}\n  {winner.value.strip()}")
        for style, thunk in zip(STYLES, thunks, strict=True):
            print(f"{style} {'cancelled' if thunk.cancelled else 'complete'}")


asyncio.run(main())
