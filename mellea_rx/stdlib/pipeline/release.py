"""The part of an answer that a call's readers have got before it was accepted.

An attempt adds to it, as its release policy says; the next attempt, and the value in the end,
replace the part of it that was rejected::

    attempt 1:   -a-b-x
    attempt 2:          -a-c-|
    readers:     -a-b-(retract b)-c-|
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from mellea_rx.core.interfaces.sampling import SamplingStrategy, policy_refusal, wish_of
from mellea_rx.core.streams.generation import Generation
from mellea_rx.core.types.chunk import Chunk, Retracted
from mellea_rx.core.types.release import ACCEPTED, ReleasePolicy, ReleaseWish
from mellea_rx.core.types.requirement import Requirement
from mellea_rx.errors import InvalidInputError, RetractedError, UnexpectedError


def policy_of(
    strategy: SamplingStrategy,
    asked: ReleaseWish,
    default: ReleaseWish,
    requirements: Sequence[Requirement],
) -> ReleasePolicy:
    """The release policy of a call.

    Args:
        strategy: The call's strategy, whose own wish goes before the session's.
        asked: The call's wish, which goes before both.
        default: The session's wish; it does not hold for a strategy that cannot follow it.
        requirements: All requirements of the call. Where one is decided at the end only, "continue"
            alone releases nothing before.

    Raises:
        InvalidInputError: The strategy cannot follow the policy that the call asks for.
    """
    own = asked.over(wish_of(strategy))
    wish = own.over(default)
    policy = wish.policy
    decided_late = any(each.unit_function is None for each in requirements)
    if policy.goes_on and wish.release is None and decided_late:
        # An answer that is rejected as a whole cannot be repaired by going on.
        policy = ReleasePolicy("accepted", "continue")
    refusal = policy_refusal(strategy, policy) if policy != ACCEPTED else ""
    if refusal and own.policy.is_early:
        name = type(strategy).__name__
        raise InvalidInputError(
            f"{name} cannot have release={policy.release!r}, since {refusal}: use "
            "release='accepted', or RejectionSampling with one attempt at a time"
        )
    return ACCEPTED if refusal else policy


class ReleasedText:
    """The text that readers have got, and that still stands. Used on the engine only.

    Args:
        generation: The call's generation, whose readers get text.
        policy: The call's policy.
    """

    def __init__(self, generation: Generation, policy: ReleasePolicy) -> None:
        self._generation = generation
        self._policy = policy
        self.add = generation.push
        """Passes a chunk to readers."""

    def become(self, value: Chunk, reason: str) -> None:
        """Retract what differs from a text, and pass the rest of it to readers.

        Args:
            value: A chunk with the whole text; readers get its other fields as well.
            reason: The reason why other text does not stand, in words.

        Raises:
            UnexpectedError: Text was released that does not stand, by a strategy whose call
                releases text only when it is accepted.
        """
        before = self._generation.text
        kept = _common(before, value.text)
        if len(kept) < len(before):
            self._retract(before, len(before) - len(kept), reason)
        thinking = value.thinking
        # Of a live attempt, readers have its reasoning already.
        if self._generation.answer().thinking.endswith(thinking):
            thinking = ""
        rest = replace(value, text=value.text[len(kept) :], thinking=thinking)
        if rest != _NOTHING:
            self.add(rest)

    def _retract(self, before: str, characters: int, reason: str) -> None:
        if not self._policy.is_early:
            raise UnexpectedError(
                "the sampling strategy released text that its value does not begin with",
                text=before,
            )
        error = RetractedError(
            f"text that was read is void, since it was rejected: {reason}\n"
            "  the thunk's value is the text that stands; to be told instead, read with "
            "astream(retractions=True); to get only text that is accepted, use release='accepted'",
            characters=characters,
            reason=reason,
        )
        is_marked = self._policy.on_reject != "fail"
        item = Retracted(characters=characters, reason=reason)
        self._generation.retract(item, error, is_marked=is_marked)


_NOTHING = Chunk()


def _common(before: str, after: str) -> str:
    """The text that both begin with."""
    if after.startswith(before):
        return before
    size = next((n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), None)
    return before[:size] if size is not None else after
