"""A table in, a table out: a call for each row, four at a time, and no row read before its turn."""

import asyncio
import csv
import io
import sys

from mellea_rx import ModelOption, start_session
from mellea_rx.operators import map_generate, to_async_iterator

CITIES = """\
city,country
Oslo,Norway
Rome,Italy
Bonn,Germany
Porto,Portugal
Ghent,Belgium
Turku,Finland
"""
OPTIONS = {ModelOption.MAX_NEW_TOKENS: 20, ModelOption.SEED: 7}


async def main() -> None:
    rows = csv.DictReader(io.StringIO(CITIES))  # as well a file of any size
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["city", "slogan", "tokens", "seconds"])
    async with start_session(model_options=OPTIONS) as m:
        slogans = map_generate(m, "A slogan for {{ city }} in {{ country }}.", max_concurrent=4)
        async for item in to_async_iterator(slogans(rows)):
            slogan = f"failed: {item.error}" if item.error else " ".join(str(item).split())
            usage = item.thunk.usage
            tokens = usage.completion_tokens if usage else 0
            table.writerow([item.input["city"], slogan, tokens, f"{item.thunk.duration:.2f}"])


asyncio.run(main())
