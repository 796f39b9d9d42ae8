import asyncio
import mellea_rx
from mellea_rx.stdlib.context import ChatContext

async def sequential_chat():
    m = mellea_rx.start_session(ctx=ChatContext())
    r1 = await m.achat("Hello.")
    r2 = await m.achat("Tell me more.")  # safe — r1 is fully resolved
    print(str(r2))
    # Output will vary — LLM responses depend on model and temperature.

asyncio.run(sequential_chat())
