"""Prefill: text that an answer has to begin with. Used by `generate`.

The prefill is the assistant's message at the end of a request. It is pushed to readers first; a
backend that cannot continue a message is asked for the text in words instead.
"""

from __future__ import annotations

from dataclasses import replace

from mellea_rx.core.interfaces.component import Template
from mellea_rx.core.streams.chunk_source import AnswerSink, Push
from mellea_rx.core.types.chunk import Chunk, with_text
from mellea_rx.core.types.request import Request, RequestMessage, has_prefill
from mellea_rx.stdlib.prompts.renderer import Sources, render

CONTINUE = Template(
    """\
Begin your answer with exactly this text, and go on from it:
{{ beginning }}""",
    name="continue",
)


def with_prefill(request: Request, text: str) -> Request:
    """The request whose answer goes on from `text`, instead of from the prefill that it has."""
    messages = request.messages[:-1] if has_prefill(request.messages) else request.messages
    return replace(request, messages=(*messages, RequestMessage("assistant", text)))


def asking_for_prefill(request: Request, sources: Sources) -> Request:
    """The request with its prefill asked for in words, as a part of the user's message."""
    wish = render(CONTINUE.given(beginning=request.prefill), sources)
    *before, _ = request.messages
    # Some models' templates refuse two messages of the user's in a row.
    if before and before[-1].role == "user":
        last = before.pop()
        return replace(
            request, messages=(*before, replace(last, content=f"{last.content}\n\n{wish}"))
        )
    return replace(request, messages=(*before, RequestMessage("user", wish)))


def without_trailing_space(request: Request) -> Request:
    """The request with a prefill that does not end with a space.

    A model cannot go on well after one: its tokens begin with a space.
    """
    *before, last = request.messages
    bare = replace(last, content=last.content.rstrip(" \t"))
    return replace(request, messages=(*before, bare))


class PrefillEmitter:
    """Pushes the prefill together with the first chunk, so that timings stay the model's own.

        answer:  --- upon-- a-- time|
        pushed:  ---(Once upon)-- a-- time|

    Args:
        prefill: The text that the answer begins with ("Once").
        sink: Takes the chunks. Where it has text already (a later try that continues an answer),
            the prefill is a part of that text and is not pushed again.
    """

    def __init__(self, prefill: str, sink: AnswerSink) -> None:
        self._pending = "" if sink.text else prefill
        self._sink = sink

    def push(self, chunk: Chunk) -> None:
        """Take a chunk of the text after the prefill."""
        self.end()
        self._sink.push(chunk)

    def end(self) -> None:
        """Push the prefill, unless it was pushed. Idempotent."""
        prefill, self._pending = self._pending, ""
        if prefill:
            self._sink.push(Chunk(prefill))


class RepeatedPrefillFilter:
    """Drops the prefill where the model repeats it; text that differs from it passes unchanged.

    White space around the prefill is not compared: models leave it out, or add to it.

    Args:
        prefill: The text that may be repeated.
        push: Takes the chunks without it.
    """

    def __init__(self, prefill: str, push: Push) -> None:
        self._prefill = prefill.strip()
        self._push = push
        self._held = ""
        self._decided = not self._prefill

    def push(self, chunk: Chunk) -> None:
        """Take a chunk of the answer."""
        text = chunk.text if self._decided else self._undecided(chunk.text)
        self._push(with_text(chunk, text))

    def _undecided(self, text: str) -> str:
        """Take text while it may still be the prefill; return the part that passes."""
        self._held += text
        held = self._held.lstrip()
        if self._prefill.startswith(held) and held != self._prefill:
            return ""
        self._decided = True
        if not held.startswith(self._prefill):
            return self._held
        return held[len(self._prefill) :]


class SeamSpaceFilter:
    """Drops white space at the start of an answer where the text before it ends with white space.

    After a line break it drops only further line breaks: an indent may have a meaning.

    Args:
        before: The text that the answer goes on from.
        push: Takes the chunks.
    """

    def __init__(self, before: str, push: Push) -> None:
        self._drops = "\r\n" if before.endswith("\n") else None
        self._push = push
        self._at_seam = before[-1:].isspace()

    def push(self, chunk: Chunk) -> None:
        """Take a chunk of the answer."""
        if self._at_seam and chunk.text:
            text = chunk.text.lstrip(self._drops)
            self._at_seam = not text
            chunk = with_text(chunk, text)
        self._push(chunk)
