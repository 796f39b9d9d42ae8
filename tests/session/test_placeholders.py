"""Placeholders that are never filled: unused variables are refused, unrendered texts warned of."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx import MelleaSession, ScriptedBackend, TemplateError, react
from mellea_rx.core.text.placeholders import _warnings_of, names_in, placeholder_in
from mellea_rx.stdlib.components import Document
from mellea_rx.stdlib.requirements import check, req


@pytest.fixture(autouse=True)
def _nothing_was_warned_of() -> None:
    _warnings_of.cache_clear()


def shout(text: str) -> str:
    """Shout."""
    return text.upper()


def session() -> MelleaSession:
    return MelleaSession(ScriptedBackend("yes"))


@pytest.mark.parametrize(
    ("description", "told"),
    [
        ("Sum up: {text}", r"\(\{text\} is plain text\): write \{\{text\}\} where its value goes"),
        ("Sum it up.", r"user_variables has 'text', which the description does not use: write"),
        ("Sum up: {{texts}}", r"reads 'texts', which was not given \(user_variables has: 'text'\)"),
        ("{% set text = 1 %}{{ text }}", "user_variables has 'text'"),
        ("Sum up: {{text", "does not parse"),
        ("Sum up {# text #}", "user_variables has 'text'"),
    ],
)
def test_a_variable_that_the_description_does_not_use_is_refused(
    description: str, told: str
) -> None:
    m = session()
    for call in (m.instruct, lambda d, **how: react(m, d, [shout], **how)):
        with pytest.raises(TemplateError, match=told):
            call(description, user_variables={"text": "x"})  # type: ignore[operator]


@pytest.mark.parametrize(
    "description",
    [
        "{{text}}",
        "{{ text | upper }}",
        "{% if text %}a{% endif %}",
        "{% for word in text %}{{ word }}{% endfor %}",
        "{%- set other = text -%}{{ other }}",
        "{% set text = text + '!' %}{{ text }}",
        "{{ '%s' % text }}",
    ],
)
def test_every_way_to_use_a_variable_counts(description: str) -> None:
    session().instruct(description, user_variables={"text": "x"})


def test_no_variables_at_all_is_a_template_too() -> None:
    m = session()
    m.instruct("{{ 1 + 1 }}", user_variables={})
    assert m.backend.requests[-1].messages[-1].content == "2"  # type: ignore[attr-defined]


ELSEWHERE: dict[str, dict[str, Any]] = {
    "requirement": {"requirements": ["Mention {{name}}."]},
    "req": {"requirements": [req("Mention {{ name }}.")]},
    "example": {"icl_examples": ["Dear {{name}},"]},
    "context": {"grounding_context": {"letter": "Dear {{name}},"}},
    "prefix": {"prefix": "Dear {{name}},"},
}
PLACES = {
    "requirement": "a requirement",
    "req": "a requirement",
    "example": "an example",
    "context": "the grounding context",
    "prefix": "the prefix",
}


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_a_placeholder_elsewhere_is_warned_of_once_and_counts_as_use(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        m = session()
        m.instruct("Greet {{other}}.", user_variables={"other": 1, "name": "x"}, **ELSEWHERE[kind])
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    [told] = [each for each in warnings if "stays as it is" in each]
    assert told.startswith(f"{PLACES[kind]} has a placeholder in double braces")
    assert "name" not in told  # prompts are no content of warnings
    assert "only the description is rendered" in told


def test_a_description_without_variables_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    session().instruct("Greet {{name}}.")
    assert "the description has a placeholder in double braces, which stays as it is" in caplog.text


def test_a_check_is_warned_of_too(caplog: pytest.LogCaptureFixture) -> None:
    session().validate(check("Is {{name}} greeted?"), output="Hello.")
    assert "a requirement has a placeholder" in caplog.text


@pytest.mark.parametrize(
    "text",
    ["{name}", "{{}}", "a }} b {{ c", "{% if x %}", "{{ 'a' + b }}", "f({{a: 1}})", "style={{ }}"],
)
def test_other_braces_are_not_warned_of(text: str, caplog: pytest.LogCaptureFixture) -> None:
    session().instruct(text, icl_examples=[text], grounding_context=[text], requirements=[text])
    assert "stays as it is" not in caplog.text


def test_documents_and_chats_are_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    m = session()
    m.instruct("Explain it.", grounding_context=[Document("Hello {{name}}.")])
    m.chat("Hello {{name}}.")
    assert "stays as it is" not in caplog.text


@given(st.text(alphabet="{}%# ab_.\n", max_size=200))
def test_any_text_is_looked_through(text: str) -> None:
    assert all(name in text for name in names_in(text))
    found = placeholder_in(text)
    assert found is None or found in text


def test_a_long_text_of_braces_takes_no_time() -> None:
    for text in ("{{" * 200_000, "{{ a" * 100_000, "{{" + " " * 400_000, "{{a" + "b" * 400_000):
        names_in(text)
        placeholder_in(text)
