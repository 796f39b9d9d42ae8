"""A call that is made anew for each subscription."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from reactivex import abc
from reactivex.disposable import CompositeDisposable, Disposable

from mellea_rx.core.chunk import Chunk
from mellea_rx.core.stream import Stream
from mellea_rx.core.thunk import ModelOutputThunk

__all__ = ["ColdCall"]

T = TypeVar("T")


class ColdCall(Stream[Chunk], Generic[T]):
    """A call that waits to be made: a cold `Observable[Chunk]`, as `session.cold.instruct(…)`.

    Each subscription makes the call anew, and disposing it ends its request on the server. So
    `ops.retry`, `ops.repeat`, `ops.concat_map` and the like mean what they say::

        cold:            ^--Once--upon|
        subscribed
        once more:              ^-----A--story|

    What the call cannot be made with (an empty prompt, a wrong option) goes to `on_error`.

    Args:
        start: Makes the call; returns its running thunk at once.
    """

    def __init__(self, start: Callable[[], ModelOutputThunk[T]]) -> None:
        super().__init__()
        self._start = start

    def start(self) -> ModelOutputThunk[T]:
        """Make the call, once.

        Returns:
            Its running thunk.

        Raises:
            InvalidInputError: The call cannot be made so.
            SessionClosedError: Its session is closed.
        """
        return self._start()

    def _subscribe_core(
        self, observer: abc.ObserverBase[Chunk], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        thunk: ModelOutputThunk[Any] = self.start()
        return CompositeDisposable(
            thunk.subscribe(observer, scheduler=scheduler),
            Disposable(partial(thunk.cancel, "its subscription was disposed")),
        )
