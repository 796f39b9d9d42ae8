"""Keys, kept out of everything that can be printed; no I/O."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from mellea_rx.errors import InvalidInputError

__all__ = [
    "Address",
    "Credentials",
    "Redactor",
    "Secret",
    "as_key",
    "credentials",
    "shielded",
    "without_login",
]

_SHOWN = "***"
_KEY_NAME = re.compile(r"key|token|secret|passw|auth|credential|bearer", re.IGNORECASE)
_LOGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<login>[^/?#]*)@", re.IGNORECASE)
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


class Address(str):
    """An address that its `repr` shows without the login in it.

    Example:
        >>> Address("http://me:password@localhost")
        'http://***@localhost'
    """

    __slots__ = ()

    def __repr__(self) -> str:
        # To the last "@": a password may hold any character, though an address with it may not.
        return repr(re.sub("//.*@", f"//{_SHOWN}@", str(self), flags=re.DOTALL))


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a client shows who it is.

    Attributes:
        headers: Sent with every request.
        secrets: What no text may show.
    """

    headers: Mapping[str, Secret]
    secrets: tuple[Secret, ...]


def as_key(api_key: str | None) -> Secret | None:
    """A key as a `Secret`; None where it is none. To be called first, with the name rebound.

    Raises:
        InvalidInputError: It is no text.
    """
    if api_key is not None and not isinstance(api_key, str):
        raise InvalidInputError(f"api_key must be a str, not {type(api_key).__name__}")
    return Secret(api_key) if api_key else None


def shielded(options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, of which those that may be keys, or hold a login, show themselves not."""
    held = dict(options)
    for name, value in options.items():
        if isinstance(value, str) and not isinstance(value, (Secret, Address)):
            if _KEY_NAME.search(name):
                held[name] = Secret(value)
            elif name.endswith("url"):
                held[name] = Address(value)
        elif isinstance(value, dict):
            held[name] = shielded(value)
    return held


def without_login(address: str) -> tuple[str, Secret | None]:
    """An address without its login, and the login: "user:password", decoded.

    Example:
        >>> without_login("http://me:password@localhost/v1")
        ('http://localhost/v1', '***')
    """
    found = _LOGIN.match(address) if isinstance(address, str) else None
    if found is None:
        return Address(address) if isinstance(address, str) else address, None
    bare = Address(found["scheme"] + address[found.end() :])
    user, _, password = found["login"].partition(":")
    return bare, Secret(f"{unquote(user)}:{unquote(password)}") if user or password else None


def credentials(api_key: Secret | None, login: Secret | None) -> Credentials:
    """What to send, and what not to show. A key is sent rather than a login.

    Args:
        api_key: The key; sent as a bearer token.
        login: "user:password"; sent by the scheme "Basic". Without a password, the user is a token.
    """
    headers: dict[str, Secret] = {}
    secrets: list[Secret] = []
    if login is not None:
        pair = Secret(b64encode(login.encode("utf-8", "replace")).decode())
        user, _, password = login.partition(":")
        secrets += [pair, Secret(password or user)]
        headers["Authorization"] = Secret(f"Basic {pair}")
    if api_key is not None:
        secrets.append(api_key)
        headers["Authorization"] = Secret(f"Bearer {api_key}")
    return Credentials(headers, tuple(secrets))


class Redactor:
    """Takes secrets out of a text: whole, cut off anywhere, percent-encoded, escaped in JSON, or in
    Base64 with anything around.

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
    for text in (secret, *_in_base64(secret)):
        yield from _spellings(text)


def _in_base64(secret: str) -> Iterator[str]:
    """A secret in Base64: alone, and, where it is long enough, the part of it that is the same
    whatever is encoded before and after it; in both alphabets."""
    data = secret.encode("utf-8", "replace")
    alone = b64encode(data).decode()
    parts = [alone, alone.rstrip("=")] if data else []
    if len(data) >= _PIECE:
        for before in range(3):
            code = b64encode(bytes(before) + data).decode()
            # Six bits a character: those that share one with a neighbour are not the same.
            whole = (before + len(data)) * 8 // 6
            parts.append(code[-(-before * 8 // 6) : whole])
    for part in parts:
        yield part
        yield part.replace("+", "-").replace("/", "_")


def _spellings(text: str) -> Iterator[str]:
    """A text as it is, escaped in JSON, and percent-encoded."""
    yield text
    escaped = json.dumps(text)[1:-1]
    yield escaped
    yield escaped.replace("/", "\\/")
    for encode in (lambda text: quote(text, safe=""), quote, quote_plus):
        encoded = encode(text)
        yield encoded
        yield _with_small_hex(encoded)


def _with_small_hex(encoded: str) -> str:
    head, *rest = encoded.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])
