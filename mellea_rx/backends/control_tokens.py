"""Control tokens of a model, kept out of text: a prompt's text cannot end its turn.

llama.cpp tokenises a chat's prompt as one string, so that "<|im_end|>" in somebody's text would be
the same token as the one that the template writes. It has no way yet to tell the two apart
(llama.cpp's issue 28249), so an invisible character is put into such text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat, zip_longest
from pathlib import Path
from typing import Any

from mellea_rx.backends.gguf_metadata import read_metadata
from mellea_rx.errors import ModelFileError

__all__ = ["JOINER", "ControlTokens", "control_tokens_of", "read_control_tokens"]

JOINER = "\u2060"
"""WORD JOINER: has no width, and allows no line break."""
_SPARE_JOINERS = "\u200b\u200c\u200d\ufeff"

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4

# Tokens that llama.cpp takes for control tokens whatever type the file gives them.
_MARKED = re.compile(r"<[|｜].+>|<.+[|｜]>", re.DOTALL)
_NAMED = frozenset(
    {
        *("</s>", "<eos>", "<end_of_turn>", "<end_of_utterance>", "[EOS]", "[e~["),
        *("<EOT>", "_<EOT>", "[EOT]", "<PAD>", "[PAD]", "<fim-pad>", "<fim_pad>"),
        *("<PRE>", "▁<PRE>", "<fim-prefix>", "<fim_prefix>", "<REPO>", "<fim-repo>", "<reponame>"),
        *("<SUF>", "▁<SUF>", "<fim-suffix>", "<fim_suffix>"),
        *("<MID>", "▁<MID>", "<fim-middle>", "<fim_middle>"),
    }
)
_TAG = re.compile(r"[<\[]/?\w*_\w*[>\]]")
_BRACKETED = re.compile(r"\W\S*\w\S*\W", re.DOTALL)

_KEYS = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_TEMPLATE = "tokenizer.chat_template"


class ControlTokens:
    """Texts that must not stand in a prompt's text as they are.

    Args:
        tokens: The control tokens' texts. Tokens of one character cannot be broken, and are left
            alone.

    Attributes:
        joiner: The invisible character that breaks them.
    """

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        self._tokens = frozenset(token for token in tokens if len(token) > 1)
        self._lengths = sorted({len(token) for token in self._tokens})
        beginnings = "|".join(sorted({re.escape(token[:2]) for token in self._tokens}))
        # Zero-width, so that tokens that overlap are all found.
        self._beginning = re.compile(f"(?={beginnings})") if beginnings else None
        used = frozenset("".join(self._tokens))
        self.joiner = next((each for each in JOINER + _SPARE_JOINERS if each not in used), JOINER)

    def broken(self, text: str) -> str:
        """The text with `joiner` after the first character of each control token in it.

        No control token is left in it; without the joiners it is the text again.
        """
        if self._beginning is None:
            return text
        cuts = [match.start() + 1 for match in self._beginning.finditer(text)]
        cuts = [cut for cut in cuts if self._is_at(text, cut - 1)]
        if not cuts:
            return text
        pieces = (text[start:end] for start, end in zip_longest([0, *cuts], cuts))
        return self.joiner.join(pieces)

    def broken_in(self, value: Any) -> Any:
        """A JSON value with `broken` texts; the keys of objects stay."""
        if isinstance(value, str):
            return self.broken(value)
        if isinstance(value, (list, tuple)):
            return [self.broken_in(each) for each in value]
        if isinstance(value, dict):
            return {key: self.broken_in(each) for key, each in value.items()}
        return value

    def _is_at(self, text: str, start: int) -> bool:
        # By length, so that a thousand tokens cost no more than their few lengths.
        return any(text[start : start + length] in self._tokens for length in self._lengths)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tokens)

    def __len__(self) -> int:
        return len(self._tokens)


def read_control_tokens(path: Path) -> ControlTokens:
    """The control tokens of a model's vocabulary.

    Args:
        path: A GGUF file.

    Raises:
        ModelFileError: Its metadata cannot be read.
    """
    found = read_metadata(path, lambda key: key in _KEYS or key.startswith(_TEMPLATE))
    tokens, types = (found.get(key, []) for key in _KEYS)
    if not (_is_array_of(bytes, tokens) and _is_array_of(int, types)):
        raise ModelFileError(f"the vocabulary in {path} is damaged")
    templates = [value for value in found.values() if isinstance(value, bytes)]
    return ControlTokens(control_tokens_of(tokens, types, templates))


def _is_array_of(kind: type, value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


def control_tokens_of(
    tokens: Sequence[bytes], types: Sequence[int], templates: Sequence[bytes]
) -> Iterator[str]:
    """Those tokens of a vocabulary that llama.cpp finds in text, and that mean something there.

    Tokens of the types "control" and "unknown" are such. So are tokens of the type "user-defined"
    that a template of the model writes, or that are named like "<start_of_turn>"; others of them
    (HTML tags, runs of spaces) are text.

    Args:
        tokens: The vocabulary, in UTF-8.
        types: The type of each token, as GGUF numbers them; may be shorter or missing.
        templates: The model's chat templates, in UTF-8.
    """
    for token, kind in zip(tokens, chain(types, repeat(_NORMAL)), strict=False):
        text = token.decode("utf-8", "replace")
        special = kind in (_CONTROL, _UNKNOWN) or text in _NAMED or _MARKED.fullmatch(text)
        if special or (kind == _USER_DEFINED and _is_markup(text, token, templates)):
            yield text


def _is_markup(text: str, token: bytes, templates: Sequence[bytes]) -> bool:
    if _TAG.fullmatch(text):
        return True
    return bool(_BRACKETED.fullmatch(text)) and any(token in each for each in templates)
