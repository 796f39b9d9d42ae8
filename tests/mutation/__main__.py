"""Mutate a part of the library and see which mutants no test notices.

`python -m tests.mutation wire thunk --minutes 30`: each part is copied to build/mutants/NAME and
mutated there, so that the tree stays as it is. Started again, it goes on where it was. What it
prints: a table, and each mutant that was not noticed, as a diff.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mutmut.stats import status_by_exit_code

from tests.mutation.parts import COPIED, COPIED_FILES, PARTS, ROOT, Part

MUTMUT = str(Path(sys.executable).with_name("mutmut"))
# mutmut sets a context variable at every call, in finalizers too. A finalizer that runs within
# another `set` can crash Python 3.11, so the garbage collector is off.
RUN = "import gc; gc.disable(); from mutmut.__main__ import cli; cli()"
NOTICED = ("killed", "timeout", "segfault")
UNNOTICED = ("survived", "no tests", "suspicious")


def main() -> None:
    """Run the named parts, and print the result of each."""
    parser = argparse.ArgumentParser(description="Which mutants does no test notice?")
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--minutes", type=float, default=30, help="for each part")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--again", action="store_true", help="those that no test noticed")
    parser.add_argument("--report", action="store_true", help="of what is there; run nothing")
    given = parser.parse_args()
    for name in given.parts:
        folder = ROOT / "build" / "mutants" / name
        if not given.report:
            names = unnoticed(folder) if given.again else []
            copy(PARTS[name], folder)
            mutate(folder, names, given.minutes * 60, given.workers)
        report(folder)


def copy(part: Part, folder: Path) -> None:
    """Copy the project, with mutmut's settings for this part."""
    for name in COPIED:
        shutil.copytree(
            ROOT / name,
            folder / name,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    for name in COPIED_FILES:
        shutil.copy2(ROOT / name, folder)
    settings = (ROOT / "pyproject.toml").read_text() + "\n" + part.settings() + "\n"
    (folder / "pyproject.toml").write_text(settings)


def mutate(folder: Path, names: list[str], seconds: float, workers: int) -> None:
    """Run mutmut for these mutants (none: all that were not run yet), at most for these seconds."""
    # Programs that tests start have to find the mutated package too. Python ignores a path for good
    # that does not exist when it starts.
    (folder / "mutants").mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(folder / "mutants")}
    command = [sys.executable, "-c", RUN, "run", "--max-children", str(workers), *names]
    with (folder / "mutmut.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            print(f"not run to its end: stopped after {seconds:.0f} s", flush=True)
        finally:
            stop(process)
    if process.returncode not in (0, -signal.SIGTERM):
        sys.exit(f"mutmut ended with {process.returncode}: see {folder / 'mutmut.log'}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and the workers that it forked; they are one process group."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    process.wait()


def verdicts(folder: Path) -> Iterator[tuple[str, str, str]]:
    """The file, name and verdict of each mutant."""
    for meta in sorted((folder / "mutants").rglob("*.py.meta")):
        file = str(meta.relative_to(folder / "mutants")).removesuffix(".meta")
        for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            yield file, name, status_by_exit_code[code]


def unnoticed(folder: Path) -> list[str]:
    """The names of the mutants that no test noticed."""
    return [name for _, name, verdict in verdicts(folder) if verdict in UNNOTICED]


def report(folder: Path) -> None:
    """Print a table of the files, then each mutant that no test noticed."""
    found = list(verdicts(folder))
    counts = Counter((file, verdict) for file, _, verdict in found)
    print("| file | mutants | noticed | not noticed | not run |\n|---|---|---|---|---|")
    for file in sorted({file for file, _, _ in found}):
        noticed = sum(counts[file, verdict] for verdict in NOTICED)
        unnoticed = sum(counts[file, verdict] for verdict in UNNOTICED)
        total = sum(1 for one, _, _ in found if one == file)
        print(f"| `{file}` | {total} | {noticed} | {unnoticed} | {total - noticed - unnoticed} |")
    for _, name, verdict in found:
        if verdict in UNNOTICED:
            shown = subprocess.run(
                [MUTMUT, "show", name], cwd=folder, capture_output=True, text=True, check=False
            )
            print(f"\n{verdict}: {shown.stdout.strip()}", flush=True)


if __name__ == "__main__":
    main()
