"""Takes off what stands around an answer, while the answer comes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from mellea_rx.core.chunk import Chunk, with_text

__all__ = ["FENCE", "VALUE", "Peeler", "Shell"]


@dataclass(frozen=True, slots=True)
class Shell:
    """What may stand around a text.

    Attributes:
        begins: How it begins, white space left out.
        opening: All of its beginning, up to the first character of the text.
        closing: Its end, where the text ends there.
        edge: The characters that `closing` is made of.
        breaks: Its end, where more may come after it; None where that cannot be told.
    """

    begins: str
    opening: re.Pattern[str]
    closing: re.Pattern[str]
    edge: str
    breaks: re.Pattern[str] | None = None

    def may_open(self, text: str) -> bool:
        """Whether a text begins, or may go on to begin, with this shell."""
        compact = "".join(text.split())
        return self.begins.startswith(compact[: len(self.begins)])


FENCE = Shell(
    "```",
    re.compile(r"```[\w+-]*\s*(?=[^\w\s`+-])|```[\w+-]*[ \t]*\r?\n\s*(?=\S)"),
    re.compile(r"\s*```\s*\Z"),
    " \t\r\n`",
    re.compile(r"\n[ \t]*```"),
)
"""A block of Markdown, as chat models like to put around JSON. What comes after it is dropped.

(A line break is never part of a JSON string, so a fence on a line of its own ends the block.)
"""

VALUE = Shell(
    '{"value":',
    re.compile(r'\{\s*"value"\s*:\s*(?=\S)'),
    re.compile(r"\s*\}\s*\Z"),
    " \t\r\n}",
)
"""An object with one key, as servers get it that take no schema but an object's."""


class Peeler:
    """Chunks in, chunks without the shell out; a text without it passes as it is.

        in:    -```j--son\\n--{"a":--1}\\n--```|
        out:   --------------{"a":--1}-------|

    White space around the text goes with it. What could be the end of the shell is held back
    until it is clear.

    Args:
        shell: What to take off.
        push: Gets the chunks.
    """

    __slots__ = ("_feed", "_held", "_push", "_shell")

    def __init__(self, shell: Shell, push: Callable[[Chunk], None]) -> None:
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
        """Take the end; what was held back and is no part of the shell comes now."""
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
        told = text.rstrip(edge)
        self._held = text[len(told) :]
        return told


_NOTHING = Chunk()
_SPACE = " \t\r\n"


def _drop(_: str) -> str:
    return ""
