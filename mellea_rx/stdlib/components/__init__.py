"""Components: what can be asked of a model."""

from mellea_rx.core.component import Component, Said, Template
from mellea_rx.core.image import Image
from mellea_rx.stdlib.components.document import Document
from mellea_rx.stdlib.components.instruction import Instruction
from mellea_rx.stdlib.components.message import Message, ToolMessage
from mellea_rx.stdlib.components.query import Query, Transform
from mellea_rx.stdlib.components.tool_messages import ToolMessages
from mellea_rx.stdlib.mify import Mified, mify

__all__ = [
    "Component",
    "Document",
    "Image",
    "Instruction",
    "Message",
    "Mified",
    "Query",
    "Said",
    "Template",
    "ToolMessage",
    "ToolMessages",
    "Transform",
    "mify",
]
