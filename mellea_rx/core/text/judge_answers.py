"""The answer of a model as judge: the schema of its reason, and the reason in its own words.

The verdict comes first in the JSON, so that an answer that is cut off has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

JUDGE_TOKENS = 80
"""The maximum length of a judge's answer, in tokens."""

_LONGEST_REASON = 160
"""The maximum length of the reason in the schema, in characters."""

_SHOWN = 200
"""The maximum length of a reason in the judge's words, in characters."""

_REASON = re.compile(r'"reason"\s*:\s*("(?:[^"\\]|\\.)*)')


def judge_schema(name: str, verdict: Mapping[str, Any]) -> Mapping[str, Any]:
    """The JSON schema of a judge's answer: a verdict, and then a reason.

    Args:
        name: The name of the verdict.
        verdict: The verdict's schema.
    """
    return {
        "type": "object",
        "properties": {
            name: dict(verdict),
            "reason": {"type": "string", "maxLength": _LONGEST_REASON},
        },
        "required": [name, "reason"],
        "additionalProperties": False,
    }


def reason_of(answer: str) -> str | None:
    """The reason in the judge's own words: in JSON its `reason`, else the whole answer.

    Example:
        >>> reason_of('{"verdict": "no", "reason": "It is lou')
        'It is lou'
    """
    words = answer.strip()
    if words.startswith("{"):
        found = _REASON.search(words)
        try:
            words = "" if found is None else msgspec.json.decode(found[1] + '"', type=str)
        except msgspec.MsgspecError:  # cut off within an escape
            words = ""
    return words.strip()[:_SHOWN] or None
