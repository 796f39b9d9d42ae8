"""The virtual environments that clients run in: what is compared must not touch the project's.

`python -m benchmarks.environments` makes those of the peers. It reports what does not install, and
leaves it out.
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


def python_of(environment: str) -> str:
    """The interpreter of an environment; that of the project is the one that runs this."""
    if environment == "project":
        return sys.executable
    return str(HERE / f".venv-{environment}" / "bin" / "python")


def _name(package: str) -> str:
    return package.partition("[")[0]


def version(client: Client) -> str | None:
    """The version of what a client measures; None where it is not installed."""
    if not Path(python_of(client.venv)).exists():
        return None
    command = [python_of(client.venv), "-c", _ASK, _name(client.package)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _install(environment: str, package: str) -> bool:
    if not Path(python_of(environment)).exists():
        venv.create(HERE / f".venv-{environment}", with_pip=True)
    command = [python_of(environment), "-m", "pip", "install", "--quiet", "--quiet", package]
    return subprocess.run(command, check=False).returncode == 0


def main() -> int:
    """Install every peer; the exit code says whether all are there."""
    missing = []
    peers = (each for each in CLIENTS.values() if each.package)
    for environment, package in dict.fromkeys((each.venv, each.package) for each in peers):
        print(f"{package}, in benchmarks/.venv-{environment}", flush=True)
        if not _install(environment, package):
            missing.append(package)
            print(f"{package} does not install here: it will be left out", flush=True)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
