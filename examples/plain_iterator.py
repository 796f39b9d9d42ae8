"""Streaming in code without an event loop: a thunk's reader as a plain iterator."""

import asyncio

from mellea_rx import ModelOption, start_session

OPTIONS = {ModelOption.STREAM: True, ModelOption.MAX_NEW_TOKENS: 40}

with start_session(model_options=OPTIONS) as m:
    # The a-verb returns the running thunk; it outlives the loop that made it.
    thunk = asyncio.run(m.ainstruct("Write a short story about a robot."))
    for piece in thunk.stream():
        print(piece, end="", flush=True)
    print(f"\n({thunk.finish_reason}, first text after {thunk.ttft:.2f} s)")
