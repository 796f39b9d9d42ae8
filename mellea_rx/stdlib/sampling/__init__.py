"""Sampling strategies, for users: each decides how often to try, and which attempt is the value."""

from mellea_rx.core.interfaces.sampling import BaseStrategy, Sampler, SamplingStrategy
from mellea_rx.core.types.release import OnReject, Release, ReleasePolicy, ReleaseWish
from mellea_rx.core.types.sampling_result import Attempt, SamplingResult
from mellea_rx.stdlib.sampling.answer_keys import latex_key, number_key
from mellea_rx.stdlib.sampling.best_of_n import BestOfN
from mellea_rx.stdlib.sampling.budget import Budget
from mellea_rx.stdlib.sampling.budget_forcing import BudgetForcing
from mellea_rx.stdlib.sampling.rejection import RejectionSampling, WeakThenStrong
from mellea_rx.stdlib.sampling.repair import MultiTurn, RepairTemplate
from mellea_rx.stdlib.sampling.roles import Roles
from mellea_rx.stdlib.sampling.voting import MajorityVoting

__all__ = [
    "Attempt",
    "BaseStrategy",
    "BestOfN",
    "Budget",
    "BudgetForcing",
    "MajorityVoting",
    "MultiTurn",
    "OnReject",
    "RejectionSampling",
    "Release",
    "ReleasePolicy",
    "ReleaseWish",
    "RepairTemplate",
    "Roles",
    "Sampler",
    "SamplingResult",
    "SamplingStrategy",
    "WeakThenStrong",
    "latex_key",
    "number_key",
]
