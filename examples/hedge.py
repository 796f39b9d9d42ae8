"""A second request when the first says nothing for a while; the first to speak goes on, live."""

import asyncio

from mellea_rx import ModelOption, start_session
from mellea_rx.operators import hedge, to_async_iterator

OPTIONS = {ModelOption.STREAM: True, ModelOption.MAX_NEW_TOKENS: 40}


async def main() -> None:
    async with start_session(model_options=OPTIONS) as m:
        call = m.cold.instruct("Describe the sea.")
        who = None
        async for item in to_async_iterator(hedge(call, call, after=0.2)):
            if who is None:
                who = item.index
            print(item, end="", flush=True)
        print(f"\n(request {(who or 0) + 1} spoke first)")


asyncio.run(main())
