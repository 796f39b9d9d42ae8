"""Typed objects out of text: `format=` asks for JSON of a type, and checks that it is."""

import asyncio
from dataclasses import dataclass

from mellea_rx import ModelOption, start_session

OPTIONS = {ModelOption.TEMPERATURE: 0, ModelOption.MAX_NEW_TOKENS: 120}


@dataclass
class Person:
    name: str
    age: int
    city: str


async def main() -> None:
    texts = (
        "Ada is 36 years old and lives in London.",
        "Bruno is 52 years old and lives in Rome.",
    )
    async with start_session(model_options=OPTIONS) as m:
        # Both calls run at once.
        thunks = [
            await m.ainstruct(f"Extract the person from this text: {text}", format=Person)
            for text in texts
        ]
        for thunk in thunks:
            await thunk
            person = thunk.parsed  # a Person, also for a type checker
            assert person is not None
            print(f"{person.name} is {person.age} and lives in {person.city}")
        print(f"as JSON: {' '.join(thunks[0].text.split())}")


asyncio.run(main())
