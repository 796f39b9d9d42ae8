"""The footprint of the library: the time of its import, its size and that of its dependencies."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.rows import Part, Row, Table

__all__ = ["imports", "size"]

ROOT = Path(__file__).resolve().parents[1]
_IMPORT = "import time; t = time.perf_counter(); import mellea_rx; print(time.perf_counter() - t)"


def imports() -> Part:
    """Seconds of `import mellea_rx` in a fresh process."""

    def once() -> float:
        command = [sys.executable, "-c", _IMPORT]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
        return float(done.stdout)

    once()  # from here on its bytecode is there
    took = statistics.median(once() for _ in range(5))
    return Part([Row("import", "0.30 s", f"{took:.2f} s", took <= 0.30)])


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files if each.is_file())


def size() -> Part:
    """Megabytes of the core and all that pip installs with it, bytecode included."""
    case = "installed size of the core"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "-qq", "--target", folder, str(ROOT)]
        if subprocess.run(command, check=False).returncode != 0:
            return Part([Row(case, "25 MB", "pip could not install it", None)])
        sizes = {path.name: _bytes(path) / 1e6 for path in Path(folder).iterdir()}
    total = sum(sizes.values())
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:8]
    lines = [[name, f"{megabytes:.1f}"] for name, megabytes in largest]
    table = Table("Installed size of the core: the largest", ["package", "MB"], lines)
    return Part([Row(case, "25 MB", f"{total:.1f} MB", total <= 25)], [table])
