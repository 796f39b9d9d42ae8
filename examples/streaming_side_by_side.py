"""Three generations at once, merged into one stream of lines; each line says whose it is."""

import asyncio

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

from mellea_rx import Chunk, ModelOption, ModelOutputThunk, start_session

OPTIONS = {ModelOption.STREAM: True, ModelOption.MAX_NEW_TOKENS: 40}


def lines(name: str, thunk: ModelOutputThunk[str]) -> Observable[str]:
    """Whole lines out of chunks of any size."""

    def add(state: tuple[list[str], str], chunk: Chunk) -> tuple[list[str], str]:
        *whole, rest = (state[1] + str(chunk)).split("\n")
        return whole, rest

    return thunk.pipe(
        ops.concat(rx.of(Chunk("\n"))),  # ends the last line
        ops.scan(add, ([], "")),
        ops.flat_map(lambda state: rx.from_iterable(state[0])),
        ops.filter(bool),
        ops.map(lambda line: f"[{name}] {line}"),
    )


async def main() -> None:
    async with start_session(model_options=OPTIONS) as m:
        thunks = {
            topic: await m.ainstruct(f"Write a poem about {topic}.")
            for topic in ("mountains", "rivers", "forests")
        }
        merged = rx.merge(*(lines(topic, thunk) for topic, thunk in thunks.items()))
        await merged.pipe(ops.do_action(print))
        for topic, thunk in thunks.items():
            print(f"{topic}: from {thunk.ttft:.2f} s to {thunk.duration:.2f} s, {thunk.usage}")


asyncio.run(main())
