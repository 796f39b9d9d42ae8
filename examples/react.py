"""A goal, and tools to reach it: the model calls them step by step, and then answers.

The embedded model is very small. It calls the tool; what it makes of the result is not always
sensible, and it may call again and again: that ends with the budget.
"""

import asyncio

from mellea_rx import LoopBudgetError, ModelOption, areact, start_session, tool
from mellea_rx.events import ToolCalled, ToolReturned


@tool
def weather(city: str) -> str:
    """The weather in a city now.

    Args:
        city: The city's name.
    """
    return f"14 degrees and rain in {city}"


def show(event: object) -> None:
    if isinstance(event, ToolCalled):
        print(f"step {event.attempt}: calls {event.call.name}({event.call.arguments})")
    elif isinstance(event, ToolReturned):
        print(f"step {event.attempt}: {event.name} says: {event.content}")


async def main() -> None:
    options = {ModelOption.TEMPERATURE: 0, ModelOption.MAX_NEW_TOKENS: 80}
    async with start_session(model_options=options) as m:
        thunk = await areact(m, "What is the weather in Delft?", [weather], loop_budget=3)
        told = asyncio.Event()
        thunk.events.subscribe(show, on_completed=told.set)
        try:
            print(f"answer: {await thunk.avalue()}")
        except LoopBudgetError as error:
            print(f"no answer: {len(error.steps)} steps were not enough")
        await told.wait()


asyncio.run(main())
