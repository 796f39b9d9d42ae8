"""The options of the embedded model: unknown ones are rejected by name."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from mellea_rx import LocalBackend, MelleaSession, OptionError
from mellea_rx.backends.local import LLAMA_OPTIONS


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"top_kk": 1}, "the embedded model has no option 'top_kk'; did you mean 'top_k'?"),
        ({"topK": 1}, "did you mean 'top_k'?"),
        ({"repetition_penalty": 1.1}, "no option 'repetition_penalty'; did you mean 'repeat_"),
        ({"keep_alive": "5m"}, "the embedded model has no option 'keep_alive'"),
        ({"nothing like it": 1}, "the embedded model has no option 'nothing like it'"),
    ],
)
def test_an_option_that_llama_cpp_does_not_know_is_refused(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(OptionError) as caught:
        LocalBackend(model_options=options)
    assert told in str(caught.value)
    with MelleaSession(LocalBackend()) as m, pytest.raises(OptionError) as caught:
        m.instruct("Go.", model_options=options)
    assert told in str(caught.value)


def test_each_option_that_is_let_through_is_a_name_in_llama_cpp() -> None:
    package = importlib.util.find_spec("xllamacpp")
    assert package is not None
    assert package.origin is not None
    [library] = Path(package.origin).parent.glob("*.so")
    code = library.read_bytes()
    assert [name for name in sorted(LLAMA_OPTIONS) if f"{name}\0".encode() not in code] == []
