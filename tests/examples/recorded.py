"""Runs a program as it is, and records what it prints, and when.

`python recorded.py RECORD PROGRAM`: each `print` is also a JSON line in RECORD: seconds, text.
"""

from __future__ import annotations

import builtins
import json
import runpy
import sys
import time
from typing import Any


def main(record: str, program: str) -> None:
    real_print = builtins.print
    began = time.monotonic()

    def recording_print(*values: Any, **how: Any) -> None:
        line = json.dumps([time.monotonic() - began, " ".join(map(str, values))])
        with open(record, "a", encoding="utf-8") as file:
            file.write(line + "\n")
        real_print(*values, **how)

    builtins.print = recording_print
    sys.argv = [program]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
