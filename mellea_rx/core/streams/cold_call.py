"""`ColdCall`: an Observable that makes its call anew for each subscription."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from reactivex import abc
from reactivex.disposable import CompositeDisposable, Disposable

from mellea_rx.core.streams.observable import Stream
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.chunk import Chunk

T = TypeVar("T")


class ColdCall(Stream[Chunk], Generic[T]):
    """A cold `Observable[Chunk]`, as `session.cold.instruct(…)` returns it.

    Each subscription makes the call anew, and disposing it ends its request on the server, so that
    `ops.retry`, `ops.repeat` and `ops.concat_map` repeat the call::

        cold:            ^--Once--upon|
        subscribed
        once more:              ^-----A--story|

    An error of the arguments (an empty prompt, a wrong option) goes to `on_error`.

    Args:
        start: Makes the call, and returns its running thunk at once.
    """

    def __init__(self, start: Callable[[], ModelOutputThunk[T]]) -> None:
        super().__init__()
        self._start = start

    def start(self) -> ModelOutputThunk[T]:
        """Make the call, once.

        Returns:
            Its running thunk.

        Raises:
            InvalidInputError: An argument of the call cannot be used.
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
