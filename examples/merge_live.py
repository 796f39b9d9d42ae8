"""Three poems at once, side by side in the terminal while they come."""

import asyncio
import shutil
import sys
import textwrap
from itertools import zip_longest

from mellea_rx import ModelOption, start_session
from mellea_rx.operators import combine_latest, to_async_iterator

TOPICS = ("mountains", "rivers", "forests")
OPTIONS = {ModelOption.STREAM: True, ModelOption.MAX_NEW_TOKENS: 40, ModelOption.SEED: 7}


def columns(texts: tuple[str, ...], width: int) -> list[str]:
    """The texts in columns, line by line."""
    wrapped = [
        [line for part in text.splitlines() for line in textwrap.wrap(part, width)]
        for text in texts
    ]
    rows = zip_longest(*wrapped, fillvalue="")
    return ["  ".join(cell.ljust(width) for cell in row).rstrip() for row in rows]


async def main() -> None:
    live = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns // len(TOPICS) - 2
    drawn = 0
    shown: list[str] = []
    async with start_session(model_options=OPTIONS) as m:
        poems = combine_latest(*(m.ainstruct(f"Write a poem about {each}.") for each in TOPICS))
        async for texts in to_async_iterator(poems, overflow="drop_oldest", maxsize=1):
            shown = columns(texts, width)
            drawn += 1
            if live:
                print("\x1b[H\x1b[2J" + "\n".join(shown), flush=True)
    if not live:
        print("\n".join(shown))
    print(f"{len(TOPICS)} poems, drawn {drawn} times")


asyncio.run(main())
