"""`mify`: the description of an object that a model sees."""

from mellea_rx.stdlib.objects.description import Mified
from mellea_rx.stdlib.objects.mify import mify

__all__ = ["Mified", "mify"]
