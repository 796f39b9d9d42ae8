"""A backend of one's own: one method that returns a cold Observable of chunks."""

from collections.abc import Mapping
from typing import Any

import reactivex as rx
from reactivex import Observable

from mellea_rx import Chunk, start_session
from mellea_rx.backends import Options, Request, register_backend


class EchoBackend:
    """Says the last message again, word by word."""

    name = "echo"

    def __init__(
        self, model_id: str = "echo-1", *, model_options: Mapping[Any, Any] | None = None
    ) -> None:
        self.model = model_id
        self.model_options = Options(model_options)

    def check(self, options: Options) -> None:
        """Every option is fine."""

    def stream(self, request: Request) -> Observable[Chunk]:
        """Each word as a chunk, then the reason of the end."""
        words = request.messages[-1].content.split()
        chunks = [Chunk(f"{word} ") for word in words]
        return rx.from_iterable([*chunks, Chunk(finish_reason="stop", model=self.model)])

    def close(self) -> None:
        """Nothing to let go of."""


register_backend("echo", EchoBackend)

with start_session("echo") as m:
    thunk = m.instruct("Is there anybody?")
    print(thunk.value)
    print(thunk.model, thunk.finish_reason)
