"""A conversation: every prompt begins with the turns before it."""

import asyncio

from mellea_rx import ChatContext, ModelOption, start_session


async def main() -> None:
    options = {ModelOption.MAX_NEW_TOKENS: 40, ModelOption.SYSTEM_PROMPT: "You answer in a line."}
    async with start_session(ctx=ChatContext(), model_options=options) as m:
        for said in ("My name is Ada.", "What is my name?"):
            answer = await m.achat(said)
            print(f"you   {said}\nmodel {answer.value}")
        print(f"{len(m.ctx.history())} turns")


asyncio.run(main())
