"""A Llama of random weights, half a megabyte: a real llama.cpp where the text is no matter.

It babbles lower-case syllables without an end, some thousand a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from types import MappingProxyType

import gguf
import numpy as np

_WIDTH, _FEED_FORWARD, _HEADS, _BLOCKS = 64, 128, 4, 2
_CONTEXT = 8192
_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


def write_tiny_llama(
    path: Path,
    seed: int = 7,
    template: str = _TEMPLATE,
    more_tokens: Mapping[str, gguf.TokenType] = MappingProxyType({}),
) -> Path:
    """Write the model.

    Args:
        path: Where to.
        seed: Another one babbles differently.
        template: Its chat template.
        more_tokens: Further tokens and their types; it never says them.

    Returns:
        `path`.
    """
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_WIDTH)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_block_count(_BLOCKS)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    speakable, size = _add_tokens(writer, more_tokens)
    writer.add_chat_template(template)
    _add_weights(writer, np.random.default_rng(seed), speakable, size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokens(writer: gguf.GGUFWriter, more: Mapping[str, gguf.TokenType]) -> tuple[int, int]:
    """Returns where the tokens begin that it may say, and how many there are in all."""
    kinds = gguf.TokenType
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL, *[kinds.BYTE] * 256]
    tokens += more
    types += more.values()
    speakable = len(tokens)
    tokens += ["▁" + "".join(pair) for pair in product("bdfgklmnprst", "aeiou")]
    types += [kinds.NORMAL] * (len(tokens) - speakable)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(place) for place in range(len(tokens))])
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    return speakable, len(tokens)


def _add_weights(
    writer: gguf.GGUFWriter, random: np.random.Generator, speakable: int, size: int
) -> None:
    def matrix(rows: int, columns: int) -> np.ndarray:
        return random.normal(0, 0.3, (rows, columns)).astype(np.float32)

    head = 4 * matrix(size, _WIDTH)
    head[:speakable] = 0  # no end, and no half of a character
    writer.add_tensor("token_embd.weight", matrix(size, _WIDTH))
    writer.add_tensor("output_norm.weight", np.ones(_WIDTH, np.float32))
    writer.add_tensor("output.weight", head)
    for block in range(_BLOCKS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{block}.{name}.weight", np.ones(_WIDTH, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"blk.{block}.{name}.weight", matrix(_WIDTH, _WIDTH))
        for name in ("ffn_gate", "ffn_up"):
            writer.add_tensor(f"blk.{block}.{name}.weight", matrix(_FEED_FORWARD, _WIDTH))
        writer.add_tensor(f"blk.{block}.ffn_down.weight", matrix(_WIDTH, _FEED_FORWARD))
