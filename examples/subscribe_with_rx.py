"""One thunk, three subscribers: a thunk is an Observable, and any Rx operator takes it."""

import asyncio

from reactivex import operators as ops

from mellea_rx import ModelOption, start_session


async def main() -> None:
    async with start_session() as m:
        thunk = await m.ainstruct(
            "Describe the sea.",
            model_options={ModelOption.STREAM: True, ModelOption.MAX_NEW_TOKENS: 40},
        )

        # The text, five chunks at a time.
        thunk.pipe(
            ops.map(str),
            ops.buffer_with_count(5),
            ops.map("".join),
        ).subscribe(lambda text: print(f"text   {text!r}"))

        # How long it is by now.
        lengths = thunk.pipe(
            ops.map(lambda chunk: len(str(chunk))),
            ops.scan(lambda total, more: total + more, 0),
            ops.sample(0.1),
        )
        lengths.subscribe(lambda length: print(f"length {length}"))

        # Its end.
        thunk.subscribe(
            on_error=lambda error: print(f"failed {error}"),
            on_completed=lambda: print("end    completed"),
        )

        await thunk
        await asyncio.sleep(0.2)  # let the samples come


asyncio.run(main())
