"""The JavaScript of docs/web.md reads what a server sends; run by Node.js."""

from __future__ import annotations

import json
import subprocess

import pytest
import reactivex as rx

from mellea_rx import Chunk, Retracted
from mellea_rx.web import sse
from tests.docs.pages import blocks_of
from tests.web.test_protocols import parts, sent

EVENT_SOURCE = """
let made = null;
class EventSource {
  constructor() { made = this; this.isClosed = false; }
  close() { this.isClosed = true; }
}
%s
for (const data of %s) made.onmessage({ data });
console.log(JSON.stringify([text, made.isClosed]));
"""


@pytest.mark.parametrize(
    ("items", "text"),
    [
        (["Once ", "upon"], "Once upon"),
        (["It is \U0001f600 fine", Retracted(characters=6, reason="no"), " odd"], "It is  odd"),
        (["a", Retracted(characters=0, reason="none"), "b"], "ab"),
        ([Chunk(thinking="Hm."), "a"], "a"),
    ],
)
def test_the_page_shows_the_text_that_stands(items: list[object], text: str) -> None:
    [block] = [each for each in blocks_of("docs/web.md") if each.language == "javascript"]
    datas = [json.dumps(each) for each in parts(sent(sse(rx.from_iterable(items))))]
    program = EVENT_SOURCE % (block.text, json.dumps(datas))
    ran = subprocess.run(["node", "-e", program], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [text, True]
