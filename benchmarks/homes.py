"""The virtual environments that clients run in: what is compared must not touch the project's.

`python -m benchmarks.homes` makes those of the peers. What does not install is left out, with a
word.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.clients import CLIENTS, Client

__all__ = ["python_of", "version"]

HERE = Path(__file__).resolve().parent
_ASK = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"


def python_of(home: str) -> str:
    """The interpreter of a home; that of the project is the one that runs this."""
    if home == "project":
        return sys.executable
    return str(HERE / f".venv-{home}" / "bin" / "python")


def _name(package: str) -> str:
    return package.partition("[")[0]


def version(client: Client) -> str | None:
    """The version of what a client measures; None where it is not installed."""
    if not Path(python_of(client.home)).exists():
        return None
    command = [python_of(client.home), "-c", _ASK, _name(client.package)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _install(home: str, package: str) -> bool:
    if not Path(python_of(home)).exists():
        venv.create(HERE / f".venv-{home}", with_pip=True)
    command = [python_of(home), "-m", "pip", "install", "--quiet", "--quiet", package]
    return subprocess.run(command, check=False).returncode == 0


def main() -> int:
    """Install every peer; the exit code says whether all are there."""
    missing = []
    for home, package in dict.fromkeys((c.home, c.package) for c in CLIENTS.values() if c.package):
        print(f"{package}, in benchmarks/.venv-{home}", flush=True)
        if not _install(home, package):
            missing.append(package)
            print(f"{package} does not install here: it will be left out", flush=True)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
