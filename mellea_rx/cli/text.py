"""Text from outside, made fit for a terminal."""

from __future__ import annotations

import re

__all__ = ["BIDI", "first_line", "harmless", "seconds"]

# Newlines and tabs stay. Carriage returns go: they would overwrite what stands on the line.
_SHOWN = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t\r"}
_SHOWN |= {code: f"\\x{code:02x}" for code in range(0x80, 0xA0)}
_SHOWN |= {0x0D: "", 0x7F: "\u2421"}
# These turn the direction of the text around them: what is read is not what is there.
BIDI = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SHOWN |= {code: f"\\u{code:04x}" for code in BIDI}


def harmless(text: str) -> str:
    """Text whose control characters are shown and do nothing; newlines and tabs stay.

    Example:
        >>> harmless("\\x1b[2Jgone?")
        '␛[2Jgone?'
    """
    return text.translate(_SHOWN)


def first_line(text: str, width: int) -> str:
    """Text on one line of at most `width` characters; what is too much goes from its middle.

    Prompts often begin alike, and differ at their ends.

    Example:
        >>> first_line("Write a poem\\nabout mountains.", 20)
        'Write a po…ountains.'
    """
    line = re.sub(r"\s+", " ", harmless(text)).strip()
    if len(line) <= width:
        return line
    kept = max(0, width - 1)
    return line[: kept - kept // 2] + "…" + line[len(line) - kept // 2 :]


def seconds(value: float | None) -> str:
    """A time for people: "0.12 s"; "-" where there is none."""
    if value is None:
        return "-"
    return f"{value:.2f} s" if value < 100 else f"{value:.0f} s"
