"""Prompts from templates: only the author's is rendered, once, in a sandbox."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellea_rx import InvalidInputError, MelleaSession, ScriptedBackend, TemplateError
from mellea_rx.stdlib.components import Instruction


def prompt(description: str, **variables: Any) -> str:
    """The prompt that the model gets."""
    m = MelleaSession(ScriptedBackend("a"))
    m.instruct(description, user_variables=variables)
    content: str = m.backend.requests[-1].messages[-1].content  # type: ignore[attr-defined]
    return content


def test_variables_are_put_in() -> None:
    assert (
        prompt("Greet {{name}}, {{ times }} times.", name="Ada", times=2) == "Greet Ada, 2 times."
    )


def test_the_template_may_loop_and_choose() -> None:
    text = prompt("{% for x in xs %}[{{x}}]{% endfor %}{% if y %}y{% endif %}", xs=[1, 2], y=False)
    assert text == "[1][2]"


def test_without_user_variables_the_description_is_plain_text() -> None:
    m = MelleaSession(ScriptedBackend("a"))
    m.instruct("What is {{7*7}} in {% raw %}?")
    assert m.backend.requests[-1].messages[-1].content == "What is {{7*7}} in {% raw %}?"  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", ["{{7*7}}", "{% for x in y %}", "{# gone? #}", "{{ name }}"])
def test_a_value_that_looks_like_a_template_stays_what_it_is(value: str) -> None:
    assert prompt("Say {{name}}.", name=value) == f"Say {value}."
    assert prompt("Say {{names}}.", names=[value]) == f"Say {[value]}."
    assert prompt("Say {{d.k}}.", d={"k": value}) == f"Say {value}."


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(codec="utf-8")))
def test_any_value_stays_what_it_is(value: str) -> None:
    assert prompt("<{{value}}>", value=value) == f"<{value}>"


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip))
def test_any_plain_description_stays_what_it_is(text: str) -> None:
    m = MelleaSession(ScriptedBackend("a"))
    m.instruct(text)
    assert m.backend.requests[-1].messages[-1].content == text  # type: ignore[attr-defined]


def test_the_answer_of_another_call_is_a_value_too() -> None:
    m = MelleaSession(ScriptedBackend("{{7*7}}", "b"))
    first = m.instruct("Go.")
    m.instruct("Say {{it}}.", user_variables={"it": first})
    assert m.backend.requests[-1].messages[-1].content == "Say {{7*7}}."  # type: ignore[attr-defined]


def test_requirements_are_stated_and_never_rendered() -> None:
    m = MelleaSession(ScriptedBackend("a", "yes"))
    m.instruct("Say {{x}}.", user_variables={"x": 1}, requirements=["no {{x}} in it"])
    assert "- no {{x}} in it" in m.backend.requests[0].messages[-1].content  # type: ignore[attr-defined]


def test_a_missing_variable_is_an_error_that_names_it_and_those_given() -> None:
    with pytest.raises(TemplateError, match=r"'name', which was not given.*'nam'"):
        prompt("Greet {{name}}.", nam="Ada")


def test_a_missing_attribute_is_an_error() -> None:
    with pytest.raises(TemplateError, match="missing"):
        prompt("Greet {{d.missing}}.", d={"k": 1})


def test_a_template_that_does_not_parse_is_an_error_with_its_line() -> None:
    with pytest.raises(TemplateError, match="line 2"):
        prompt("Greet\n{{name", name="Ada")


def test_it_is_told_by_the_a_verb_at_once() -> None:
    async def main() -> None:
        backend = ScriptedBackend()
        with pytest.raises(TemplateError, match="name"):
            await MelleaSession(backend).ainstruct("Greet {{name}}.", user_variables={})
        assert backend.requests == ()

    asyncio.run(main())


@pytest.mark.parametrize(
    "escape",
    [
        "{{ ''.__class__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ x.__init__.__globals__ }}",
        "{{ x['__class__'] }}",
        "{{ x|attr('__class__') }}",
        "{{ xs.append(1) }}",
        "{{ d.update({'a': 1}) }}",
        "{{ '{0.__class__}'.format(x) }}",
        "{{ self.__init__ }}",
        "{{ cycler.__init__.__globals__ }}",
    ],
)
def test_a_template_cannot_get_out_of_its_sandbox(escape: str) -> None:
    values: dict[str, Any] = {"x": Instruction.template, "xs": [], "d": {}}
    with pytest.raises(TemplateError):
        prompt(escape, **values)
    assert (values["xs"], values["d"]) == ([], {})


def test_the_dict_that_was_given_is_left_alone() -> None:
    given = {"name": "{{7*7}}", "items": ["{{x}}"]}
    m = MelleaSession(ScriptedBackend("a"))
    m.instruct("{{name}} {{items}}", user_variables=given)
    assert given == {"name": "{{7*7}}", "items": ["{{x}}"]}


def test_an_error_in_a_values_own_code_is_told() -> None:
    class Broken:
        def __str__(self) -> str:
            raise ZeroDivisionError("oops")

    with pytest.raises(TemplateError, match="ZeroDivisionError: oops"):
        prompt("Say {{x}}.", x=Broken())


@pytest.mark.parametrize(("text", "told"), [("", "empty"), ("  \n", "empty"), (5, "not int")])
def test_an_empty_prompt_is_refused(text: Any, told: str) -> None:
    backend = ScriptedBackend()
    m = MelleaSession(backend)
    for call in (
        lambda: m.instruct(text),
        lambda: m.chat(text),
        lambda: m.query("obj", text),
        lambda: m.transform("obj", text),
    ):
        with pytest.raises(InvalidInputError, match=told):
            call()
    assert backend.requests == ()


def test_variables_that_are_no_dict_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="user_variables"):
        MelleaSession(ScriptedBackend()).instruct("Go.", user_variables=["x"])  # type: ignore[arg-type]


def test_what_is_no_component_is_refused_by_act() -> None:
    with pytest.raises(InvalidInputError, match="instruct"):
        MelleaSession(ScriptedBackend()).act("Go.")  # type: ignore[arg-type]
