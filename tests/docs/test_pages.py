"""The documentation names what there is, all of it, and nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer

from mellea_rx import LocalBackend, ModelOption, errors
from mellea_rx.backends import Options, Request, RequestMessage
from mellea_rx.backends.local import LocalRequest
from mellea_rx.backends.model_files import ControlTokens
from mellea_rx.backends.ollama import OllamaDialect
from mellea_rx.backends.openai import OpenAIDialect
from mellea_rx.cli.app import app
from mellea_rx.cli.exit_codes import MEANINGS
from mellea_rx.errors import OptionError
from mellea_rx.stdlib.pipeline.generate import check
from tests.docs.pages import NAMES, ROOT, prose_of, table_rows

DOCS = "\n".join((ROOT / name).read_text("utf-8") for name in NAMES)


def anchors(name: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose_of(name), re.M)
    return {re.sub(r"[^\w\- ]", "", each).strip().lower().replace(" ", "-") for each in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)]+)\)", prose_of(name)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(str(there.relative_to(ROOT))), target


def test_files_that_are_named_exist() -> None:
    named = re.findall(r"`((?:mellea_rx|tests|docs|examples|benchmarks|\.ci)/[\w./-]*)", DOCS)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_error_is_explained() -> None:
    rows = table_rows("docs/errors.md", "## The tree")
    explained = [re.search(r"`(\w+)`", row[0]) for row in rows[1:]]
    assert sorted(found[1] for found in explained if found) == errors.__all__


def test_the_tree_is_the_tree() -> None:
    path: list[type[BaseException]] = [Exception]
    for first, *_ in table_rows("docs/errors.md", "## The tree")[1:]:
        found = re.search(r"`(\w+)`", first)
        assert found is not None
        kind = getattr(errors, found[1])
        depth = 1 if kind is errors.MelleaRxError else 2 + first.count("⎿")
        path = path[:depth]
        assert path[-1] in kind.__bases__, kind
        path.append(kind)


def test_every_option_is_explained() -> None:
    rows = table_rows("docs/options.md", "# Model options")
    assert [row[0] for row in rows[1:]] == [f"`{option}`" for option in ModelOption]


SAMPLES: dict[ModelOption, list[Any]] = {
    ModelOption.TEMPERATURE: [0.5],
    ModelOption.SEED: [7],
    ModelOption.MAX_NEW_TOKENS: [9],
    ModelOption.STOP_SEQUENCES: [["x"]],
    ModelOption.CONTEXT_WINDOW: [64],
    ModelOption.THINKING: [True, "low"],
    ModelOption.TOOLS: [[{"type": "function", "function": {"name": "f", "parameters": {}}}]],
    ModelOption.TOOL_CHOICE: ["required"],
}
MESSAGES = (RequestMessage("user", "hi"),)


def body_of(backend: str, options: Options) -> Any:
    """The request's body. Raises OptionError for what is refused."""
    request = Request(MESSAGES, options)
    if backend == "embedded":
        LocalBackend().check(options)
        return LocalRequest(request).encode(ControlTokens())
    dialect: Any = OllamaDialect("http://x")
    if backend == "OpenAI-compatible":
        dialect = OpenAIDialect("http://x", has_key=False)
    dialect.check(options)
    return dialect.encode(request, "m")


def option_cases() -> list[tuple[str, ModelOption, Any, str]]:
    heading, *rows = table_rows("docs/backends.md", "## Options by backend")
    cases = []
    for key, *cells in rows:
        name = re.match(r"`(\w+)`(?: \(an? (\w+)\))?", key)
        if name is None or ModelOption[name[1]] not in SAMPLES:
            continue
        samples = SAMPLES[ModelOption[name[1]]]
        if name[2]:
            samples = [each for each in samples if isinstance(each, bool) == (name[2] == "bool")]
        for backend, cell in zip(heading[1:], cells, strict=True):
            cases += [(backend, ModelOption[name[1]], sample, cell) for sample in samples]
    return cases


def test_every_option_is_in_the_table_of_backends() -> None:
    rows = table_rows("docs/backends.md", "## Options by backend")[1:-1]
    assert {row[0].split("`")[1] for row in rows} == {option.name for option in ModelOption}


@pytest.mark.parametrize(("backend", "option", "sample", "cell"), option_cases())
def test_options_go_where_the_table_says(
    backend: str, option: ModelOption, sample: Any, cell: str
) -> None:
    options = Options({option: sample})
    if cell.startswith("refused"):
        with pytest.raises(OptionError, match=option.name):
            body_of(backend, options)
        return
    if cell.startswith("[in words]"):  # the pipeline makes up for it, the backend has none
        check(LocalBackend(), options)
        with pytest.raises(OptionError, match=option.name):
            body_of(backend, options)
        return
    body = body_of(backend, options)
    where = re.match(r"`([\w.]+)`", cell)
    if where is None:
        assert (backend, option) == ("embedded", ModelOption.CONTEXT_WINDOW)
        return
    for key in where[1].split("."):
        body = body[key]
    expected = {"type": "function", "function": {"name": sample}}
    assert body in (sample, expected)


def test_every_environment_variable_is_explained() -> None:
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "mellea_rx").rglob("*.py"))
    read = set(re.findall(r"environ(?:\.get\(|\[)\"([A-Z_]+)\"", code)) - {"TERM"}
    page = (ROOT / "docs/backends.md").read_text("utf-8")
    assert read
    assert {name for name in read if f"`{name}`" not in page} == set()


def test_every_option_of_the_command_line_is_explained() -> None:
    page = (ROOT / "docs/cli.md").read_text("utf-8")
    group = typer.main.get_command(app)
    commands: dict[str, Any] = getattr(group, "commands")  # noqa: B009
    assert set(commands) == {"run", "chat", "models", "doctor"}
    for name, command in commands.items():
        assert f"\n## mellea-rx {name}" in page
        for parameter in command.params:
            for spelling in parameter.opts if parameter.param_type_name == "option" else ():
                assert f"`{spelling}`" in page, f"{name} {spelling}"


def test_every_exit_code_is_explained() -> None:
    rows = table_rows("docs/cli.md", "## Exit codes")[1:]
    assert {int(row[0]) for row in rows} == {*MEANINGS, 141, 143}
