"""Release policies: when readers get text that is still checked, and the fate of rejected text.

Strategies, sessions and calls name a policy; the pipeline of a call follows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mellea_rx.core.types.validation import require_choice

Release = Literal["accepted", "validated", "live"]
"""The time at which readers get text: "accepted" after its whole attempt is accepted, "validated"
a unit at a time, as soon as no streaming validation rejected it, "live" at once."""

OnReject = Literal["fail", "marker", "continue"]
"""The fate of text that readers have got, when its attempt is rejected: "fail" fails readers that
took some of it, "marker" tells them by a `Retracted` item, "continue" keeps what was accepted, and
the next attempt goes on from there."""


@dataclass(frozen=True, slots=True)
class ReleasePolicy:
    """The release policy of one call.

    Attributes:
        release: The time at which readers get text.
        on_reject: The fate of text that they have got, when it is rejected.
    """

    release: Release = "accepted"
    on_reject: OnReject = "fail"

    @property
    def is_early(self) -> bool:
        """Whether readers may get text before its attempt is accepted."""
        return self.release != "accepted"

    @property
    def goes_on(self) -> bool:
        """Whether an attempt goes on from the accepted part of the one before."""
        return self.on_reject == "continue"


ACCEPTED = ReleasePolicy()


@dataclass(frozen=True, slots=True)
class ReleaseWish:
    """A release policy of which each part may be left open.

    Attributes:
        release: See `ReleasePolicy`; None leaves it open.
        on_reject: See `ReleasePolicy`; None leaves it open.

    Raises:
        InvalidInputError: A policy of this name does not exist.
    """

    release: Release | None = None
    on_reject: OnReject | None = None

    def __post_init__(self) -> None:
        if self.release is not None:
            require_choice("release", self.release, Release)
        if self.on_reject is not None:
            require_choice("on_reject", self.on_reject, OnReject)

    def over(self, base: ReleaseWish) -> ReleaseWish:
        """This wish, with the other one's parts where it leaves one open."""
        if base is OPEN or self is OPEN:  # most calls: no new object to be checked
            return base if self is OPEN else self
        return ReleaseWish(self.release or base.release, self.on_reject or base.on_reject)

    @property
    def policy(self) -> ReleasePolicy:
        """The policy. Who says only how rejected text is handled wants text before it is
        accepted: "validated"."""
        release = self.release or ("accepted" if self.on_reject is None else "validated")
        return ReleasePolicy(release, self.on_reject or "fail")


OPEN = ReleaseWish()


def as_wish(release: Release | None, on_reject: OnReject | None) -> ReleaseWish:
    """The wish of a call's two arguments; no new object for most calls, which give neither.

    Raises:
        InvalidInputError: A policy of this name does not exist.
    """
    if release is None and on_reject is None:
        return OPEN
    return ReleaseWish(release, on_reject)
