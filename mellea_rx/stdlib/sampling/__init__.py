"""Sampling strategies, for users: each decides how often to try, and which attempt is the value."""

from mellea_rx.core.sampling import Attempt, BaseStrategy, Sampler, SamplingResult, SamplingStrategy
from mellea_rx.stdlib.sampling.best_of_n import BestOfN
from mellea_rx.stdlib.sampling.majority import MajorityVoting
from mellea_rx.stdlib.sampling.rejection import RejectionSampling
from mellea_rx.stdlib.sampling.repair import MultiTurn, RepairTemplate
from mellea_rx.stdlib.sampling.weak_then_strong import WeakThenStrong

__all__ = [
    "Attempt",
    "BaseStrategy",
    "BestOfN",
    "MajorityVoting",
    "MultiTurn",
    "RejectionSampling",
    "RepairTemplate",
    "Sampler",
    "SamplingResult",
    "SamplingStrategy",
    "WeakThenStrong",
]
