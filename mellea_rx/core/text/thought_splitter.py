"""`ThoughtSplitter`: splits a text into the thinking at its beginning and the answer after that.

For servers that send both as one text. (The operator `split_thinking` splits at tags anywhere.)
"""

from __future__ import annotations

from typing import NamedTuple


class Thought(NamedTuple):
    """A piece of a text, split.

    Attributes:
        thinking: The part that is thinking.
        answer: The part that is the answer.
    """

    thinking: str
    answer: str


class ThoughtSplitter:
    """Splits a text while it streams; only text that may be a part of a tag is held back.

    A text that does not begin with the opening tag is an answer. White space between the closing
    tag and the answer is dropped.

    Example:
        >>> splitter = ThoughtSplitter("<think>", "</think>")
        >>> splitter.feed("<think>Hm.</th"), splitter.feed("ink> 42")
        (Thought(thinking='Hm.', answer=''), Thought(thinking='', answer='42'))

    Args:
        opening: The opening tag.
        closing: The closing tag.
        is_inside: Whether the text begins within the tags.
    """

    def __init__(self, opening: str, closing: str, *, is_inside: bool = False) -> None:
        self._opening = opening
        self._closing = closing
        self._is_inside = is_inside
        self._is_decided = is_inside
        self._is_at_seam = False
        self._held = ""

    def answer_begins(self) -> None:
        """Note that all following text is the answer, whatever it is."""
        self._is_inside, self._is_decided = False, True

    def feed(self, text: str) -> Thought:
        """Take a piece of the text."""
        held, self._held = self._held + text, ""
        if not self._is_decided:
            begun = held.lstrip()
            if len(begun) < len(self._opening) and self._opening.startswith(begun):
                self._held = held
                return Thought("", "")
            self._is_decided = True
            if begun.startswith(self._opening):
                self._is_inside, held = True, begun[len(self._opening) :]
        if not self._is_inside:
            return Thought("", self._after_seam(held))
        thinking, tag, rest = held.partition(self._closing)
        if tag:
            self._is_inside, self._is_at_seam = False, True
            return Thought(thinking, self._after_seam(rest))
        longest = min(len(self._closing) - 1, len(held))
        size = next(n for n in range(longest, -1, -1) if held.endswith(self._closing[:n]))
        self._held = held[len(held) - size :]
        return Thought(held[: len(held) - size], "")

    def _after_seam(self, text: str) -> str:
        if self._is_at_seam:
            text = text.lstrip()
            self._is_at_seam = not text
        return text

    def flush(self) -> Thought:
        """Take the end of the text."""
        held, self._held = self._held, ""
        return Thought(held, "") if self._is_inside else Thought("", held)
