"""The names that users import: there, sorted, documented, and their examples true."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from functools import cache
from types import ModuleType

import pytest

import mellea_rx
from mellea_rx import errors
from tools.api_page import PAGE, PUBLIC_MODULES, api_page
from tools.source_tree import ROOT

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
        *("OllamaBackend", "OpenAIBackend", "LocalBackend", "ScriptedBackend"),
        *errors.__all__,
    ],
    "mellea_rx.backends": ["ModelOption"],
    "mellea_rx.helpers.async_helpers": ["wait_for_all_mots"],
    "mellea_rx.operators": [
        *("text", "accumulate", "by_word", "by_sentence", "by_line", "by_paragraph"),
        *("smooth", "coalesce", "chunk_timeout", "retry", "RetryPolicy"),
        *("partial_object", "Part", "split_thinking", "tee", "observe"),
        *("Unit", "Splitter", "splitter"),
    ],
    "mellea_rx.stdlib.formats": ["OutputFormat", "as_format"],
    "mellea_rx.stdlib.context": [
        *("ChatContext", "Compactor", "Exchange", "SimpleContext", "Summary"),
        *("Summarize", "TokenThreshold"),
    ],
    "mellea_rx.stdlib.mify": ["Mified", "mify"],
    "mellea_rx.stdlib.requirements": ["Requirement", "req", "check", "simple_validate"],
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


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
