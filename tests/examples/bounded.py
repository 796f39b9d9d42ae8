"""Runs a program on the embedded model, with answers of a bounded length.

`python bounded.py TOKENS RECORD PROGRAM`. The program is not changed: the backend "local" that it
finds is the embedded model with `MAX_NEW_TOKENS` set, as anybody may register one. (A small model
may repeat itself until its window is full, which takes a minute.) What the program prints is also
written to RECORD, a JSON line for each `print`: seconds, text.
"""

from __future__ import annotations

import builtins
import json
import runpy
import sys
import time
from typing import Any

from mellea_rx import LocalBackend, ModelOption
from mellea_rx.backends import register_backend


def main(tokens: int, record: str, program: str) -> None:
    def bounded(model_id: str | None = None, **options: Any) -> LocalBackend:
        limit = {ModelOption.MAX_NEW_TOKENS: tokens}
        return LocalBackend(model_id, model_options=limit, **options)

    register_backend("local", bounded)
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
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
