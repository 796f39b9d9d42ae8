"""`Roles`: the backends that a strategy asks for drafts, repairs and judgements."""

from __future__ import annotations

from dataclasses import dataclass

from mellea_rx.core.interfaces.backend import Backend, require_backend


@dataclass(frozen=True, slots=True)
class Roles:
    """A backend for each role in a strategy; None for the call's own.

    Of each, its own model options hold for what the call does not set.

    Attributes:
        draft: Makes the attempts up to the first rejection.
        judge: Decides the requirements that a model judges, and scores for `BestOfN(judge=...)`.
        repair: Makes the attempts that follow a rejection. `BestOfN` and `MajorityVoting` make
            drafts only.

    Example:
        >>> from mellea_rx import ScriptedBackend
        >>> len(Roles(judge=ScriptedBackend("yes")).backends)
        1

    Raises:
        InvalidInputError: One of them is not a backend.
    """

    draft: Backend | None = None
    judge: Backend | None = None
    repair: Backend | None = None

    def __post_init__(self) -> None:
        for name in ("draft", "judge", "repair"):
            backend = getattr(self, name)
            if backend is not None:
                require_backend(backend, f"Roles({name}=...)")

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The backends that are given."""
        return tuple(each for each in (self.draft, self.judge, self.repair) if each is not None)
