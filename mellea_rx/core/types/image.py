"""`Image`: a picture in a prompt, as bytes of a known format, or as a URL for the server.

Components take them; this library never fetches a URL.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self, TypeAlias

from mellea_rx.core.types.validation import open_regular
from mellea_rx.errors import InvalidInputError

MAX_IMAGE_BYTES = 20 * 1024 * 1024
"""The maximum size of a picture, in bytes."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture in a message: its bytes, or its URL.

    Make one with `from_file`, `from_bytes`, `from_base64` or `from_url`.

    Attributes:
        media_type: "image/png", "image/jpeg" or "image/webp"; "" for one that is only a URL.
        data: The file's bytes; b"" for one that is only a URL.
        url: Its URL, which this library never fetches; "" for one that is bytes.
    """

    media_type: str = ""
    data: bytes = field(default=b"", repr=False)
    url: str = ""

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """A picture in a file, which is read now.

        Args:
            path: A PNG, JPEG or WebP file, of 20 MiB at most.

        Raises:
            InvalidInputError: It cannot be read, is too large, or is not such a picture.
        """
        name = os.fspath(path)
        try:
            with open_regular(name) as file:
                data = file.read(MAX_IMAGE_BYTES + 1)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise InvalidInputError(
                f"the image {_shown(name)} cannot be read: {why} (a text is taken for a path; "
                "Image.from_base64 takes the picture itself)"
            ) from error
        return cls._of(data, f"the image {_shown(name)}")

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """A picture in memory.

        Args:
            data: A whole PNG, JPEG or WebP file, of 20 MiB at most.

        Example:
            >>> Image.from_bytes(b"\\x89PNG\\r\\n\\x1a\\n...").media_type
            'image/png'

        Raises:
            InvalidInputError: It is too large, or not such a picture.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise InvalidInputError(f"an image's data are bytes, not {type(data).__name__}")
        return cls._of(bytes(data), "the image")

    @classmethod
    def from_base64(cls, text: str) -> Self:
        """A picture as base64, with or without "data:…;base64," before it.

        Raises:
            InvalidInputError: It is not base64, or not a picture.
        """
        if not isinstance(text, str):
            raise InvalidInputError(f"base64 is a str, not {type(text).__name__}")
        payload = text.partition(",")[2] if text.startswith("data:") else text
        try:
            data = base64.b64decode("".join(payload.split()), validate=True)
        except (binascii.Error, ValueError):
            raise InvalidInputError(f"the image {_shown(text)} is not base64") from None
        return cls._of(data, "the image in base64")

    @classmethod
    def from_url(cls, url: str) -> Self:
        """A picture that the server fetches, where it accepts URLs; this library never does.

        Raises:
            InvalidInputError: It is not an http or https URL.
        """
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise InvalidInputError(
                f"an image's URL begins with http:// or https://, not {_shown(str(url))}"
            )
        return cls(url=url)

    @classmethod
    def _of(cls, data: bytes, who: str) -> Self:
        if len(data) > MAX_IMAGE_BYTES:
            raise InvalidInputError(f"{who} is larger than {MAX_IMAGE_BYTES >> 20} MiB")
        media_type = _media_type(data)
        if not media_type:
            raise InvalidInputError(
                f"{who} is not a PNG, JPEG or WebP file: it begins with {data[:12]!r}"
                if data
                else f"{who} is empty"
            )
        return cls(media_type, data)

    @property
    def address(self) -> str:
        """Its URL; of one that is bytes, a `data:` URL."""
        return self.url or f"data:{self.media_type};base64,{base64.b64encode(self.data).decode()}"


ImageLike: TypeAlias = Image | str | os.PathLike[str] | bytes
"""An `Image`, a path, an http(s) or `data:` URL, or a file's bytes."""

Images: TypeAlias = Iterable[ImageLike] | ImageLike
"""One picture or several."""


def as_images(given: Images | None) -> tuple[Image, ...]:
    """The pictures of an `images=` argument.

    Raises:
        InvalidInputError: Something is not a picture; the message names its type.
    """
    if given is None or given == ():
        return ()
    if isinstance(given, (Image, str, os.PathLike, bytes)):
        return (_as_image(given),)
    if not isinstance(given, Iterable):
        raise InvalidInputError(f"images are a list of pictures, not {type(given).__name__}")
    return tuple(_as_image(each) for each in given)


def _as_image(given: object) -> Image:
    if isinstance(given, Image):
        return given
    if isinstance(given, (bytes, bytearray, memoryview)):
        return Image.from_bytes(bytes(given))
    if isinstance(given, str) and given.startswith(("http://", "https://")):
        return Image.from_url(given)
    if isinstance(given, str) and given.startswith("data:"):
        return Image.from_base64(given)
    if isinstance(given, (str, os.PathLike)):
        return Image.from_file(given)
    raise InvalidInputError(
        f"an image is an Image, a path, a URL or bytes, not {type(given).__name__}"
    )


def _media_type(data: bytes) -> str:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return ""


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:79] + "…")
