"""How an answer begins: said first to its readers, and asked for where a backend cannot go on."""

from __future__ import annotations

from dataclasses import replace

from mellea_rx.core.chunk import Chunk, with_text
from mellea_rx.core.component import Template
from mellea_rx.core.request import Request, WireMessage
from mellea_rx.core.sink import Sink
from mellea_rx.core.source import Push
from mellea_rx.formatters.template import Sources, render

__all__ = [
    "CONTINUE",
    "Opener",
    "Unrepeated",
    "Unspaced",
    "in_words",
    "without_last_space",
]

CONTINUE = Template(
    """\
Begin your answer with exactly this text, and go on from it:
{{ beginning }}""",
    name="continue",
)


def in_words(request: Request, sources: Sources) -> Request:
    """A request that asks for the beginning of its answer in words, with the user's message."""
    wish = render(CONTINUE.given(beginning=request.beginning), sources)
    *before, _ = request.messages
    # Some models' templates refuse two messages of the user's in a row.
    if before and before[-1].role == "user":
        last = before.pop()
        return replace(
            request, messages=(*before, replace(last, content=f"{last.content}\n\n{wish}"))
        )
    return replace(request, messages=(*before, WireMessage("user", wish)))


def without_last_space(request: Request) -> Request:
    """A request whose answer begins without the space at the end.

    A model is at a loss after one: its words begin with a space.
    """
    *before, last = request.messages
    bare = replace(last, content=last.content.rstrip(" \t"))
    return replace(request, messages=(*before, bare))


class Opener:
    """Pushes how an answer begins ahead of its first chunk, so that times stay the model's own.

        answer:  --- upon-- a-- time|
        pushed:  ---(Once upon)-- a-- time|

    Args:
        beginning: How it begins ("Once").
        sink: Takes the chunks.
    """

    def __init__(self, beginning: str, sink: Sink) -> None:
        self._beginning = beginning
        self._sink = sink

    def add(self, chunk: Chunk) -> None:
        """Take a chunk of what follows."""
        self.end()
        self._sink.push(chunk)

    def end(self) -> None:
        """Say the beginning, where nothing has come. Idempotent."""
        if self._beginning and not self._sink.spoke:
            self._sink.push(Chunk(self._beginning))


class Unrepeated:
    """Drops a beginning that the model repeats; what differs from it goes through as it is.

    White space around it is not compared: models leave it out, or add to it.

    Args:
        beginning: What may be repeated.
        push: Takes the chunks without it.
    """

    def __init__(self, beginning: str, push: Push) -> None:
        self._beginning = beginning.strip()
        self._push = push
        self._held = ""
        self._decided = not self._beginning

    def add(self, chunk: Chunk) -> None:
        """Take a chunk of the answer."""
        text = chunk.text if self._decided else self._compared(chunk.text)
        self._push(with_text(chunk, text))

    def _compared(self, text: str) -> str:
        """What is to be passed on, now that this text came."""
        self._held += text
        held = self._held.lstrip()
        if self._beginning.startswith(held) and held != self._beginning:
            return ""
        self._decided = True
        if not held.startswith(self._beginning):
            return self._held
        return held[len(self._beginning) :]


class Unspaced:
    """Drops the white space that an answer begins with, where the text before it ends with such.

    After a line's end only further ones are dropped: what a line begins with may have a meaning.

    Args:
        before: What the answer goes on from.
        push: Takes the chunks.
    """

    def __init__(self, before: str, push: Push) -> None:
        self._drops = "\r\n" if before.endswith("\n") else None
        self._push = push
        self._open = before[-1:].isspace()

    def add(self, chunk: Chunk) -> None:
        """Take a chunk of the answer."""
        if self._open and chunk.text:
            text = chunk.text.lstrip(self._drops)
            self._open = not text
            chunk = with_text(chunk, text)
        self._push(chunk)
