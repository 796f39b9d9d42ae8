"""The library's messages, in the words of the command line: options instead of Python arguments."""

from __future__ import annotations

import re
from collections.abc import Callable

from mellea_rx.core.options import ModelOption

__all__ = ["OPTIONS", "in_options"]

OPTIONS = {
    ModelOption.TEMPERATURE: "--temperature",
    ModelOption.SEED: "--seed",
    ModelOption.MAX_NEW_TOKENS: "--max-tokens",
    ModelOption.SYSTEM_PROMPT: "--system",
    ModelOption.STREAM_TIMEOUT: "--timeout",
}
"""The model options that have an option of the command line to themselves."""

_NAMES = "|".join(sorted((option.name for option in ModelOption), key=len, reverse=True))
_UNMISTAKABLE = "|".join(option.name for option in ModelOption if "_" in option.name)


def _option(found: re.Match[str]) -> str:
    name = (found["prefixed"] or found["bare"] or "").upper()
    option = ModelOption[name]
    named = OPTIONS.get(option)
    if named is None:
        return f"-o {option.value.removeprefix('@')}{found['given']}"
    return f"{named} " if found["given"] else named


_RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (
            rf"(?:ModelOption\.(?P<prefixed>{_NAMES})|\b(?P<bare>{_UNMISTAKABLE}))\b(?P<given>=?)",
            _option,
        ),
        (rf"'?@(?P<prefixed>{_NAMES.lower()})\b'?(?P<bare>)(?P<given>)", _option),
        (r", or use the embedded model: start_session\(\"local\"\)", ", or take --backend local"),
        (
            r"a model's name comes second: start_session\('(\w+)', '([^']+)'\)",
            r"name a model so: --backend \1 --model \2",
        ),
        (r", or give api_key=", ""),  # a command line can be read by others
        (r"start_session\(\s*[\"'](\w+)[\"']\s*\)", r"--backend \1"),
        (r"start_session\(([^()]*)\)", "another --backend"),
        (r"LocalBackend\(context_window=([^()]*)\)", r"-o context_window=\1"),
        (r" \((?:\w+\.)?Limits\([^()]*\)\)", ""),
        (r"\b(?:model_id|model)=", "--model "),
        (r"\bmodel_id\b", "--model"),
        (r"\bbase_url=?(?!\w)", "--base-url"),
        (r",? or give api_key=?(?!\w)", ""),  # a command line can be read by others
        (r"\bapi_key=?(?!\w)", "OPENAI_API_KEY"),
        (r",? or let a strategy [^()]*\(strategy=\w+\([^()]*\)\)", ""),
        (r",? or give strategy=\S+", ""),
        (r"\bmodel_options(?:=|\b)", "--option"),
        (r", or a RetryPolicy\b", ""),
        (r" must be an int\b", " must be a whole number"),
        (r" must be a str or a list of str\b", " must be text or a JSON list of texts"),
        (r" must be a str or a dict\b", " must be text or a JSON object"),
        (r" must be a bool or a str\b", " must be true, false or text"),
        (r" must be a bool\b", " must be true or false"),
        (r" must be a str\b", " must be text"),
        (r" or None\b", " or null"),
        (r"; None waits for ever\b", "; null waits for ever"),
        (r", not True\b", ", not true"),
        (r", not False\b", ", not false"),
        (r", not None\b", ", not null"),
    )
)


def in_options(message: str) -> str:
    """A message of the library, with the command line's options where it names Python's.

    Example:
        >>> in_options("ModelOption.MAX_NEW_TOKENS must be an int, 1 or more, not 0")
        '--max-tokens must be a whole number, 1 or more, not 0'
        >>> in_options("was it cut off by ModelOption.TOTAL_TIMEOUT?")
        'was it cut off by -o total_timeout?'
    """
    for pattern, words in _RULES:
        message = pattern.sub(words, message)
    return message
