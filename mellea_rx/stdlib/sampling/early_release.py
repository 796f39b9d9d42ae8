"""`EarlyRelease`: the release policy of strategies that make one attempt after the other."""

from __future__ import annotations

from mellea_rx.core.types.release import OnReject, Release, ReleasePolicy, ReleaseWish, as_wish
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.sampling.loop_strategy import LoopStrategy


class EarlyRelease(LoopStrategy):
    """A strategy that can release text of an attempt before it is accepted.

    Attributes:
        release: The time at which readers get text; None where it asks for none.
        on_reject: The fate of text that they have got, when it is rejected; None likewise.
    """

    __slots__ = ()

    release: Release | None
    on_reject: OnReject | None

    def _set_release(
        self,
        release: Release | None,
        on_reject: OnReject | None,
        width_name: str = "max_concurrent",
    ) -> None:
        """Set the policy, for a constructor.

        Args:
            release: See the class.
            on_reject: See the class.
            width_name: The name of the parameter for the number of attempts at once.

        Raises:
            InvalidInputError: There is no such policy, or several attempts run at once.
        """
        policy = ReleaseWish(release, on_reject).policy
        if policy.is_early and self._width > 1:
            raise InvalidInputError(
                f"release={policy.release!r} shows one attempt at a time: it needs {width_name}=1"
            )
        object.__setattr__(self, "release", release)
        object.__setattr__(self, "on_reject", on_reject)

    @property
    def wish(self) -> ReleaseWish:
        """The release policy that it asks for."""
        return as_wish(self.release, self.on_reject)

    def policy_refusal(self, policy: ReleasePolicy) -> str:
        """Several attempts at once are whole when one is chosen."""
        return "" if self._width == 1 else "it makes several attempts at once"
