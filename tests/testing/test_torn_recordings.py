"""Errors of a recording's file are reported, and never lose an answer; secrets are masked."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mellea_rx import Chunk, MelleaSession, RecordingError, ScriptedBackend, ToolCall
from mellea_rx.backends import Options, Request, RequestMessage
from mellea_rx.testing import Recorder, replay
from mellea_rx.testing.recordings import MASK, plain


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


FULL_DISK = """
import logging, resource, sys
from mellea_rx import MelleaSession, ScriptedBackend
from mellea_rx.testing import Recorder

logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
recorder = Recorder(ScriptedBackend("word " * 50), sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
with MelleaSession(recorder) as m:
    for number in range(5):
        assert m.instruct(f"Prompt {number}.").value == "word " * 50
print(recorder.failure)
"""


def with_disk_of(size: int, path: Path) -> subprocess.CompletedProcess[str]:
    """Record five answers, with a limit on the size of a file in bytes."""
    program = [sys.executable, "-c", FULL_DISK, str(path), str(size)]
    return subprocess.run(program, capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def line_size(tmp_path_factory: pytest.TempPathFactory) -> int:
    """The length of the longest line of that recording, in bytes."""
    whole = tmp_path_factory.mktemp("whole") / "run.jsonl"
    done = with_disk_of(10_000_000, whole)
    assert done.stdout.strip() == "None"
    return max(map(len, whole.read_bytes().splitlines()))


@pytest.mark.parametrize("whole", [0, 1, 3])
def test_a_full_disk_costs_no_answer_and_no_whole_line(
    path: Path, line_size: int, whole: int
) -> None:
    done = with_disk_of(int(line_size * (whole + 0.5)) + 400, path)
    lines = path.read_bytes().splitlines(keepends=True)
    assert all(line.endswith(b"\n") for line in lines)
    assert len(lines) == (whole + 1 if whole else 0)
    told = f"the recording {path} ends after line {len(lines)}: File too large; the answers go on"
    assert done.stdout.startswith(told)
    assert done.stderr.count("WARNING") == 1
    assert done.stderr.startswith(f"WARNING {told}")
    if whole:
        m = MelleaSession(replay(path, speed=0))
        assert m.instruct(f"Prompt {whole - 1}.").value == "word " * 50
        with pytest.raises(RecordingError, match=f"no recording of this request: 'Prompt {whole}"):
            m.instruct(f"Prompt {whole}.")


def record(path: Path, *prompts: str) -> None:
    with MelleaSession(Recorder(ScriptedBackend("A.", "B.", "C."), path)) as m:
        for prompt in prompts:
            m.instruct(prompt)


def test_a_last_line_that_is_not_whole_is_left_out_and_said(path: Path) -> None:
    record(path, "First.", "Second.")
    whole = path.read_bytes()
    second = whole.splitlines(keepends=True)[-1]
    for kept in range(1, len(second) - 1, 7):
        path.write_bytes(whole[: len(whole) - len(second) + kept])
        m = MelleaSession(replay(path, speed=0))
        assert m.instruct("First.").value == "A."
        with pytest.raises(RecordingError, match="incomplete: it ends within line 3, which is"):
            m.instruct("Second.")
    path.write_bytes(whole.rstrip(b"\n"))  # only its newline is missing
    assert MelleaSession(replay(path, speed=0)).instruct("Second.").value == "B."


def test_a_line_in_the_middle_that_is_not_whole_is_an_error(path: Path) -> None:
    record(path, "First.", "Second.")
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text(lines[0] + lines[1][:40] + "\n" + lines[2], "utf-8")
    with pytest.raises(RecordingError, match=r"line 2 of .* is not a line of a recording"):
        replay(path)


def test_a_file_that_goes_away_is_made_anew_by_no_half(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = path.parent / "folder"
    folder.mkdir()
    recorder = Recorder(ScriptedBackend("A."), folder / "run.jsonl")
    (folder / "run.jsonl").unlink()
    folder.rmdir()
    with caplog.at_level(logging.WARNING, "mellea_rx"), MelleaSession(recorder) as m:
        assert [m.instruct("Go.").value for _ in range(3)] == ["A."] * 3
    assert len(caplog.records) == 1
    assert "ends after line 0: No such file or directory" in str(recorder.failure)


def test_an_answer_that_cannot_be_recorded_is_an_answer(path: Path) -> None:
    call = Chunk(tool_calls=(ToolCall("f", {"x": object()}),))
    recorder = Recorder(ScriptedBackend("A.", ["B.", call], "C."), path)
    with MelleaSession(recorder) as m:
        assert [m.instruct(f"{number}").value for number in range(3)] == ["A.", "B.", "C."]
    assert "ends after line 2: " in str(recorder.failure)
    m = MelleaSession(replay(path, speed=0))
    assert m.instruct("0").value == "A."


def test_a_recording_that_is_whole_says_nothing(path: Path) -> None:
    recorder = Recorder(ScriptedBackend("A."), path)
    with MelleaSession(recorder) as m:
        m.instruct("Go.")
    assert recorder.failure is None


@pytest.mark.parametrize("before", [None, 0o644, 0o666])
def test_the_file_is_its_owners(path: Path, before: int | None) -> None:
    mask = os.umask(0)
    try:
        if before is not None:
            path.touch()
            path.chmod(before)
        record(path, "Go.")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for odd in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        with pytest.raises(RecordingError, match="cannot be written: it is not a regular file"):
            Recorder(ScriptedBackend(), odd)


def masked(options: dict[str, Any]) -> dict[str, Any]:
    asked: dict[str, Any] = plain(Request((RequestMessage("user", "Go."),), Options(options)))
    return asked["options"]


SECRETS = ["token", "session_token", "hf_token", "auth", "bearer", "credentials", "passwd"]
SECRETS += ["password", "api_key", "apiKey", "hfToken", "X-Auth-Token", "basic_auth", "oauth"]
SECRETS += ["client_secret", "authorization", "cookies", "extra_headers", "jwt", "Bearer"]
SECRETS += ["sessionToken", "db-passwd", "aws_credentials", "auth_token", "passphrase", "authUser"]
SECRETS += ["pwd", "db_pwd"]


@pytest.mark.parametrize("name", SECRETS)
def test_what_is_named_like_a_secret_is_masked(path: Path, name: str) -> None:
    for value in ("hunter2", ["hunter2"], {"x": "hunter2"}, 42):
        assert masked({name: value}) == {name: MASK}
        assert masked({"extra_body": {"a": [{name: value}]}}) == {
            "extra_body": {"a": [{name: MASK}]}
        }
    with MelleaSession(Recorder(ScriptedBackend("A."), path)) as m:
        m.instruct("Go.", model_options={name: "hunter2"})
    assert "hunter2" not in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_tokens", 5),
        ("tokenizer", "fast"),
        ("stop_token_ids", [1, 2]),
        ("skip_special_tokens", False),
        ("timings_per_token", True),
        ("author", "Ada"),
        ("authority", "x"),
        ("top_k", 40),
        ("keyword", "x"),
        ("monkey", "x"),
        ("cache_prompt", True),
    ],
)
def test_what_is_not_stays(name: str, value: Any) -> None:
    assert masked({name: value}) == {name: value}
