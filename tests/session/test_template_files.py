"""A folder of templates: each file takes the place of the library's template of its name."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mellea_rx import (
    ChatContext,
    MelleaSession,
    ModelOption,
    PreconditionError,
    ScriptedBackend,
    TemplateError,
    generative,
    start_session,
)
from mellea_rx.backends import Capabilities
from mellea_rx.stdlib.components import Document, Message, ToolMessage
from mellea_rx.stdlib.context import Summary
from mellea_rx.stdlib.formats import OutputFormat
from mellea_rx.stdlib.prompts.renderer import variables_of
from mellea_rx.stdlib.requirements import check, simple_validate, stream_judge
from mellea_rx.stdlib.sampling import BestOfN, MultiTurn, RejectionSampling, RepairTemplate
from mellea_rx.stdlib.session.template_overrides import TEMPLATES
from tests.core.hand import soon, until_blocking
from tests.docs.pages import table_rows
from tests.session.test_dependencies import echo


def folder(path: Path, **files: str) -> Path:
    """A folder with these templates."""
    for name, text in files.items():
        (path / f"{name}.jinja").write_text(text, "utf-8")
    return path


def prompts(m: MelleaSession) -> list[str]:
    """All that each request says."""
    return ["\n".join(message.content for message in each.messages) for each in m.backend.requests]  # type: ignore[attr-defined]


class Plain(ScriptedBackend):
    capabilities = Capabilities()


@generative
def summary(text: str) -> str:
    """Sum it up."""


def x() -> None:
    """A tool."""


def refuse_to_sum_up(m: MelleaSession) -> None:
    """Have the model judge the arguments: "a" is no verdict."""
    with pytest.raises(PreconditionError):
        summary.using(preconditions="y")(m, text="x")


def sum_up(m: MelleaSession) -> None:
    """Have a turn summed up; its request comes after that of the turn at hand."""
    m.ctx = ChatContext(compactor=lambda history: [Summary(history)])
    m.chat("x")
    m.chat("y")
    until_blocking(lambda: len(prompts(m)) == 3)


NEVER = check("x", simple_validate(lambda _: False))

USES: dict[str, Any] = {
    "arguments": refuse_to_sum_up,
    "continue": lambda m: m.instruct("Go.", prefix="x"),
    "document": lambda m: m.instruct("Go.", grounding_context=[Document("x")]),
    "format": lambda m: m.instruct("x", format=OutputFormat("anything", {}, str)),
    "function": lambda m: summary(m, text="x"),
    "instruction": lambda m: m.instruct("x"),
    "judge": lambda m: m.validate("x", output="y"),
    "message": lambda m: m.chat("x"),
    "object": lambda m: m.query("x", "What?"),
    "query": lambda m: m.query("x", "What?"),
    "repair": lambda m: m.instruct("Go.", requirements=NEVER, strategy=RepairTemplate()),
    "repair_turn": lambda m: m.instruct("Go.", requirements=NEVER, strategy=MultiTurn()),
    "stream_judge": lambda m: m.instruct(
        "Go.", requirements=stream_judge("x"), strategy=RejectionSampling(1)
    ),
    "score_judge": lambda m: m.instruct("Go.", strategy=BestOfN(1, judge="x")),
    "summary": sum_up,
    "tool_message": lambda m: m.act(ToolMessage("f", "x")),
    "tool_results": lambda m: m.act(ToolMessage("f", "x")),
    "tools": lambda m: m.instruct("Go.", model_options={ModelOption.TOOLS: [x]}),
    "transform": lambda m: m.transform("x", "Shorten."),
}


def test_every_template_has_its_use_here() -> None:
    assert set(USES) == set(TEMPLATES)


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_template_can_be_replaced_with_all_its_variables(name: str, tmp_path: Path) -> None:
    variables = sorted(variables_of(TEMPLATES[name].source))
    text = "OURS " + " ".join(f"{{{{ {each} }}}}" for each in variables)
    m = MelleaSession(Plain("a"), templates=folder(tmp_path, **{name: text}))
    USES[name](m)
    assert "OURS" in prompts(m)[-1]
    assert "x" in prompts(m)[-1]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_copy_of_a_template_changes_nothing(name: str, tmp_path: Path) -> None:
    copy = MelleaSession(
        Plain("a"), templates=folder(tmp_path, **{name: TEMPLATES[name].source + "\n"})
    )
    own = MelleaSession(Plain("a"))
    for m in (copy, own):
        USES[name](m)
    assert prompts(copy) == prompts(own)


def test_a_session_has_its_own(tmp_path: Path) -> None:
    ours = folder(tmp_path, message="OURS {{ content }}")
    backend = ScriptedBackend("a")
    with_files, without = MelleaSession(backend, templates=ours), MelleaSession(backend)
    for m in (with_files, without, with_files.clone()):
        m.chat("Hi.")
    assert prompts(without) == ["OURS Hi.", "Hi.", "OURS Hi."]


def test_they_hold_for_a_call_that_waits_and_for_nested_parts(tmp_path: Path) -> None:
    ours = folder(tmp_path, instruction="OURS {{ description }}", message="M {{ content }}")

    async def main() -> None:
        m = MelleaSession(ScriptedBackend("draft", echo), templates=ours)
        first = await m.ainstruct("Draft.")
        values = {"it": first, "part": Message("x")}
        second = await m.ainstruct("{{it}} {{part}}", user_variables=values)
        assert await soon(second.avalue()) == "<OURS draft M x>"

    asyncio.run(main())


def test_they_are_read_once_at_the_start(tmp_path: Path) -> None:
    m = MelleaSession(ScriptedBackend("a"), templates=folder(tmp_path, message="1 {{ content }}"))
    folder(tmp_path, message="2 {{ content }}")
    m.chat("Hi.")
    assert prompts(m) == ["1 Hi."]


def test_values_are_not_rendered_there_either(tmp_path: Path) -> None:
    m = MelleaSession(ScriptedBackend("a"), templates=folder(tmp_path, message="{{ content }}!"))
    m.chat("{{7*7}}")
    assert prompts(m) == ["{{7*7}}!"]


def test_a_template_may_leave_variables_out(tmp_path: Path) -> None:
    m = MelleaSession(ScriptedBackend("a"), templates=folder(tmp_path, instruction="Always this."))
    m.instruct("Go.", icl_examples=["x"])
    assert prompts(m) == ["Always this."]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("instruktion.jinja", "x", r"instruktion\.jinja .*did you mean instruction\.jinja\?"),
        ("nothing.jinja", "x", r"There are: arguments\.jinja, continue\.jinja, document\.jinja, "),
        ("message.j2", "{{ content }}", r"message\.j2 .*did you mean message\.jinja\?"),
        ("message.jinja", "{{ content", r"message\.jinja: the template does not parse \(line 1\)"),
        ("message.jinja", "a\n{% if %}", r"message\.jinja: .*\(line 2\)"),
        ("message.jinja", "{{ content|gone }}", r"message\.jinja: .*gone"),
        ("message.jinja", "{{ text }}", r"message\.jinja: it reads 'text', .*\(it has: content\)"),
        ("message.jinja", "{% include 'x' %}", r"message\.jinja: .*includes or extends"),
        ("message.jinja", "{% extends content %}", r"message\.jinja: .*includes or extends"),
        ("message.jinja", "\udcff", r"cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_at_the_door(
    name: str, text: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(TemplateError, match=told):
        MelleaSession(ScriptedBackend(), templates=tmp_path)


@pytest.mark.parametrize("wrong", ["gone", 5])
def test_a_folder_that_cannot_be_read_is_named(wrong: Any, tmp_path: Path) -> None:
    given = tmp_path / wrong if isinstance(wrong, str) else wrong
    with pytest.raises(TemplateError, match=str(wrong)):
        MelleaSession(ScriptedBackend(), templates=given)


def test_hidden_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".message.jinja.swp").write_text("{{", "utf-8")
    assert MelleaSession(ScriptedBackend("a"), templates=tmp_path).chat("Hi.").value == "a"


def test_start_session_takes_the_folder_or_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.setenv("MELLEA_RX_TEMPLATES", str(folder(tmp_path / "a", message="A")))
    given = folder(tmp_path / "b", message="B")
    sessions = [start_session("scripted"), start_session("scripted", templates=given)]
    for m in sessions:
        m.chat("Hi.")
    assert [prompts(m) for m in sessions] == [["A"], ["B"]]
    monkeypatch.setenv("MELLEA_RX_TEMPLATES", str(tmp_path / "gone"))
    with pytest.raises(TemplateError, match="gone"):
        start_session("scripted")


def test_the_page_lists_every_template_with_its_variables() -> None:
    rows = table_rows("docs/prompts.md", "## Templates")[1:]
    listed = {row[0].strip("`"): {each.strip(" `") for each in row[1].split(",")} for row in rows}
    assert listed == {n: set(variables_of(t.source)) for n, t in TEMPLATES.items()}
