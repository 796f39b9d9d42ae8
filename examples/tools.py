"""A model that calls a function: also one whose template knows no tools, like the embedded one."""

import asyncio

from mellea_rx import ModelOption, acall_tools, start_session, tool


@tool
def weather(city: str) -> str:
    """The weather in a city now.

    Args:
        city: The city's name.
    """
    return f"14 degrees and rain in {city}"


async def main() -> None:
    options = {ModelOption.TOOLS: [weather], ModelOption.TEMPERATURE: 0}
    async with start_session(model_options=options) as m:
        thunk = await m.achat("What is the weather in Delft?", tool_calls=True)
        for call in thunk.tool_calls:
            print(f"the model calls {call.name}({call.arguments})")
        for message in await acall_tools(thunk):
            print(f"{message.name} says: {message.content}")


asyncio.run(main())
