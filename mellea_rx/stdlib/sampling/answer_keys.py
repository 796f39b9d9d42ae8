r"""Ready-made keys for `MajorityVoting`: numbers and formulas, whatever their notation.

A key is an exact fraction where an answer is a number, so that "0.5", "1/2", "50%" and
"\frac{1}{2}" are one vote; else it is a text.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from fractions import Fraction

__all__ = ["latex_key", "number_key", "plain_key"]


def plain_key(text: str) -> str:
    """A text without regard to case, white space and a full stop at its end.

    Example:
        >>> plain_key(" The  Hague. ")
        'the hague'
    """
    return " ".join(text.casefold().split()).rstrip(".")


_GROUP = "[,_'\u2019\u00a0\u2009\u202f]"
_UNSIGNED = rf"(?:\d{{1,3}}(?:{_GROUP}\d{{3}})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
_SIGN = "[-+\u2212]"
_TIMES = r"(?:[\u00d7xX*\u00b7]|\\times|\\cdot)"


def _power(name: str) -> str:
    """The pattern of a power of ten, whose exponent is the group of this name."""
    return rf"10\s*(?:\^|\*\*)\s*\{{?\s*(?P<{name}>{_SIGN}?\d+)\s*\}}?"


_NUMBER = re.compile(
    rf"""
    (?:(?<![\w)\]}}])(?P<before>{_SIGN}))?     # no sign, but a dash, behind a word or a number
    (?:\\?[$\u20ac\u00a3\u00a5\u20b9]\s?(?P<behind>{_SIGN})?)?
    (?<![\w.])
    (?:
        (?:(?P<whole>\d+)\s+)?(?P<upper>{_UNSIGNED})\s*[/\u2044]\s*(?P<lower>{_UNSIGNED})
        | {_power("power")}
        | (?P<number>{_UNSIGNED})
          (?:[eE](?P<exponent>{_SIGN}?\d+) | \s*{_TIMES}\s*{_power("factor")})?
    )
    (?P<percent>\s*(?:\\?%|per\ ?cent\b))?
    """,
    re.VERBOSE,
)

_LONGEST = 1000
"""The maximum of a number's characters and of its exponent: exact numbers take memory."""

_RAISED = str.maketrans(
    "\u207a\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079", "+-0123456789"
)
_RAISED_POWER = re.compile("(?<=10)[\u207a\u207b\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")

_VULGAR = {"\u00bd": "1/2", "\u2153": "1/3", "\u2154": "2/3", "\u00bc": "1/4", "\u00be": "3/4"}
_VULGAR_FRACTION = re.compile("[\u00bd\u2153\u2154\u00bc\u00be]")


def number_key(text: str) -> Hashable:
    """The last number in a text, as an exact value.

    Read as numbers are

    - digits, also in groups of three (`1,000`, `1_000`, `1'000`, with thin or no-break spaces),
      with decimals behind a point (a comma between other groups separates two numbers),
    - a sign in front of it or of its currency (`-$5`); a hyphen behind a word or a number is none,
    - fractions (`1/2`, `1 1/2`, `½`) and percent (`50%` is 0.5),
    - powers of ten (`1e3`, `1.5 × 10^3`, `10⁻³`).

    Example:
        >>> number_key("So it is $1,000.0.") == number_key("1e3") == 1000
        True
        >>> number_key("The share is 1/2.") == number_key("50 %")
        True

    Args:
        text: The text of an answer.

    Returns:
        A `Fraction`. For a number of more than 1,000 digits, its text; where the text has no
        number, `plain_key(text)`.
    """
    for found in reversed([*_NUMBER.finditer(_spelled(text))]):
        value = _value(found)
        if value is not None:
            return value
    return plain_key(text)


def _spelled(text: str) -> str:
    """The text with its fractions and powers of one character in characters of their own."""
    text = _RAISED_POWER.sub(lambda found: "^" + found[0].translate(_RAISED), text)
    return _VULGAR_FRACTION.sub(lambda found: " " + _VULGAR[found[0]], text)


def _value(found: re.Match[str]) -> Hashable:
    """The value of a number; None for a fraction that has none."""
    if len(found[0]) > _LONGEST:
        return found[0]
    power = _int(found["exponent"] or found["factor"] or found["power"] or "0")
    if abs(power) > _LONGEST:
        return found[0]
    if found["upper"] is None:
        value = _exact(found["number"] or "1") * Fraction(10) ** power
    else:
        upper, lower = _exact(found["upper"]), _exact(found["lower"])
        if not lower:
            return None
        value = upper / lower + _int(found["whole"] or "0")
    signs = f"{found['before'] or ''}{found['behind'] or ''}".replace("+", "")
    value = -value if len(signs) % 2 else value
    return value / 100 if found["percent"] else value


def _exact(digits: str) -> Fraction:
    return Fraction(re.sub(_GROUP, "", digits))


def _int(digits: str) -> int:
    return int(digits.replace("\u2212", "-"))


_FORMULA = re.compile(
    r"\$\$([^$]+)\$\$"
    r"|(?<!\\)\$(?!\s)((?:[^$\\]|\\.)+)(?<!\s)\$(?!\d)"
    r"|\\\(((?:(?!\\\().)+?)\\\)|\\\[((?:(?!\\\[).)+?)\\\]",  # up to the next one that opens
    re.DOTALL,
)


def latex_key(text: str) -> Hashable:
    r"""The answer of a text in LaTeX: its last `\boxed{...}`, else its last formula.

    A formula is between `$` and `$`, `$$` and `$$`, `\(` and `\)`, or `\[` and `\]`. Where the text
    has neither, the key is its `number_key`.

    An answer that is a number, also as `\frac{1}{2}`, is an exact value, as in `number_key`. Of any
    other, the text is compared, without white space, the spaces of LaTeX, `\left`, `\right`,
    `\displaystyle`, the commands of `\text{...}` and its like, `$` and full stops at the end, and
    with `\frac` for `\dfrac` and `\tfrac`. (Formulas are not computed: `\sqrt{4}` is not 2.)

    Example:
        >>> latex_key(r"Thus \boxed{\dfrac{1}{2}}.") == latex_key("It is $0.5$") == latex_key("1/2")
        True
        >>> latex_key(r"\boxed{ \left( 2, \sqrt 3 \right) }") == latex_key(r"$(2,\sqrt{3})$.")
        True

    Args:
        text: The text of an answer.

    Returns:
        A `Fraction` for a number, else a text.
    """
    content = next(_boxed(text), None)
    if content is None:
        formulas = [*_FORMULA.finditer(text)]
        if not formulas:
            return number_key(text)
        content = next(group for group in formulas[-1].groups() if group is not None)
    return _normalised(content)


def _boxed(text: str) -> Iterator[str]:
    """The contents of the boxes of a text, the last one first; a box that is cut off has none."""
    closings = _closings(text)
    for found in reversed([*re.finditer(r"\\f?box(?:ed)?\s*(\{|[^\s$]+)", text)]):
        start = found.start(1)
        if text[start] != "{":
            yield found[1]
        elif start in closings:
            yield text[start + 1 : closings[start]]


def _closings(text: str) -> dict[int, int]:
    """The index of the brace that closes each opening one, by the index of that."""
    closings: dict[int, int] = {}
    opened: list[int] = []
    for brace in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        if brace[0] == "{":
            opened.append(brace.start())
        elif brace[0] == "}" and opened:
            closings[opened.pop()] = brace.start()
    return closings


def _without_outer_braces(text: str) -> str:
    """The text without the pairs of braces that enclose the whole of it."""
    closings = _closings(text)
    start, end = 0, len(text)
    while closings.get(start) == end - 1:
        start, end = start + 1, end - 1
    return text[start:end].strip()


_REPLACED = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right|displaystyle|limits)(?![a-zA-Z])\s*", ""),
        (r"\\[,;:! ]|\\q?quad(?![a-zA-Z])|~", " "),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\(?:text(?:bf|it|rm|sf|tt)?|math(?:bf|it|rm|sf)|mbox)\s*\{([^{}]*)\}", r"\1"),
        (r"\{,\}", ","),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*(\d)", r"\1{\2}"),
        (r"\\sqrt\s*([0-9a-zA-Z])", r"\\sqrt{\1}"),
        (r"\\?\$", ""),
        (r"\\%", "%"),
    )
]

_FRACTION = re.compile(r"(\d?)\s*\\frac\s*\{\s*([^{}]*?)\s*\}\s*\{\s*([^{}]*?)\s*\}")


def _normalised(content: str) -> Hashable:
    """The value of a formula that is a number, else its text in one notation."""
    for pattern, replacement in _REPLACED:
        content = pattern.sub(replacement, content)
    content = content.strip().rstrip(".,").strip()
    content = _without_outer_braces(content)
    # A digit in front of a fraction is the whole of a mixed number.
    digits = _FRACTION.sub(lambda found: f"{found[1]} {found[2]}/{found[3]}".lstrip(), content)
    number = _NUMBER.fullmatch(_spelled(digits).strip())
    value = None if number is None else _value(number)
    return re.sub(r"\s+", "", content) if value is None else value
