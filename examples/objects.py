"""A question about an object, and a change to it by one of its methods."""

import asyncio
from dataclasses import dataclass, replace
from typing import Literal

from mellea_rx import ModelOption, mify, start_session


@mify(fields_exclude={"cost"}, methods_include={"discounted"})
@dataclass(frozen=True)
class Offer:
    product: str
    price: float
    cost: float

    def discounted(self, percent: Literal[10, 25, 50]) -> "Offer":
        """Lower the price.

        Args:
            percent: By how many percent.
        """
        return replace(self, price=self.price * (100 - percent) / 100)


# A penalty for what was said already would keep it from saying a number again.
OPTIONS = {ModelOption.TEMPERATURE: 0, ModelOption.MAX_NEW_TOKENS: 60, "repeat_penalty": 1.0}


async def main() -> None:
    offer = Offer("green tea", price=4.0, cost=1.5)
    async with start_session(model_options=OPTIONS) as m:
        answer = await m.aquery(offer, "What is the price?")  # returns at once
        print(f"query: {await answer.avalue()}")

        # The model may answer in words or call a method; a small one is better told to call it.
        cheaper = await m.atransform(
            offer,
            "Lower the price by 25 percent.",
            model_options={ModelOption.TOOL_CHOICE: "required"},
        )
        (call,) = cheaper.tool_calls
        print(f"called: {call.name} with {call.arguments}")
        print(f"transform: {cheaper.parsed}")
        print(f"as a model reads it: {cheaper.value}")


asyncio.run(main())
