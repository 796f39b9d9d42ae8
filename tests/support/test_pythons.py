"""The Pythons that `make test-pythons` finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pythons import interpreters


def program(path: Path, script: str) -> Path:
    """A program that runs this line of shell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_shim_that_starts_nothing_is_passed_over_for_the_newest_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path = program(tmp_path / "bin" / "python3.12", "echo 3.12")
    program(tmp_path / "bin" / "python3.13", "exit 127")
    program(tmp_path / "bin" / "python3.11", "echo 3.13")  # it is another version
    for release in ("3.13.2", "3.13.10", "3.13-dev"):
        program(tmp_path / "pyenv" / "versions" / release / "bin" / "python3.13", "echo 3.13")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    newest = tmp_path / "pyenv" / "versions" / "3.13.10" / "bin" / "python3.13"
    assert list(interpreters().items()) == [("3.12", on_path), ("3.13", newest)]
