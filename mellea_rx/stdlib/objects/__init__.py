"""Objects in prompts: the description that a model sees, and the methods that it may call."""

from mellea_rx.stdlib.objects.description import Mified
from mellea_rx.stdlib.objects.mify import mify

__all__ = ["Mified", "mify"]
