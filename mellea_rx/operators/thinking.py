"""The operator `split_thinking`: moves reasoning between tags to `Chunk.thinking`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
from reactivex import Observable, compose
from reactivex import operators as ops

from mellea_rx.core.types.chunk import Chunk, plain_chunk
from mellea_rx.errors import InvalidInputError
from mellea_rx.operators.text import decode


def split_thinking(
    open: str = "<think>", close: str = "</think>"
) -> Callable[[Observable[object]], Observable[Chunk]]:
    """Move the text between two tags from `Chunk.text` to `Chunk.thinking`, and drop the tags.

    A tag may be split over chunks anywhere; only text that may be the beginning of a tag is held
    back. Without a closing tag, the rest of the text is reasoning. The other fields of a chunk stay
    as they are.

        source:             -a<th-ink>hm-</thi-nk>b-|
        split_thinking():   -a----⟨hm⟩---------b----|

    Example:
        >>> import reactivex as rx
        >>> from reactivex import operators as ops
        >>> source = rx.of("<thi", "nk>Hm.</think>4", "2")
        >>> chunks = source.pipe(split_thinking(), ops.to_list()).run()
        >>> [(chunk.text, chunk.thinking) for chunk in chunks]
        [('4', 'Hm.'), ('2', '')]

    Args:
        open: The opening tag.
        close: The closing tag.

    Returns:
        An operator that takes chunks or strings.

    Raises:
        InvalidInputError: A tag is not a str, or is empty.
    """
    for name, tag in (("open", open), ("close", close)):
        if not isinstance(tag, str) or not tag:
            raise InvalidInputError(f"{name} must be a str that is not empty, not {tag!r}")
    return compose(ops.map(plain_chunk), decode(lambda: _Tags(open, close)))


class _Tags:
    """Moves text between the fields of chunks, tag by tag.

    Args:
        open: The opening tag.
        close: The closing tag.
    """

    def __init__(self, open: str, close: str) -> None:
        self._open = open
        self._close = close
        self._inside = False
        self._held = ""
        """Text that may be the beginning of a tag; shorter than the tag."""

    def feed(self, chunk: Chunk) -> Iterator[Chunk]:
        if not chunk.text:
            yield chunk
            return
        texts: list[str] = []
        thinking = [chunk.thinking]
        for inside, text in self._split(self._held + chunk.text):
            (thinking if inside else texts).append(text)
        moved = msgspec.structs.replace(chunk, text="".join(texts), thinking="".join(thinking))
        if moved != _NOTHING:
            yield moved

    def _split(self, text: str) -> Iterator[tuple[bool, str]]:
        """Yield the text in parts, each with whether it is reasoning; hold a tag's beginning."""
        at = 0
        while (end := text.find(self._tag, at)) >= 0:
            yield self._inside, text[at:end]
            at = end + len(self._tag)
            self._inside = not self._inside
        rest = text[at:]
        longest = min(len(self._tag) - 1, len(rest))
        held = next(n for n in range(longest, -1, -1) if rest.endswith(self._tag[:n]))
        yield self._inside, rest[: len(rest) - held]
        self._held = rest[len(rest) - held :]

    @property
    def _tag(self) -> str:
        """The tag to look for next."""
        return self._close if self._inside else self._open

    def flush(self) -> Iterator[Chunk]:
        held, self._held = self._held, ""
        if held:
            yield Chunk(thinking=held) if self._inside else Chunk(held)


_NOTHING = Chunk()
