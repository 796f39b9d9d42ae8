"""An answer that has to meet requirements: tried again until it does, or the budget is spent."""

import asyncio

from mellea_rx import ModelOption, start_session
from mellea_rx.stdlib.requirements import check, req, simple_validate
from mellea_rx.stdlib.sampling import RejectionSampling


async def main() -> None:
    def at_most_30(text: str) -> tuple[bool, str]:
        words = len(text.split())
        return words <= 30, f"{words} words"

    short = req("Use at most 30 words.", simple_validate(at_most_30))
    no_list = check(
        "No list.", simple_validate(lambda text: "\n- " not in text, reason="it has a list")
    )
    async with start_session(model_options={ModelOption.MAX_NEW_TOKENS: 40}) as m:
        thunk = await m.ainstruct(
            "Say what a river is.",
            requirements=[short, no_list],
            strategy=RejectionSampling(loop_budget=3),
        )
        print("running" if not thunk.is_computed() else "computed")  # the call returned at once
        print(await thunk.avalue())

        result = thunk.sampling
        print(f"met: {result.success}, attempts: {len(result.attempts)}")
        for number, attempt in enumerate(result.attempts, 1):
            for requirement, found in attempt.validations:
                print(f"{number}. {requirement.description} {found.result} ({found.reason})")


asyncio.run(main())
