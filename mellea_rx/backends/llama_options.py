"""The options of llama.cpp's chat completions besides the standard ones, for `LocalBackend`."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from mellea_rx.core.spelling import nearest
from mellea_rx.errors import OptionError

__all__ = ["LLAMA_OPTIONS", "require_known"]

_SAMPLING = [
    "adaptive_decay",
    "adaptive_target",
    "backend_sampling",
    "dry_allowed_length",
    "dry_base",
    "dry_multiplier",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
    "dynatemp_exponent",
    "dynatemp_range",
    "frequency_penalty",
    "ignore_eos",
    "logit_bias",
    "logprobs",
    "min_keep",
    "min_p",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
    "n_probs",
    "post_sampling_probs",
    "presence_penalty",
    "repeat_last_n",
    "repeat_penalty",
    "samplers",
    "top_k",
    "top_logprobs",
    "top_n_sigma",
    "top_p",
    "typical_p",
    "xtc_probability",
    "xtc_threshold",
]

_FORM = [
    "add_generation_prompt",
    "chat_template_kwargs",
    "continue_final_message",
    "grammar",
    "grammar_lazy",
    "grammar_triggers",
    "json_schema",
    "preserved_tokens",
    "reasoning_budget_message",
    "reasoning_budget_tokens",
    "reasoning_format",
    "response_format",
    "thinking_budget_tokens",
]

_RUNNING = [
    "cache_prompt",
    "id_slot",
    "lora",
    "n",
    "n_cache_reuse",
    "n_discard",
    "n_indent",
    "n_keep",
    "return_tokens",
    "t_max_predict_ms",
    "timings_per_token",
    "verbose",
]

LLAMA_OPTIONS = frozenset([*_SAMPLING, *_FORM, *_RUNNING])
"""The parameters that llama.cpp's server (tools/server) reads in a chat completion."""


def require_known(names: Iterable[str]) -> None:
    """Check that llama.cpp knows all options. It would ignore an unknown one.

    Raises:
        OptionError: An option is unknown; the message names it and the most similar one.
    """
    for name in names:
        if name not in LLAMA_OPTIONS:
            similar = nearest(name, LLAMA_OPTIONS) or next(
                iter(get_close_matches(name, LLAMA_OPTIONS, n=1)), None
            )
            hint = f"; did you mean {similar!r}?" if similar else ""
            raise OptionError(f"the embedded model has no option {name!r}{hint}")
