"""Components, for users: tasks, messages, questions, and the parts of prompts."""

from mellea_rx.core.component import BaseComponent, Component, Said, Template, TextComponent
from mellea_rx.core.image import Image
from mellea_rx.stdlib.components.document import Document
from mellea_rx.stdlib.components.instruction import Instruction
from mellea_rx.stdlib.components.message import Message, ToolMessage
from mellea_rx.stdlib.components.query import Query, Transform
from mellea_rx.stdlib.components.tool_messages import ToolMessages
from mellea_rx.stdlib.mify import Mified, mify

__all__ = [
    "BaseComponent",
    "Component",
    "Document",
    "Image",
    "Instruction",
    "Message",
    "Mified",
    "Query",
    "Said",
    "Template",
    "TextComponent",
    "ToolMessage",
    "ToolMessages",
    "Transform",
    "mify",
]
