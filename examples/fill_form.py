"""A form that fills while the model writes it: each field once, as soon as it is complete."""

import asyncio
from dataclasses import dataclass
from typing import Literal

from mellea_rx import ModelOption, start_session
from mellea_rx.operators import partial_object, to_async_iterator


@dataclass
class Booking:
    guest: str
    nights: int
    room: Literal["single", "double"]
    breakfast: bool


MAIL = "Hello, this is Ada Lovelace. I need a double room for 3 nights, with breakfast, please."


async def main() -> None:
    options = {
        ModelOption.STREAM: True,
        ModelOption.TEMPERATURE: 0,
        ModelOption.MAX_NEW_TOKENS: 120,
        "repeat_penalty": 1.0,  # a form repeats what the mail says
    }
    async with start_session(model_options=options) as m:
        # Without a strategy there is one attempt, and it goes out as it comes.
        thunk = await m.ainstruct(
            "Fill in the booking form from this mail:\n" + MAIL, format=Booking, strategy=None
        )
        async for part in to_async_iterator(thunk.pipe(partial_object(Booking))):
            print(f"{part.key:<10} {part.value!r}", flush=True)
        print(thunk.parsed)


asyncio.run(main())
