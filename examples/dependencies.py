"""Calls that need each other's texts: data orders them, and what can run side by side does."""

import asyncio

from mellea_rx import ModelOption, start_session


async def main() -> None:
    async with start_session(model_options={ModelOption.MAX_NEW_TOKENS: 40}) as m:
        # Improving needs the draft; both calls are on their way at once.
        draft = await m.ainstruct("Write a sentence about the sea.")
        better = await m.ainstruct(
            "Make this sentence shorter: {{draft}}", user_variables={"draft": draft}
        )
        print("draft computed:", draft.is_computed())
        print("better:", await better.avalue())

        # A diamond: the last call needs two that need the first. Each runs once.
        city = await m.ainstruct("Name a city. Answer with its name only.")
        there = {"city": city}
        food = await m.ainstruct("What do people eat in {{city}}?", user_variables=there)
        sights = await m.ainstruct("What can one see in {{city}}?", user_variables=there)
        plan = await m.ainstruct(
            "Plan a day in {{city}}.",
            user_variables=there,
            grounding_context={"food": food, "sights": sights},
        )
        print("plan:", await plan.avalue())
        for name, thunk in {"city": city, "food": food, "sights": sights}.items():
            print(f"{name} was there after {thunk.duration:.1f} s")


asyncio.run(main())
