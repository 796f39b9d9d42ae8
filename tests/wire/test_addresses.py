"""The arguments of a client: its address and its limits."""

from __future__ import annotations

from typing import Any

import pytest

from mellea_rx import InvalidInputError, OpenAIBackend
from mellea_rx.backends import Limits
from mellea_rx.wire.http import parse_base_url


@pytest.mark.parametrize("value", [0, -1, float("nan"), True, "64", None])
@pytest.mark.parametrize("name", ["connect", "total", "line", "error_body", "trailing"])
def test_a_limit_that_is_none_is_refused_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError) as refused:
        Limits(**{name: value})
    assert str(refused.value) == f"Limits({name}=...) must be a number above 0, not {value!r}"


def test_a_small_limit_is_one() -> None:
    assert Limits(total=1, trailing=0.001).total == 1


@pytest.mark.parametrize("url", ["http://here", "https://here:8000/v1", "http://[::1]:80"])
def test_an_address_is_taken(url: str) -> None:
    assert str(parse_base_url(url)).startswith(url[: url.index("://") + 3])


@pytest.mark.parametrize("url", ["", "here:8000", "ftp://here", "http://", "http://[1", None, 8000])
def test_what_is_no_address_is_refused(url: Any) -> None:
    with pytest.raises(InvalidInputError) as refused:
        parse_base_url(url)
    assert str(refused.value) == (f"base_url must be an http:// or https:// address, not {url!r}")


def test_the_password_of_an_address_is_not_shown() -> None:
    with pytest.raises(InvalidInputError) as refused:
        OpenAIBackend("m", base_url="ftp://me:secret@here")
    assert "secret" not in str(refused.value)
    assert "'ftp://here/v1'" in str(refused.value)
