"""Components, for users: tasks, messages, questions, and the parts of prompts."""

from mellea_rx.core.interfaces.component import (
    BaseComponent,
    Component,
    Said,
    Template,
    TextComponent,
)
from mellea_rx.core.types.image import Image
from mellea_rx.stdlib.components.instruction import Instruction
from mellea_rx.stdlib.components.messages import Document, Message, ToolMessage, ToolMessages
from mellea_rx.stdlib.components.query import Query, Transform
from mellea_rx.stdlib.objects.description import Mified
from mellea_rx.stdlib.objects.mify import mify

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
