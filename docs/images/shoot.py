"""Takes the picture in the README: the last screen of `make run`, as an SVG.

`python docs/images/shoot.py` from the repository's root, on a machine with little else to do.
"""

import io
import re
import subprocess
from pathlib import Path

import pexpect
from rich.console import Console
from rich.text import Text

WIDTH = 92
HERE = Path(__file__).parent

subprocess.run(["make", "run"], check=True, capture_output=True)  # its set-up is no picture
child = pexpect.spawn("make", ["run"], dimensions=(40, WIDTH), encoding="utf-8", timeout=300)
child.expect(pexpect.EOF)
# The frames before the last one are drawn over: each begins where a line is erased.
screen = child.before.replace("\r\n", "\n").rpartition("\x1b[2K")[2].rstrip()

console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
console.print(Text("$ make run", style="bold"))
console.print(Text.from_ansi(screen))
svg = console.export_svg(title="mellea-rx")
svg = re.sub(r"@font-face \{[^}]*\}\s*", "", svg)  # fonts from elsewhere: the reader's own will do
(HERE / "run.svg").write_text(svg, encoding="utf-8")
plain = Text.from_ansi(screen).plain
print("\n".join(line.rstrip() for line in plain.splitlines()))
