"""A description's text is the one that Jinja renders, however the library puts it together."""

from __future__ import annotations

from typing import Any

import jinja2
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx import MelleaSession, ScriptedBackend

TEXTS = st.text(st.sampled_from("ab é{}%#\n\t'\"\\"), max_size=8)
BLOCKS = st.sampled_from(
    ["{# a note #}", "{% raw %}{{ a }}{% endraw %}", "{{- a -}}", "{{ a | upper }}", "{{ 1 + 1 }}"]
)
PLACES = st.sampled_from(["{{ a }}", "{{b}}", "{{ a}}{{ b }}"])
VALUES = st.one_of(
    TEXTS, st.integers(), st.floats(), st.booleans(), st.none(), st.lists(TEXTS, max_size=2)
)


@given(st.lists(st.one_of(TEXTS, PLACES, BLOCKS), max_size=6), VALUES, VALUES)
def test_a_description_is_rendered_as_jinja_renders_it(pieces: list[str], a: Any, b: Any) -> None:
    source = "x" + "".join(pieces) + "{{ a }} {{ b }}"
    environment = jinja2.Environment(keep_trailing_newline=True, autoescape=False)
    try:
        expected = environment.from_string(source).render(a=a, b=b)
    except jinja2.TemplateSyntaxError:
        return
    backend = ScriptedBackend("yes")
    MelleaSession(backend).instruct(source, user_variables={"a": a, "b": b})
    assert backend.requests[-1].messages[-1].content == expected
