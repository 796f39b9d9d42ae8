"""Text of strangers, made fit for a message or a log."""

from __future__ import annotations

__all__ = ["escaped"]


def escaped(text: str) -> str:
    """The text, with everything escaped that is not to be seen: control characters, ends of lines,
    what turns the direction of text, halves of characters.

    Example:
        >>> print(escaped("no\\x1b[2J such\\u202e model"))
        no\\x1b[2J such\\u202e model
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
