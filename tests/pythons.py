"""Runs the tests on other Pythons, each in a virtual environment of its own (`.venv-3.13`).

`make test-pythons` runs all tests that need no model on every supported Python that is installed;
`make test-newest` runs the folders that it names on the newest one. An environment is made by its
first use, and again when pyproject.toml has changed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.11", "3.12", "3.13")
"""The supported versions of Python, oldest first."""
MARKERS = "not model and not alone"


def interpreters() -> dict[str, Path]:
    """The installed Pythons by version, oldest first; the newest patch release of each."""
    found = {version: _first_that_starts(version) for version in VERSIONS}
    return {version: path for version, path in found.items() if path is not None}


def _first_that_starts(version: str) -> Path | None:
    # A shim of pyenv may be on the PATH and start nothing: the program has to answer.
    question = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    for path in _candidates(version):
        asked = subprocess.run([path, "-c", question], capture_output=True, text=True, check=False)
        if asked.returncode == 0 and asked.stdout.strip() == version:
            return path
    return None


def _candidates(version: str) -> Iterator[Path]:
    name = f"python{version}"
    if on_path := shutil.which(name):
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    releases = [path for path in pyenv.glob(f"{version}.*") if path.name.split(".")[2].isdigit()]
    for release in sorted(releases, key=lambda path: int(path.name.split(".")[2]), reverse=True):
        yield release / "bin" / name


def environment(version: str, interpreter: Path) -> Path:
    """The Python of this version's environment, which has the package and its test extra."""
    folder = ROOT / f".venv-{version}"
    python, stamp = folder / "bin" / "python", folder / ".installed"
    project = ROOT / "pyproject.toml"
    if not stamp.exists() or stamp.stat().st_mtime < project.stat().st_mtime:
        print(f"installing mellea-rx with its extra test in {folder.name}", flush=True)
        if not python.exists():
            subprocess.run([interpreter, "-m", "venv", folder], check=True)
        quiet = ["--quiet", "--quiet", "--disable-pip-version-check"]
        install = [python, "-m", "pip", "install", *quiet, "-e", ".[test]"]
        subprocess.run(install, cwd=ROOT, check=True)
        stamp.touch()
    return python


def run_tests(
    python: Path, markers: str, profile: str, folders: list[str], timeout: float | None
) -> int:
    """Run these folders of the tests in two processes or more; the exit code of pytest."""
    command = [str(python), "-m", "pytest", "-q", "-n", "auto", "--maxprocesses", "8"]
    command += ["-p", "no:cacheprovider", "-m", markers, "--hypothesis-profile", profile, *folders]
    try:
        return subprocess.run(command, cwd=ROOT, timeout=timeout, check=False).returncode
    except subprocess.TimeoutExpired:
        print(f"not done within {timeout:g} s", file=sys.stderr)
        return 1


def main() -> int:
    """Run the tests on each Python; 1 if any run failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--newest", action="store_true", help="on the newest Python only")
    parser.add_argument("--markers", default=MARKERS, help="as pytest's -m takes them")
    parser.add_argument(
        "--profile", default="any machine", help="of hypothesis (tests/conftest.py)"
    )
    parser.add_argument("--timeout", type=float, help="seconds that each Python has at most")
    parser.add_argument("folders", nargs="*", default=["tests"], help="all where none is named")
    chosen = parser.parse_args()
    pythons = list(interpreters().items())
    failed = []
    for version, interpreter in pythons[-1:] if chosen.newest else pythons:
        print(f"Python {version}: {interpreter}", flush=True)
        python = environment(version, interpreter)
        if run_tests(python, chosen.markers, chosen.profile, chosen.folders, chosen.timeout):
            failed.append(version)
    print(f"Pythons that failed: {', '.join(failed)}" if failed else "all Pythons passed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
