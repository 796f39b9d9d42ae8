"""Strips a wrapper (code fence, `{"value": …}`) from a streamed answer.

The pipeline and the dialects of servers use it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from mellea_rx.core.types.chunk import Chunk, with_text


@dataclass(frozen=True, slots=True)
class WrapperPattern:
    """A wrapper that may enclose a text.

    Attributes:
        begins: Its first characters, without white space.
        opening: Matches all that stands before the first character of the text.
        closing: Matches its end at the end of an answer.
        edge: The characters that `closing` consists of.
        breaks: Matches its end in the middle of an answer; None where that is ambiguous.
    """

    begins: str
    opening: re.Pattern[str]
    closing: re.Pattern[str]
    edge: str
    breaks: re.Pattern[str] | None = None

    def may_open(self, text: str) -> bool:
        """Whether a text begins with this wrapper, or may once it is longer."""
        compact = "".join(text.split())
        return self.begins.startswith(compact[: len(self.begins)])


FENCE = WrapperPattern(
    "```",
    re.compile(r"```[\w+-]*\s*(?=[^\w\s`+-])|```[\w+-]*[ \t]*\r?\n\s*(?=\S)"),
    re.compile(r"\s*```\s*\Z"),
    " \t\r\n`",
    re.compile(r"\n[ \t]*```"),
)
"""A Markdown code block, which chat models often put around JSON. Text after it is dropped.

(A line break is never part of a JSON string, so a fence on a line of its own ends the block.)
"""

VALUE = WrapperPattern(
    '{"value":',
    re.compile(r'\{\s*"value"\s*:\s*(?=\S)'),
    re.compile(r"\s*\}\s*\Z"),
    " \t\r\n}",
)
"""An object with one key, for servers that take only schemas of objects."""


class StreamUnwrapper:
    """Removes a wrapper from a stream of chunks; a text without one passes unchanged.

        in:    -```j--son\\n--{"a":--1}\\n--```|
        out:   --------------{"a":--1}-------|

    White space around the text is removed too. Text that may be the end of the wrapper is held
    back until that is decided.

    Args:
        shell: The wrapper to remove.
        push: Takes the chunks without it.
    """

    __slots__ = ("_feed", "_held", "_push", "_shell")

    def __init__(self, shell: WrapperPattern, push: Callable[[Chunk], None]) -> None:
        self._shell = shell
        self._push = push
        self._held = ""
        self._feed: Callable[[str], str] = self._begin

    def push(self, chunk: Chunk) -> None:
        """Take the next chunk."""
        left = with_text(chunk, self._feed(chunk.text)) if chunk.text else chunk
        if left != _NOTHING:
            self._push(left)

    def end(self) -> None:
        """Take the end of the answer: push held text that is not part of the wrapper."""
        text = self._held.rstrip()
        if self._feed == self._within:
            text = self._shell.closing.sub("", self._held)
        self._held = ""
        self._feed = _drop
        if text:
            self._push(Chunk(text))

    def _begin(self, text: str) -> str:
        text = (self._held + text).lstrip()
        opened = self._shell.opening.match(text)
        if opened is None and self._shell.may_open(text):
            self._held = text
            return ""
        self._held = ""
        self._feed = self._bare if opened is None else self._within
        return self._feed(text[opened.end() if opened else 0 :])

    def _bare(self, text: str) -> str:
        return self._keep_back(self._held + text, _SPACE)

    def _within(self, text: str) -> str:
        text = self._held + text
        broken = self._shell.breaks.search(text) if self._shell.breaks else None
        if broken is not None:
            self._held = ""
            self._feed = _drop
            return text[: broken.start()].rstrip()
        return self._keep_back(text, self._shell.edge)

    def _keep_back(self, text: str, edge: str) -> str:
        passed = text.rstrip(edge)
        self._held = text[len(passed) :]
        return passed


_NOTHING = Chunk()
_SPACE = " \t\r\n"


def _drop(_: str) -> str:
    return ""
