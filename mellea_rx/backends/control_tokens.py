"""Breaks a model's control tokens in the text of a prompt, so that no text can end its message.

llama.cpp tokenises the prompt of a chat as one string: "<|im_end|>" in a user's text becomes the
same token as the one that the chat template writes. It cannot distinguish the two yet (llama.cpp's
issue 28249). So an invisible character is inserted into such text. `LocalRequest` uses this module.
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
"""WORD JOINER: it has no width, and no line is broken at it."""
_SPARE_JOINERS = "\u200b\u200c\u200d\ufeff"

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4

# Tokens that llama.cpp treats as control tokens, whatever their type in the file.
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
    """A model's control tokens, which must not occur in the text of a prompt.

    Args:
        tokens: The texts of the tokens. Tokens of one character cannot be broken and are ignored.

    Attributes:
        joiner: The invisible character that is inserted into them.
    """

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        self._tokens = frozenset(token for token in tokens if len(token) > 1)
        self._lengths = sorted({len(token) for token in self._tokens})
        beginnings = "|".join(sorted({re.escape(token[:2]) for token in self._tokens}))
        # A match of zero width, so that overlapping tokens are all found.
        self._beginning = re.compile(f"(?={beginnings})") if beginnings else None
        used = frozenset("".join(self._tokens))
        self.joiner = next((each for each in JOINER + _SPARE_JOINERS if each not in used), JOINER)

    def broken(self, text: str) -> str:
        """The text with `joiner` inserted after the first character of each control token.

        The result contains no control token; without the joiners it equals the text.
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
        """A JSON value with all its strings `broken`, except the keys of objects."""
        if isinstance(value, str):
            return self.broken(value)
        if isinstance(value, (list, tuple)):
            return [self.broken_in(each) for each in value]
        if isinstance(value, dict):
            return {key: self.broken_in(each) for key, each in value.items()}
        return value

    def _is_at(self, text: str, start: int) -> bool:
        # One look-up for each length: a thousand tokens have only a few.
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
    """The tokens of a vocabulary that llama.cpp recognises in text, and that have a function.

    These are the tokens of the types "control" and "unknown", and those of the type "user-defined"
    that a template of the model writes, or whose name is like "<start_of_turn>". Other user-defined
    tokens (HTML tags, runs of spaces) are plain text.

    Args:
        tokens: The vocabulary, in UTF-8.
        types: The type of each token, by GGUF's numbers; may be shorter, or empty.
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
