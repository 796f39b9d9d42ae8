"""The reader that `ModelOutputThunk.astream()` returns: pieces of text, pulled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from types import TracebackType
from typing import Any, Self

from mellea_rx.core.inbox import Inbox

__all__ = ["ThunkStream"]


class ThunkStream(AsyncIterator[str]):
    """The reader that `astream()` gives: an async iterator, an awaitable, a context manager.

    As a context manager it ends the generation when it is left early, unless another subscriber
    reads it or a caller waits for it.

    Args:
        inbox: The buffer of the thunk's single reader.
        keep: Kept alive as long as this reader is.
    """

    __slots__ = ("_inbox", "_keep")

    def __init__(self, inbox: Inbox, keep: object) -> None:
        self._inbox = inbox
        self._keep = keep

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        piece = await self._inbox
        if piece is None:
            raise StopAsyncIteration
        return piece

    def __await__(self) -> Generator[Any, None, str]:
        """The next piece; "" at the end."""
        piece = yield from self._inbox.__await__()
        return piece or ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop reading. Ends the generation when it has no other reader."""
        self._inbox.leave()
