"""The promises for any bytes: the same result for any division into blocks, or one typed error.

A target takes bytes, and raises only if a promise is broken. Hypothesis and atheris share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import reactivex as rx
from reactivex import operators as ops

from mellea_rx.backends.http import StreamDecoder
from mellea_rx.backends.ollama import OllamaDecoder
from mellea_rx.backends.openai_stream import OpenAIDecoder
from mellea_rx.core.text.json_members import MemberScanner
from mellea_rx.errors import BackendError, FormatError
from mellea_rx.operators import partial_object
from mellea_rx.wire.error_text import error_message
from mellea_rx.wire.line_decoder import LineDecoder
from mellea_rx.wire.redaction import Redactor
from mellea_rx.wire.sse import SseDecoder
from tests.wire.cuts import cut

__all__ = ["SEEDS", "TARGETS", "Target"]

Target = Callable[[bytes], None]
_CUTS = 8
_WHO = "http://server"


def _split(data: bytes) -> tuple[bytes, list[bytes]]:
    """The payload, and the payload divided at the places in the first bytes."""
    places, payload = data[:_CUTS], data[_CUTS:]
    return payload, cut(payload, list(places))


def _items(decoder: Any, blocks: Sequence[bytes]) -> tuple[list[bytes], str]:
    items: list[bytes] = []
    try:
        for block in blocks:
            items += decoder.feed(block)
        items += decoder.flush()
    except BackendError as error:
        return items, type(error).__name__
    return items, ""


def _answer(decoder: StreamDecoder, blocks: Sequence[bytes]) -> tuple[str, str, Any, Any]:
    """The result of a decoder: text, thinking, the fields of its end, and its error."""
    chunks = []
    try:
        for block in blocks:
            chunks.append(decoder.feed(block))
            if decoder.done or decoder.error is not None:
                break
        else:
            chunks.append(decoder.flush())
    except BackendError as raised:
        decoder.error = raised
    given = [chunk for chunk in chunks if chunk is not None]
    last = given[-1] if given else None
    end = None if last is None else (last.tool_calls, last.usage, last.finish_reason)
    error = decoder.error
    if error is not None:
        assert isinstance(error, BackendError)
        assert len(str(error)) < 3000
        str(error).encode()
    text = "".join(chunk.text for chunk in given)
    text.encode()  # any text can be printed
    return (
        text,
        "".join(chunk.thinking for chunk in given),
        (decoder.done, end if decoder.done else None),
        None if error is None else type(error).__name__,
    )


def lines(data: bytes) -> None:
    """The line decoder."""
    payload, blocks = _split(data)
    assert _items(LineDecoder(), blocks) == _items(LineDecoder(), [payload])


def sse(data: bytes) -> None:
    """The decoder of server-sent events."""
    payload, blocks = _split(data)
    assert _items(SseDecoder(), blocks) == _items(SseDecoder(), [payload])


def ollama(data: bytes) -> None:
    """The decoder of Ollama's answers."""
    payload, blocks = _split(data)
    assert _answer(OllamaDecoder(_WHO), blocks) == _answer(OllamaDecoder(_WHO), [payload])


def openai(data: bytes) -> None:
    """The decoder of OpenAI's answers."""
    payload, blocks = _split(data)
    assert _answer(OpenAIDecoder(_WHO), blocks) == _answer(OpenAIDecoder(_WHO), [payload])


def words(data: bytes) -> None:
    """The messages of error bodies: short, and safe to print."""
    told = error_message(data)
    assert told.isprintable()
    assert len(told) < 25_000
    Redactor([told[:40]])(told + told)


def members(data: bytes) -> None:
    """The scanner of JSON that arrives in pieces."""
    _, blocks = _split(data)
    texts = [block.decode("utf-8", "replace") for block in blocks]
    assert _members(texts) == _members(["".join(texts)])


def _members(texts: Iterable[str]) -> tuple[list[Any], bool]:
    scanner = MemberScanner("{[")
    found: list[Any] = []
    try:
        for text in texts:
            found.extend(scanner.feed(text))
        scanner.flush()
    except FormatError:
        return found, False
    return found, True


def parts(data: bytes) -> None:
    """The operator `partial_object`."""
    text = data.decode("utf-8", "replace")
    caught: list[Exception] = []
    rx.of(text[: len(text) // 2], text[len(text) // 2 :]).pipe(
        partial_object(), ops.map(lambda part: part.snapshot())
    ).subscribe(lambda _: None, caught.append)
    assert all(isinstance(error, FormatError) for error in caught)


TARGETS: dict[str, Target] = {
    each.__name__: each for each in (lines, sse, ollama, openai, words, members, parts)
}

_HEAD = bytes(range(0, 40, 5))
SEEDS = [
    _HEAD + b'{"message": {"content": "Once "}, "done": false}\n{"done": true, "eval_count": 3}\n',
    _HEAD + b'{"message": {"thinking": "hm", "tool_calls": [{"function": {"name": "f"}}]}}\r\n',
    _HEAD + b'{"error": "out of memory"}\n',
    _HEAD + b'data: {"choices": [{"delta": {"content": "Once \xf0\x9f\x98\x80"}}]}\n\n',
    _HEAD + b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\r\n\r\ndata: [DONE]\n\n',
    _HEAD + b'data: {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "a", "function": '
    b'{"name": "f", "arguments": "{}"}}]}}], "usage": {"prompt_tokens": 1}}\n\n',
    _HEAD + b': ping\nevent: x\nerror: {}\ndata: {"error": {"message": "no"}}\r\rdata:[DONE]',
    _HEAD + b'{"error": {"message": "no \\ud83d such", "detail": [NaN, 1e999]}}',
    _HEAD + b'Here: {"title": "The \\"Sea\\"", "years": [19, 51, {"a": null}], "x": -1.5e3} so',
    _HEAD + b'[1, "two", [3], {"four": 4}]',
]
"""The initial inputs of a search: one of every kind."""
