"""A schema that takes for ever holds neither the interpreter nor a thread."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellea_rx import FormatError, InvalidInputError, MelleaSession, ModelOption, ScriptedBackend
from mellea_rx.errors import TotalTimeoutError
from mellea_rx.stdlib.formats import as_format
from mellea_rx.stdlib.formats import bounded_checks as limits
from tests.core.hand import soon, until_blocking

SLOW = "^(a|aa)+$"
LONG = "a" * 100 + "b"
NEVER: dict[str, tuple[dict[str, Any], Any]] = {
    "pattern": ({"type": "string", "pattern": SLOW}, LONG),
    "pattern, of a dialect": (
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": ["object", "string"],
            "pattern": SLOW,
            "properties": {"a": {"$ref": "#"}},
        },
        {"a": LONG},
    ),
    "pattern, in draft 7": (
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": {"pattern": SLOW}},
        [LONG],
    ),
    "propertyNames": ({"propertyNames": {"pattern": SLOW}}, {LONG: 1}),
    "patternProperties": ({"patternProperties": {SLOW: {"type": "string"}}}, {LONG: 1}),
    "additionalProperties": (
        {"patternProperties": {SLOW: {}}, "additionalProperties": False},
        {LONG: 1},
    ),
    "unevaluatedProperties": (
        {"allOf": [{"patternProperties": {SLOW: {}}}], "unevaluatedProperties": False},
        {LONG: 1},
    ),
    "references": (
        {
            "$defs": {
                "node": {
                    "anyOf": [
                        {"properties": {"x": {"$ref": "#/$defs/node"}}, "required": ["y"]},
                        {"properties": {"x": {"$ref": "#/$defs/node"}}, "required": ["z"]},
                    ]
                }
            },
            "$ref": "#/$defs/node",
        },
        json.loads('{"x":' * 60 + "{}" + "}" * 60),
    ),
}


def is_checking() -> bool:
    """Whether any thread is in the code that checks formats."""
    frames = list(sys._current_frames().values())
    for frame in frames:
        here: Any = frame
        while here is not None:
            if "stdlib/formats" in here.f_code.co_filename.replace("\\", "/"):
                return True
            here = here.f_back
    return False


@pytest.mark.parametrize("name", NEVER)
def test_it_ends_with_its_call_and_others_go_on_meanwhile(name: str) -> None:
    schema, value = NEVER[name]
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.002)
            turns += 1

    async def main() -> None:
        watching = asyncio.create_task(watch())
        m = MelleaSession(ScriptedBackend([json.dumps(value)]))
        brief = {ModelOption.TOTAL_TIMEOUT: 0.3}
        thunk = await m.ainstruct("Go.", format=schema, model_options=brief)
        with pytest.raises(TotalTimeoutError):
            await soon(thunk.avalue(), 30)
        watching.cancel()
        assert turns
        other = await m.ainstruct("Go.", format={"type": ["object", "array", "string"]})
        await soon(other.avalue(), 30)

    asyncio.run(main())
    until_blocking(lambda: not is_checking(), 30)


@pytest.mark.parametrize("name", NEVER)
def test_without_a_limit_on_the_call_it_is_an_answer_that_does_not_fit(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LIMIT", 0.1)
    schema, value = NEVER[name]
    with pytest.raises(FormatError, match=r"could not be checked in 0\.1 s: a pattern") as caught:
        as_format(schema).decode(json.dumps(value))  # type: ignore[union-attr]
    assert caught.value.text == json.dumps(value)


def test_many_items_are_told_apart_in_linear_time() -> None:
    form = as_format({"type": "array", "uniqueItems": True})
    assert form is not None
    items = [{"n": n, "of": [n, str(n)]} for n in range(10_000)]
    before = time.thread_time()
    assert form.decode(json.dumps(items)) == items
    with pytest.raises(FormatError, match="items 7 and 10000 are equal") as caught:
        form.decode(json.dumps([*items, items[7]]))
    assert time.thread_time() - before < limits.LIMIT
    assert len(str(caught.value)) < 1000


def test_what_a_message_shows_of_a_large_answer_is_short() -> None:
    form = as_format({"type": "array", "maxItems": 3})
    assert form is not None
    with pytest.raises(FormatError, match="is too long") as caught:
        form.decode(json.dumps(list(range(100_000))))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "(a"},
        {"properties": {"pattern": {"pattern": "[z-a]"}}},
        {"patternProperties": {"*": {}}},
        {
            "items": [{"anyOf": [{"pattern": "(?P<"}]}],
            "$schema": "http://json-schema.org/draft-07/schema#",
        },
        {"pattern": "(" * 5000 + ")" * 5000},
    ],
)
def test_what_is_no_pattern_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidInputError, match="is not a regular expression"):
        as_format(schema)


def test_what_is_no_keyword_is_no_pattern() -> None:
    schema = {
        "properties": {"pattern": {"enum": [{"pattern": "(a"}]}},
        "const": {"pattern": {"pattern": "(a"}},
    }
    form = as_format(schema)
    assert form is not None
    value = {"pattern": {"pattern": "(a"}}
    assert form.decode(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        (r"^(?=.*\d)(?=.*[a-z]).{4,}$", "abc1", "abcd"),
        (r"^(.)\1$", "aa", "ab"),
        (r"\bword\b", "a word here", "swords"),
        (r"^\p{Lu}", "Ä", "ä"),
        (r"^[^\s@]+@[^\s@]+\.[a-z]+$", "a@b.org", "a@b"),
    ],
)
def test_patterns_mean_what_they_mean(pattern: str, fits: str, does_not: str) -> None:
    form = as_format({"type": "string", "pattern": pattern})
    assert form is not None
    assert form.decode(json.dumps(fits)) == fits
    with pytest.raises(FormatError, match="does not match"):
        form.decode(json.dumps(does_not))


# The keywords that are not jsonschema's own judge as its own do.

NAMES = st.sampled_from(["a", "ab", "b", "c"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.sampled_from([0, 1, 1.0, 2, 0.5]) | NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
LEAVES = st.sampled_from(
    [
        {},
        True,
        False,
        {"type": "string"},
        {"type": "integer"},
        {"type": "object"},
        {"pattern": "^a"},
    ]
)


def objects(inner: Any) -> Any:
    """Schemas of objects, with the keywords that evaluate properties."""
    named = st.dictionaries(NAMES, inner, max_size=2)
    patterns = st.dictionaries(st.sampled_from(["^a", "b$", "."]), inner, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "properties": named,
            "patternProperties": patterns,
            "additionalProperties": inner,
            "unevaluatedProperties": inner,
            "dependentSchemas": named,
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "if": inner,
            "then": inner,
            "else": inner,
            "$ref": st.just("#/$defs/shared"),
        },
    )


SCHEMAS = st.recursive(LEAVES, objects, max_leaves=8)


@settings(max_examples=150, deadline=None)
@given(value=VALUES, own=objects(SCHEMAS), shared=LEAVES | objects(LEAVES))
def test_keywords_of_objects_judge_as_jsonschemas_do(value: Any, own: Any, shared: Any) -> None:
    if isinstance(shared, dict):
        shared = {name: each for name, each in shared.items() if name != "$ref"}
    schema = {**own, "$defs": {"shared": shared}}
    assert fits(schema, value) is jsonschema.Draft202012Validator(schema).is_valid(value)


@settings(max_examples=150, deadline=None)
@given(items=st.lists(VALUES, max_size=5))
def test_items_are_unique_as_jsonschema_has_it(items: list[Any]) -> None:
    schema = {"uniqueItems": True}
    assert fits(schema, items) is jsonschema.Draft202012Validator(schema).is_valid(items)


def fits(schema: Any, value: Any) -> bool:
    form = as_format(schema)
    assert form is not None
    try:
        form.decode(json.dumps(value))
    except FormatError:
        return False
    return True
