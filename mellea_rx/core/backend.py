"""What a backend is: one method."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from reactivex import Observable

from mellea_rx.core.chunk import Chunk
from mellea_rx.core.options import Options
from mellea_rx.core.request import Request

__all__ = ["Backend"]


@runtime_checkable
class Backend(Protocol):
    """Something that generates text.

    Attributes:
        name: What messages and logs call it ("ollama", "openai", …).
        model_options: Options that hold for every request which does not set them itself.
    """

    @property
    def name(self) -> str: ...

    @property
    def model_options(self) -> Options: ...

    def check(self, options: Options) -> None:
        """Refuse what this backend cannot do, before anything starts.

        Raises:
            OptionError: An option that it does not have; the message names it.
        """
        ...

    def stream(self, request: Request) -> Observable[Chunk]:
        """A cold observable: subscribing starts the request, disposing ends it on the server.

        It emits on any one thread at a time, and fails with a `MelleaRxError`.
        """
        ...

    def close(self) -> None:
        """Let go of connections and memory. Idempotent; a later request takes them up again."""
        ...
