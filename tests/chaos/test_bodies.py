"""Bodies with a wrong length, that break off, stall, are compressed, or too large."""

from __future__ import annotations

import gzip
import itertools
import resource
import zlib
from typing import Any

import pytest

from mellea_rx import (
    BackendError,
    FirstTokenTimeoutError,
    IdleTimeoutError,
    MelleaSession,
    ModelOption,
    ProtocolError,
    ResponseTooLargeError,
    StreamInterruptedError,
)
from mellea_rx.backends import Limits
from tests.chaos.frames import chunked, end, head, said
from tests.chaos.trial import PATHS, WORDS, Trial

CHUNKED = "Transfer-Encoding: chunked"


def cut_at(data: bytes, *places: int) -> list[bytes]:
    """The same bytes in pieces."""
    return [data[a:b] for a, b in itertools.pairwise((0, *places, len(data)))]


@pytest.mark.parametrize("size", ["zz", "-1", "", "5 5", "f" * 20])
@pytest.mark.parametrize("cut", ["nowhere", "before the blank line", "behind it", "everywhere"])
def test_a_bad_chunk_size_is_an_interruption_and_keeps_the_text(
    trial: Trial, size: str, cut: str
) -> None:
    begun = head(trial.wire, CHUNKED)
    first = b"".join(chunked(said(trial.wire, "Once ", "upon ")))
    whole = begun + first + size.encode() + b"\r\nmore\r\n\r\n"
    places = {
        "nowhere": [],
        "before the blank line": [len(begun) - 4],
        "behind it": [len(begun)],
        "everywhere": [len(begun), len(begun + first)],
    }[cut]
    trial.server.script("m", wire=cut_at(whole, *places), delay=0.01)
    assert type(trial.failure(text="Once upon ")) is StreamInterruptedError


def test_a_fault_right_behind_the_head_is_an_interruption(trial: Trial) -> None:
    trial.server.script("m", wire=[head(trial.wire, CHUNKED) + b"zz\r\n"])
    error = trial.failure()
    assert type(error) is StreamInterruptedError
    assert f"the answer of {trial.server.url} broke off (" in str(error)
    assert "chunk size)" in str(error)


@pytest.mark.parametrize("more", [1, 10_000])
def test_a_length_that_is_too_long_harms_no_complete_answer(trial: Trial, more: int) -> None:
    body = said(trial.wire, *WORDS) + end(trial.wire)
    trial.server.script(
        "m", wire=[head(trial.wire, f"Content-Length: {len(body) + more}"), body], stall_after=2
    )
    assert trial.value() == "Once upon a time"


@pytest.mark.parametrize("after", ["", "zz\r\nmore\r\n"], ids=["a close", "noise"])
def test_what_comes_behind_a_complete_answer_harms_it_no_more(trial: Trial, after: str) -> None:
    body = said(trial.wire, *WORDS) + end(trial.wire)
    wire = [head(trial.wire, CHUNKED), *chunked(body), after.encode()]
    trial.server.script("m", wire=wire, delay=0.01)
    assert trial.value() == "Once upon a time"
    assert trial.value() == "Once upon a time"


def test_a_length_that_is_too_long_is_an_interruption_where_the_end_is_missing(
    trial: Trial,
) -> None:
    body = said(trial.wire, "Once ")
    trial.server.script("m", wire=[head(trial.wire, f"Content-Length: {len(body) + 9}"), body])
    assert type(trial.failure(text="Once ")) is StreamInterruptedError


def test_a_length_that_is_too_short_is_an_interruption_and_the_next_call_is_well(
    trial: Trial,
) -> None:
    body = said(trial.wire, "Once ")
    rest = said(trial.wire, "upon ") + end(trial.wire)
    lie = [head(trial.wire, f"Content-Length: {len(body)}"), body + rest]
    trial.server.script("m", [{"wire": lie}, {"chunks": WORDS}])
    assert type(trial.failure(text="Once ")) is StreamInterruptedError
    assert trial.value() == "Once upon a time"


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_body_that_is_cut_at_any_byte_keeps_every_whole_frame(trial: Trial, cut: int) -> None:
    body = said(trial.wire, "Once ", "upon ")
    kept = body[:-cut]
    trial.server.script("m", wire=[head(trial.wire, "Connection: close"), kept])
    # A last line without a line end counts; the standard drops an event without its blank line.
    text = "Once upon " if trial.wire == "ollama" and cut == 1 else "Once "
    assert isinstance(trial.failure(text=text), (StreamInterruptedError, ProtocolError))


def test_what_a_burst_brought_before_a_reset_is_kept_to_the_byte(trial: Trial) -> None:
    words = [f"word {n} " for n in range(300)]  # fits into a socket's buffer
    trial.server.script("m", chunks=words, bursts=True, reset_after=300)
    assert type(trial.failure(text="".join(words))) is StreamInterruptedError


def test_one_byte_at_a_time_is_the_same_text(trial: Trial) -> None:
    trial.server.script("m", chunks=["Hé", "\u2028😀"], split=1, split_delay=0)
    assert trial.value() == "Hé\u2028😀"


def packed(kind: str, data: bytes) -> bytes:
    match kind:
        case "gzip":
            return gzip.compress(data)
        case "deflate":
            return zlib.compress(data)
    return data


@pytest.mark.parametrize("kind", ["gzip", "deflate", "br", "zstd", "GZIP", "gzip, gzip"])
@pytest.mark.parametrize("status", [200, 500])
def test_a_packed_body_is_refused_by_name(trial: Trial, kind: str, status: int) -> None:
    body = packed(kind, said(trial.wire, *WORDS) + end(trial.wire))
    trial.server.script("m", status=status, body=body, headers={"Content-Encoding": kind})
    error = trial.failure(options={ModelOption.STREAM: True})
    assert isinstance(error, BackendError)
    assert (type(error) is ProtocolError) == (status == 200)
    assert "compressed" in str(error)
    for each in trial.server.log("m"):
        assert each["headers"]["accept-encoding"] == "identity"
        assert each["headers"]["content-type"] == "application/json"


@pytest.mark.parametrize("kind", ["identity", "", "utf-8"])
def test_an_encoding_that_packs_nothing_is_taken(trial: Trial, kind: str) -> None:
    trial.server.script("m", chunks=WORDS, headers={"Content-Encoding": kind})
    assert trial.value() == "Once upon a time"


def test_a_decompression_bomb_takes_no_memory(trial: Trial) -> None:
    bomb = gzip.compress(bytes(100_000_000))
    trial.server.script("m", body=bomb, headers={"Content-Encoding": "gzip"})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert type(trial.failure()) is ProtocolError
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


@pytest.mark.parametrize("cut", ["in one go", "in two", "word by word"])
def test_the_cap_is_kept_to_the_byte(trial: Trial, cut: str) -> None:
    begun = head(trial.wire, "Connection: close")
    frames = [said(trial.wire, word) for word in WORDS]
    pieces = {
        "in one go": [begun + b"".join(frames)],
        "in two": [begun, frames[0], b"".join(frames[1:])],
        "word by word": [begun, *frames],
    }[cut]
    held = len(b"".join(frames[:3]))
    trial.server.script("m", wire=pieces, delay=0.01)
    error = trial.failure(text="Once upon a ", limits=Limits(total=held))
    assert type(error) is ResponseTooLargeError
    assert str(error) == f"the server sent more than {held:,} bytes (Limits(total=...))"

    whole = len(b"".join(frames))
    error = trial.failure(text="Once upon a time", limits=Limits(total=whole))
    assert type(error) is StreamInterruptedError


def test_an_answer_that_is_complete_within_the_cap_is_one(trial: Trial) -> None:
    body = said(trial.wire, *WORDS) + end(trial.wire)
    more = said(trial.wire, "and so on")
    trial.server.script("m", wire=[head(trial.wire, "Connection: close") + body + more])
    assert trial.value(limits=Limits(total=len(body))) == "Once upon a time"
    error = trial.failure(text="Once upon a time", limits=Limits(total=len(body) - 9))
    assert type(error) is ResponseTooLargeError


def test_an_answer_over_the_cap_keeps_what_came_and_ends_at_once(trial: Trial) -> None:
    trial.server.script("m", chunks=["x" * 1000], repeat=2000)
    with pytest.raises(ResponseTooLargeError) as caught:
        trial.value(limits=Limits(total=20_000))
    assert set(caught.value.text) == {"x"}
    trial.server.wait_for(lambda: trial.server.connections() == 0)


@pytest.mark.parametrize(
    "type_", ["text/html", "application/json", "text/plain; charset=latin-1", "nonsense", ""]
)
def test_a_content_type_is_no_matter(trial: Trial, type_: str) -> None:
    trial.server.script("m", chunks=WORDS, headers={"Content-Type": type_})
    assert trial.value() == "Once upon a time"


@pytest.mark.parametrize("status", ["HTTP/1.0 200 OK", "HTTP/1.1 200 Fine", "HTTP/1.1 200"])
def test_old_and_bare_heads_are_taken(trial: Trial, status: str) -> None:
    body = said(trial.wire, *WORDS) + end(trial.wire)
    trial.server.script("m", wire=[f"{status}\r\n\r\n", body])
    assert trial.value() == "Once upon a time"


@pytest.mark.parametrize(
    "wire",
    [
        ["SSH-2.0-OpenSSH_9.6\r\n"],
        ["HTTP/1.1 OK\r\n\r\n"],
        ["HTTP/1.1 200 OK\r\nX: " + "x" * 100_000 + "\r\n\r\n"],
        ["HTTP/1.1 200 OK\r\n" + "X: x\r\n" * 5000 + "\r\n"],
        ["HTTP/1.1 200 OK\r\nno colon\r\n\r\n"],
        ["HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"],
        ["\x00\x01\x02\r\n\r\n"],
        ["HTTP/1.1 200 O"],
        ["HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhi"],
    ],
    ids=range(9),
)
def test_what_is_no_http_is_told(trial: Trial, wire: list[str]) -> None:
    trial.server.script("m", wire=wire)
    error = trial.failure()
    assert isinstance(error, BackendError)
    assert trial.server.url in str(error)
    assert len(str(error)) < 1000


@pytest.mark.parametrize("length", [30, 8000])
def test_what_a_server_said_in_place_of_http_is_shown_and_not_at_length(
    trial: Trial, length: int
) -> None:
    trial.server.script("m", wire=["ready " + "x" * length + "\r\n\r\n"])
    error = trial.failure()
    assert type(error) is ProtocolError
    told = str(error).removeprefix(f"{trial.server.url} did not answer in HTTP: ")
    assert "xxx" in told
    assert (len(told.replace("\\n", "\n")) == 201) == told.endswith("…") == (length > 200)


KEEP_ALIVE = {"ollama": "\n", "openai": ": OPENROUTER PROCESSING\n\n"}


@pytest.mark.parametrize("after", [0, 2])
def test_keep_alive_bytes_are_no_content(trial: Trial, after: int) -> None:
    ping = KEEP_ALIVE[trial.wire].encode()
    frames = [said(trial.wire, word) for word in WORDS[:after]] + [ping] * 500
    wire = [head(trial.wire, CHUNKED), *chunked(*frames)]
    trial.server.script("m", wire=wire, delay=0.02)
    options: dict[ModelOption, Any] = {ModelOption.STREAM_TIMEOUT: 1.0}
    error = trial.failure(text="".join(WORDS[:after]), options=options)
    assert type(error) is (IdleTimeoutError if after else FirstTokenTimeoutError)


@pytest.mark.parametrize("wire", ["head", "status", "nothing"])
def test_a_stall_before_the_first_token_is_a_timeout(trial: Trial, wire: str) -> None:
    pieces = {
        "head": ["HTTP/1.1 200 OK\r\nContent-"],
        "status": [head(trial.wire, CHUNKED)],
        "nothing": [],
    }[wire]
    trial.server.script("m", wire=pieces, stall_after=len(pieces))
    error = trial.failure(options={ModelOption.STREAM_TIMEOUT: 0.2})
    assert type(error) is FirstTokenTimeoutError


def test_an_error_whose_body_never_ends_is_the_error_all_the_same(trial: Trial) -> None:
    begun = head(trial.wire, CHUNKED, status="403 Forbidden")
    trial.server.script("m", wire=[begun, *chunked(b"you may", b" not")], stall_after=3)
    error = trial.failure(limits=Limits(error_wait=0.2))
    assert "status 403: you may not" in str(error)


def test_an_error_whose_body_fills_its_cap_is_waited_for_no_longer(trial: Trial) -> None:
    said_ = b"you may not come in"
    trial.server.script("m", wire=[head(trial.wire, status="403 Forbidden") + said_], stall_after=1)
    error = trial.failure(limits=Limits(error_body=len(said_), error_wait=60))
    assert str(error).splitlines()[0].endswith("status 403: you may not come in")
    error = trial.failure(limits=Limits(error_body=7, error_wait=60))
    assert str(error).splitlines()[0].endswith("status 403: you may")


def test_an_error_whose_body_is_endless_is_read_to_a_cap(trial: Trial) -> None:
    trial.server.script("m", status=403, body="x" * 30_000_000)
    assert len(str(trial.failure())) < 1000


def test_an_errors_body_in_pieces_is_read_to_its_end(trial: Trial) -> None:
    body = {"error": {"message": "told " + "in pieces " * 10 + "and whole"}}
    trial.server.script("m", status=400, body=body, split=7)
    assert "and whole" in str(trial.failure())


def test_a_connection_that_was_closed_while_idle_is_not_used_again(trial: Trial) -> None:
    body = said(trial.wire, *WORDS) + end(trial.wire)
    once = [head(trial.wire, f"Content-Length: {len(body)}"), body]
    trial.server.script("m", wire=once)
    backend = trial.backend()
    try:
        m = MelleaSession(backend)
        for _ in range(3):
            assert m.instruct("Go.").value == "Once upon a time"
            trial.server.wait_for(lambda: trial.server.connections() == 0)
    finally:
        backend.close()
    assert [each["path"] for each in trial.server.log("m")] == [PATHS[trial.wire]] * 3
