"""Sessions: a backend, a context, and the verbs that start calls."""

from mellea_rx.stdlib.session.session import MelleaSession, get_session
from mellea_rx.stdlib.session.start import start_session

__all__ = ["MelleaSession", "get_session", "start_session"]
