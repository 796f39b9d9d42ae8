"""What takes items from a hub, and what a hub of items is."""

from __future__ import annotations

import threading
from typing import Protocol, TypeVar

from mellea_rx.errors import MelleaRxError

__all__ = ["Backlog", "Consumer", "Hub"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


class Consumer(Protocol[T_contra]):
    """Something that takes items. `add` and `end` are called with the hub's lock held."""

    @property
    def is_idle(self) -> bool:
        """Whether nobody wants what it is given now: an idle consumer keeps nothing running."""
        ...

    def add(self, item: T_contra, /) -> bool:
        """One more item. Returns whether it has to be woken for it."""
        ...

    def end(self) -> bool:
        """No more items. Returns whether it has to be woken for it."""
        ...

    def restart(self, error: MelleaRxError) -> bool:
        """What it was given is void. Forgets it, where none of it was taken; else fails.

        Returns:
            Whether it failed, and so has to be woken.
        """
        ...

    def wake(self) -> None:
        """Have it look at what came. Called without the lock."""
        ...


class Hub(Protocol[T_co]):
    """One writer's items, handed to any number of consumers, with one end."""

    lock: threading.Lock

    @property
    def error(self) -> Exception | None:
        """Why it failed; None while it runs and when it is complete."""
        ...

    def attach(self, consumer: Consumer[T_co]) -> None:
        """Hand over what came so far, then what comes."""
        ...

    def detach(self, consumer: Consumer[T_co]) -> None:
        """Forget a consumer. Idempotent."""
        ...

    def taken(self) -> None:
        """A consumer has got the end."""
        ...


class Backlog(Protocol[T]):
    """What came for a consumer and was not delivered yet."""

    def add(self, item: T, /) -> None:
        """One more item."""
        ...

    def take(self) -> T:
        """The next one to deliver; what came may be joined into one."""
        ...

    def __bool__(self) -> bool: ...
