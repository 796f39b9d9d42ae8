"""`mify`: the description of an object that a model sees; see `mellea_rx.stdlib.objects`."""

from mellea_rx.stdlib.objects.description import Mified
from mellea_rx.stdlib.objects.mify import mify

__all__ = ["Mified", "mify"]
