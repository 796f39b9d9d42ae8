"""The command line: `mellea-rx run`, `chat` and `doctor`. Needs the extra `cli`."""

from __future__ import annotations

import signal
import sys

from mellea_rx.cli.exits import INTERRUPTED, WRONG_USAGE

__all__ = ["main"]

_MISSING = "mellea-rx's command line needs its extra: pip install 'mellea-rx[cli]'"


def main() -> None:
    """Run the command line and exit with one of the codes in `mellea_rx.cli.exits`."""
    try:
        code = _run()
    except KeyboardInterrupt:
        code = INTERRUPTED
    # What is left is to let go of connections: a second Ctrl-C may end that, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


def _run() -> int:
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError:
        print(_MISSING, file=sys.stderr)
        return WRONG_USAGE
    from mellea_rx.cli.app import start

    return start(sys.argv[1:])
