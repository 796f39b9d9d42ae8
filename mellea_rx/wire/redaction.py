"""Keeps keys out of messages, logs and reprs, without I/O.

The backends, the session and the HTTP client use it.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from mellea_rx.errors import InvalidInputError

_SHOWN = "***"
_KEY_NAME = re.compile(r"key|token|secret|passw|auth|credential|bearer", re.IGNORECASE)
_LOGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<login>[^/?#]*)@", re.IGNORECASE)
_PIECE = 8
"""Consecutive characters of a key that are recognised as a part of it."""


class Secret(str):
    """A str whose `repr` hides it, so that no dump of headers or variables shows it.

    Example:
        >>> {"Authorization": Secret("Bearer key")}
        {'Authorization': '***'}
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_SHOWN)


class Address(str):
    """A URL whose `repr` hides the login in it.

    Example:
        >>> Address("http://me:password@localhost")
        'http://***@localhost'
    """

    __slots__ = ()

    def __repr__(self) -> str:
        # Up to the last "@": users write passwords with characters that a URL must escape.
        return repr(re.sub("//.*@", f"//{_SHOWN}@", str(self), flags=re.DOTALL))


@dataclass(frozen=True, slots=True)
class Credentials:
    """The authentication of a client.

    Attributes:
        headers: Sent with every request.
        secrets: Texts that no message may show.
    """

    headers: Mapping[str, Secret]
    secrets: tuple[Secret, ...]


def as_key(api_key: str | None) -> Secret | None:
    """A key as a `Secret`; None for no key.

    To be called first, with the variable rebound to the result: a traceback that shows local
    variables then shows no key.

    Raises:
        InvalidInputError: It is not a str.
    """
    if api_key is not None and not isinstance(api_key, str):
        raise InvalidInputError(f"api_key must be a str, not {type(api_key).__name__}")
    return Secret(api_key) if api_key else None


def shielded(options: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of keyword arguments, where keys and logins have a safe `repr`."""
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
    """Split a URL into the URL without its login, and the decoded login ("user:password").

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
    """The headers to send, and the texts to hide. If both are given, only the key is sent.

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
    """Replaces secrets in a text: whole, in part, percent-encoded, escaped in JSON, or in Base64.

    Args:
        secrets: Texts that no message may show. One of fewer than 8 characters is found only whole.

    Example:
        >>> Redactor(["sk-0123456789"])("no such key: 'sk-01234567'")
        "no such key: '***'"
    """

    __slots__ = ("_pieces", "_whole")

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if form}
        # The longest first: a shorter form may be a part of a longer one.
        self._whole = sorted((str(form) for form in forms), key=len, reverse=True)
        self._pieces = {
            form[at : at + _PIECE] for form in self._whole for at in range(len(form) - _PIECE + 1)
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __call__(self, text: str) -> str:
        """The text, with `***` instead of each secret and each part of one."""
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
    """The forms in which a server may echo a secret."""
    for text in (secret, *_in_base64(secret)):
        yield from _spellings(text)


def _in_base64(secret: str) -> Iterator[str]:
    """A secret in Base64, in both alphabets: encoded alone, and, if it is long enough, the part of
    its code that does not depend on the bytes before and after it."""
    data = secret.encode()
    alone = b64encode(data).decode()
    parts = [alone, alone.rstrip("=")] if data else []
    if len(data) >= _PIECE:
        for before in range(3):
            code = b64encode(bytes(before) + data).decode()
            # A character has six bits. Those that share bits with a neighbouring byte vary.
            whole = (before + len(data)) * 8 // 6
            parts.append(code[-(-before * 8 // 6) : whole])
    for part in parts:
        yield part
        yield part.replace("+", "-").replace("/", "_")


def _spellings(text: str) -> Iterator[str]:
    """A text unchanged, escaped in JSON, and percent-encoded."""
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
