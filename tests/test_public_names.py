"""The names that users import: there, sorted, documented, and their examples true."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import get_args, get_origin, get_type_hints

import pytest

import mellea_rx
from mellea_rx import errors
from tests.docs.pages import NAMES
from tools.api_page import PAGE, PUBLIC_MODULES, api_page, require_line
from tools.source_tree import ROOT, SourceFile, SourceTree

NEEDS_MORE = {"mellea_rx.__main__"}

MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages(mellea_rx.__path__, "mellea_rx.")
    if info.name not in NEEDS_MORE
)

PUBLIC = {
    "mellea_rx": [
        *("start_session", "get_session", "MelleaSession", "ModelOption", "ModelOutputThunk"),
        *("SimpleContext", "ChatContext", "wait_for_all_mots", "MelleaRxError", "generative"),
        *("OllamaBackend", "OpenAIBackend", "LocalBackend", "ScriptedBackend", "ReactStep"),
        *errors.__all__,
    ],
    "mellea_rx.backends": ["ModelOption"],
    "mellea_rx.helpers.async_helpers": ["wait_for_all_mots"],
    "mellea_rx.operators": [
        *("text", "accumulate", "by_word", "by_sentence", "by_line", "by_paragraph", "by_unit"),
        *("smooth", "coalesce", "chunk_timeout", "retry", "RetryPolicy"),
        *("partial_object", "Part", "split_thinking", "tee", "observe"),
        *("Unit", "Splitter", "splitter"),
    ],
    "mellea_rx.stdlib.formats": ["OutputFormat", "as_format"],
    "mellea_rx.stdlib.context": [
        *("ChatContext", "Compactor", "Exchange", "SimpleContext", "Summary"),
        *("Summarize", "TokenThreshold", "Turn"),
    ],
    "mellea_rx.stdlib.session": ["ColdCall", "ColdVerbs"],
    "mellea_rx.stdlib.mify": ["Mified", "mify"],
    "mellea_rx.stdlib.requirements": [
        *("Requirement", "req", "check", "simple_validate"),
        *("Splitter", "Unit", "by_json_member", "by_regex"),
    ],
    "mellea_rx.stdlib.sampling": ["RejectionSampling"],
    "mellea_rx.stdlib.components": ["Component", "Instruction", "Message", "Query", "Transform"],
}


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.mark.parametrize("module", PUBLIC)
def test_the_names_are_where_users_look_for_them(module: str) -> None:
    found = load(module)
    missing = [name for name in PUBLIC[module] if not hasattr(found, name)]
    assert not missing
    assert set(PUBLIC[module]) <= set(found.__all__)


@pytest.mark.parametrize("module", ["mellea_rx", *MODULES])
def test_all_is_sorted_without_doubles_and_importable(module: str) -> None:
    found = load(module)
    names = getattr(found, "__all__", None)
    if names is None:  # a module inside a package needs none
        assert module not in PUBLIC_MODULES
        return
    own = [name for name in names if name not in errors.__all__ or module == errors.__name__]
    assert own == sorted(own, key=_like_isort)
    assert len(names) == len(set(names))
    for name in names:
        getattr(found, name)


def _like_isort(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest: as ruff sorts them."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def _is_own(value: object, module: str) -> bool:
    is_code = inspect.isclass(value) or inspect.isfunction(value)
    return is_code and getattr(value, "__module__", None) == module


@pytest.mark.parametrize("name", sorted(mellea_rx.__all__))
def test_each_public_name_means_the_same_everywhere(name: str) -> None:
    value = getattr(mellea_rx, name)
    home = getattr(value, "__module__", None)
    if home is not None and name != "__version__":
        assert getattr(load(home), name) is value


@pytest.mark.parametrize("module", ["mellea_rx", *MODULES])
def test_everything_public_has_a_docstring(module: str) -> None:
    found = load(module)
    own = {n: v for n, v in vars(found).items() if n[0] != "_" and _is_own(v, module)}
    assert found.__doc__ or not own
    assert [name for name, value in own.items() if not value.__doc__] == []


@pytest.mark.parametrize("name", sorted(mellea_rx.__all__))
def test_every_public_member_of_a_public_class_has_a_docstring(name: str) -> None:
    kind = getattr(mellea_rx, name)
    if not inspect.isclass(kind):
        return
    bare = [
        member
        for member, value in vars(kind).items()
        if member[0] != "_"
        and (inspect.isfunction(value) or isinstance(value, (property, classmethod, staticmethod)))
        and not value.__doc__
    ]
    assert bare == []


@cache
def run_examples(module: str) -> doctest.TestResults:
    """The results of the examples in a module's docstrings, which are run once."""
    return doctest.testmod(load(module), optionflags=doctest.ELLIPSIS)


@pytest.mark.parametrize("module", ["mellea_rx", *MODULES])
def test_examples_in_docstrings_are_true(module: str) -> None:
    assert run_examples(module).failed == 0


def test_some_examples_are_run() -> None:
    assert sum(run_examples(module).attempted for module in MODULES) > 15


def test_dir_and_getattr_of_the_package_know_the_backends() -> None:
    assert mellea_rx.OllamaBackend is load("mellea_rx.backends").OllamaBackend
    with pytest.raises(AttributeError, match="no attribute 'Olama'"):
        mellea_rx.Olama  # noqa: B018


def test_star_import_brings_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from mellea_rx import *", names)
    assert set(mellea_rx.__all__) <= set(names)


def test_it_has_a_version_and_types() -> None:
    from importlib.metadata import version
    from pathlib import Path

    assert mellea_rx.__version__ == version("mellea-rx")
    assert Path(mellea_rx.__file__).with_name("py.typed").exists()


def test_the_page_of_public_names_is_up_to_date() -> None:
    assert PAGE.read_text() == api_page(), "run python -m tools.api_page"


@pytest.mark.parametrize("line", ["", "Asks one model, then another one:", "Asks twice::"])
def test_a_line_of_the_page_that_does_not_describe_its_name_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"mellea_rx\.operators\.Unit needs a docstring"):
        require_line("mellea_rx.operators.Unit", line)


def test_names_that_are_assigned_are_described_by_the_docstring_below() -> None:
    page = PAGE.read_text()
    rows = "| `Unit` | The name of a unit", "| `STALL` | An endless pause", "| `LAWS` | The laws"
    assert all(row in page for row in rows)


def test_completion_offers_the_public_names_and_the_packages() -> None:
    modules = {name.split(".")[1] for name in PUBLIC_MODULES if "." in name}
    assert dir(mellea_rx) == sorted({*mellea_rx.__all__, *modules})


def test_each_name_that_completion_offers_is_there_at_once() -> None:
    code = "import mellea_rx; [getattr(mellea_rx, name) for name in dir(mellea_rx)]"
    assert run_python(code).returncode == 0


PACKAGES = [name for name in PUBLIC_MODULES if hasattr(load(name), "__path__")]


@pytest.mark.parametrize("package", PACKAGES)
def test_dir_of_a_package_has_its_public_names_and_modules_alone(package: str) -> None:
    found = load(package)
    shown = [name for name in dir(found) if name[0] not in "_@"]  # pytest adds names with an "@"
    modules = {name for name in shown if isinstance(getattr(found, name), ModuleType)}
    assert {*shown} - modules - {"annotations"} == {*found.__all__} - {"__version__"}
    assert {getattr(found, name).__name__ for name in modules} == {
        f"{package}.{n}" for n in modules
    }


@pytest.mark.parametrize("package", ["mellea_rx", "mellea_rx.backends"])
def test_a_misspelt_name_of_a_package_is_told_the_nearest(package: str) -> None:
    ran = run_python(f"import {package}; {package}.OlamaBackend")
    assert f"module '{package}' has no attribute 'OlamaBackend'" in ran.stderr
    assert "Did you mean: 'OllamaBackend'?" in ran.stderr


def test_every_package_with_public_names_is_on_the_page() -> None:
    below = {name for name in MODULES if hasattr(load(name), "__path__")}
    public = {name for name in below if hasattr(load(name), "__all__")}
    assert public - {"mellea_rx.cli"} == {*PACKAGES} - {"mellea_rx"}


def results_of(where: str, value: object) -> Iterator[tuple[str, object]]:
    """Each type in the annotations of what a public function, method or property returns."""
    members = [(where, value)]
    if inspect.isclass(value):
        members = [(f"{where}.{n}", m) for n, m in inspect.getmembers(value) if n[0] != "_"]
    for name, member in members:
        function = member.fget if isinstance(member, property) else member
        if inspect.isroutine(function) and _module_of(function).startswith("mellea_rx"):
            with suppress(NameError):  # of a name that is imported for type checkers only
                yield from ((name, t) for t in _types(get_type_hints(function).get("return")))


def _module_of(function: object) -> str:
    return getattr(function, "__module__", None) or ""


def _types(annotation: object) -> Iterator[object]:
    yield get_origin(annotation) or annotation
    for argument in get_args(annotation):
        yield from _types(argument)


NOT_FOR_ANNOTATIONS = {"EventLog"}
"""Classes whose objects are used where they are returned."""


def test_every_class_that_a_public_name_returns_is_public() -> None:
    public = [(f"{m}.{n}", getattr(load(m), n)) for m in PUBLIC_MODULES for n in load(m).__all__]
    known = [value for _, value in public]
    unnamed = {
        f"{kind.__name__} of {name}"
        for where, value in public
        for name, kind in results_of(where, value)
        if inspect.isclass(kind)
        and kind.__module__.startswith("mellea_rx.")
        and kind not in known
        and kind.__name__ not in NOT_FOR_ANNOTATIONS
        and not _stands_for_its_base(kind)
    }
    assert not unnamed


def _stands_for_its_base(kind: type) -> bool:
    """Whether users can annotate with a base: an iterator, or one whose members it all has."""
    is_iterator = issubclass(kind, (Iterator, AsyncIterator))
    return is_iterator or all(name.startswith("_") for name in vars(kind))


# Names of this package in texts: a reader may import what they say.

TOLD = re.compile(r"\bmellea_rx(?:\.\w+)+")
RUN_AS_PROGRAMS = {"mellea_rx.backends.model_files"}


def is_public(name: str) -> bool:
    """Whether a dotted name is of a public module, a package of such, or a name in one."""
    if name in RUN_AS_PROGRAMS or any(f"{each}.".startswith(f"{name}.") for each in PUBLIC_MODULES):
        return True
    module = max((m for m in PUBLIC_MODULES if name.startswith(f"{m}.")), key=len)
    return name.removeprefix(f"{module}.").split(".")[0] in load(module).__all__


@pytest.mark.parametrize("page", NAMES)
def test_the_pages_name_public_modules_alone(page: str) -> None:
    told = set(TOLD.findall((ROOT / page).read_text("utf-8")))
    assert {name for name in told if not is_public(name)} == set()


@pytest.mark.parametrize("file", SourceTree(ROOT).files.values(), ids=lambda file: str(file.name))
def test_docstrings_and_messages_name_public_modules_alone(file: SourceFile) -> None:
    texts = [
        node.value
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        # A text that is nothing but such a name is read by the program, which imports it.
        and not re.fullmatch(rf"{TOLD.pattern}(:\w+)?", node.value)
    ]
    told = {name for text in texts for name in TOLD.findall(text)}
    assert {name for name in told if not is_public(name)} == set()


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
