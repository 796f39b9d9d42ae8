"""Sessions: a backend, a context, and the verbs that start calls."""

from mellea_rx.core.streams.cold_call import ColdCall
from mellea_rx.stdlib.session.cold import ColdVerbs
from mellea_rx.stdlib.session.session import MelleaSession, get_session
from mellea_rx.stdlib.session.start import start_session
from mellea_rx.stdlib.session.template_overrides import TEMPLATES

__all__ = ["TEMPLATES", "ColdCall", "ColdVerbs", "MelleaSession", "get_session", "start_session"]
