"""Release policies: when readers get text that is still checked, and the fate of rejected text.

Strategies, sessions and calls name a policy; the pipeline of a call follows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from mellea_rx.errors import InvalidInputError

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


def _require_one_of(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        listed = ", ".join(map(repr, known))
        raise InvalidInputError(f"{name} is one of {listed}, not {value!r}")


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
        _require_one_of("release", self.release, get_args(Release))
        _require_one_of("on_reject", self.on_reject, get_args(OnReject))

    def over(self, base: ReleaseWish) -> ReleaseWish:
        """This wish, with the other one's parts where it leaves one open."""
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
