"""The errors of responses without an answer."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from mellea_rx.errors import (
    AuthenticationError,
    BackendError,
    BadRequestError,
    ModelNotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    RedirectRefusedError,
    ServerError,
    StatusError,
)
from mellea_rx.wire.status_errors import content_encoding, error_for_status, retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"Retry-After": "Thu, 99 Jan 1970 00:00:00 GMT"}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "Retry-After": "7"}, 0.25),
        ({"retry-after-ms": "soon"}, None),
    ],
)
def test_how_long_a_server_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_a_date_is_so_many_seconds_from_now() -> None:
    waits = retry_after({"Retry-After": formatdate(time.time() + 100, usegmt=True)})
    assert waits == pytest.approx(100, abs=5)


@pytest.mark.parametrize(
    ("named", "packed"),
    [
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        ("identity", ""),
        ("", ""),
        ("identity, br", "identity, br"),
        ("deflate\tgzip", "deflate\tgzip"),
        ("gzipped", ""),
    ],
)
def test_how_a_body_is_compressed(named: str, packed: str) -> None:
    assert content_encoding({"Content-Encoding": named}) == packed


def test_a_body_that_says_nothing_of_it_is_not_compressed() -> None:
    assert content_encoding({}) == ""


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (400, BadRequestError, "here answered with status 400: busy"),
        (401, AuthenticationError, "here answered with status 401: busy"),
        (403, PermissionDeniedError, "here answered with status 403: busy"),
        (404, ModelNotFoundError, "here answered with status 404: busy"),
        (422, BadRequestError, "here answered with status 422: busy"),
        (429, RateLimitError, "here answered with status 429: busy"),
        (499, BadRequestError, "here answered with status 499: busy"),
        (500, ServerError, "here answered with status 500: busy"),
        (503, ServerError, "here answered with status 503: busy"),
    ],
)
def test_a_status_has_its_class_its_number_and_the_servers_words(
    status: int, kind: type[StatusError], words: str
) -> None:
    error = error_for_status("here", status, {"Retry-After": "7"}, "busy")
    assert type(error) is kind
    assert str(error) == words
    assert (error.status, error.retry_after) == (status, 7.0)
    assert str(error_for_status("here", status, {}, "")) == words.removesuffix(": busy")


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (200, ProtocolError, "here sent its answer compressed (gzip), and was asked not to"),
        (201, ProtocolError, "here sent status 201, which is no answer"),
        (299, ProtocolError, "here sent status 299, which is no answer"),
        (
            300,
            RedirectRefusedError,
            "here redirects (status 300); redirects are not followed, since a key must not travel: "
            "give the final address as base_url",
        ),
        (399, RedirectRefusedError, "here redirects (status 399); redirects are not followed"),
    ],
)
def test_what_is_neither_an_answer_nor_an_error(
    status: int, kind: type[BackendError], words: str
) -> None:
    error = error_for_status("here", status, {"Content-Encoding": "gzip"}, "busy")
    assert type(error) is kind
    assert str(error).startswith(words)
    assert getattr(error, "status", status) == status
