"""Components: what can be asked of a model."""

from mellea_rx.core.component import Component, Template
from mellea_rx.stdlib.components.instruction import Instruction
from mellea_rx.stdlib.components.message import Message
from mellea_rx.stdlib.components.query import Query, Transform

__all__ = ["Component", "Instruction", "Message", "Query", "Template", "Transform"]
