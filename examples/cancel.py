"""Ending a generation early: its request ends too, and the text so far stays readable."""

import asyncio

from mellea_rx import GenerationCancelledError, ModelOption, start_session


async def main() -> None:
    async with start_session(model_options={ModelOption.STREAM: True}) as m:
        # Leaving the block ends the generation.
        async with await m.ainstruct("Count to a thousand.") as thunk:
            async for piece in thunk.astream():
                print(piece, end="", flush=True)
                if len(thunk.text) > 10:
                    break
        print(f"\ncancelled: {thunk.cancelled}, {len(thunk.text)} characters came")

        # So does `cancel`; whoever reads on gets the error, with the text.
        thunk = await m.ainstruct("Write a long story.")
        await thunk.astream()
        thunk.cancel("the user left the page")
        try:
            await thunk.avalue()
        except GenerationCancelledError as error:
            print(f"{error}; it had said {error.text!r}")


asyncio.run(main())
