"""Keys, kept out of everything that can be printed; no I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

__all__ = ["Redactor", "Secret"]

_SHOWN = "***"
_PIECE = 8
"""So many characters of a key in a row are taken for a piece of it."""


class Secret(str):
    """A text that its `repr` does not show, so that no dump of headers or variables does.

    Example:
        >>> {"Authorization": Secret("Bearer key")}
        {'Authorization': '***'}
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_SHOWN)


class Redactor:
    """Takes secrets out of a text: whole, cut off anywhere, percent-encoded, or escaped in JSON.

    Args:
        secrets: What no text may show. One of fewer than 8 characters is found only whole.

    Example:
        >>> Redactor(["sk-0123456789"])("no such key: 'sk-01234567'")
        "no such key: '***'"
    """

    __slots__ = ("_pieces", "_whole")

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if form}
        # The longest first: a short one may be a part of it.
        self._whole = sorted((str(form) for form in forms), key=len, reverse=True)
        self._pieces = {
            form[at : at + _PIECE] for form in self._whole for at in range(len(form) - _PIECE + 1)
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __call__(self, text: str) -> str:
        """The text, with `***` in place of each secret and of each piece of one."""
        if self._pieces:
            text = "".join(self._without_pieces(text))
        for form in self._whole:
            if len(form) < _PIECE:
                text = text.replace(form, _SHOWN)
        return text

    def _without_pieces(self, text: str) -> Iterator[str]:
        pieces = self._pieces
        start = at = 0
        while at + _PIECE <= len(text):
            if text[at : at + _PIECE] not in pieces:
                at += 1
                continue
            yield text[start:at]
            yield _SHOWN
            at += 1
            while text[at : at + _PIECE] in pieces:
                at += 1
            start = at = at + _PIECE - 1
        yield text[start:]


def _forms(secret: str) -> Iterator[str]:
    """How a server may echo a secret."""
    yield secret
    escaped = json.dumps(secret)[1:-1]
    yield escaped
    yield escaped.replace("/", "\\/")
    for encode in (lambda text: quote(text, safe=""), quote, quote_plus):
        encoded = encode(secret)
        yield encoded
        yield _with_small_hex(encoded)


def _with_small_hex(encoded: str) -> str:
    head, *rest = encoded.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])
