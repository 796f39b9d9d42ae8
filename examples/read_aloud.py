"""Sentences read out while the rest is still being written."""

import asyncio

from mellea_rx import ModelOption, start_session
from mellea_rx.operators import by_sentence, map_async, to_async_iterator

WORDS_A_SECOND = 40  # a hurried reader


async def read_out(sentence: str) -> str:
    """Takes as long as reading it would: here a program would speak."""
    await asyncio.sleep(len(sentence.split()) / WORDS_A_SECOND)
    return " ".join(sentence.split())


async def main() -> None:
    options = {ModelOption.STREAM: True, ModelOption.MAX_NEW_TOKENS: 90, ModelOption.SEED: 2}
    async with start_session(model_options=options) as m:
        story = await m.ainstruct("Tell a short story about a lighthouse.")
        # One at a time, in order; the model writes on meanwhile.
        spoken = story.pipe(by_sentence(), map_async(read_out, max_concurrent=1))
        count = 0
        async for sentence in to_async_iterator(spoken):
            count += 1
            print(f"{count}. {sentence}   [{'all written' if story.finish_reason else 'writing'}]")


asyncio.run(main())
