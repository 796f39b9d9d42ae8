"""Sampling strategies: how often to try, and which attempt becomes the value."""

from mellea_rx.core.sampling import Attempt, Sampler, SamplingResult, SamplingStrategy
from mellea_rx.stdlib.sampling.rejection import RejectionSampling

__all__ = ["Attempt", "RejectionSampling", "Sampler", "SamplingResult", "SamplingStrategy"]
