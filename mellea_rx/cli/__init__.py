"""The command line `mellea-rx`, with the commands `run`, `chat`, `models` and `doctor`.

Needs the extra `cli`; this module itself can be imported without it.
"""

from __future__ import annotations

import signal
import sys

from mellea_rx.cli.exit_codes import INTERRUPTED, USAGE_ERROR

__all__ = ["main"]

_MISSING = "the command line of mellea-rx needs an extra: pip install 'mellea-rx[cli]'"


def main() -> None:
    """Run the command line, and exit with one of its exit codes."""
    try:
        code = _run()
    except KeyboardInterrupt:
        code = INTERRUPTED
    # Exiting still closes connections. A second Ctrl-C ends that at once, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


def _run() -> int:
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError:
        print(_MISSING, file=sys.stderr)
        return USAGE_ERROR
    from mellea_rx.cli.app import start

    return start(sys.argv[1:])
