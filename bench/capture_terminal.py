"""Take the README's pictures: a real `bcai run examples/digits.py` in a real terminal (tmux).

    python bench/capture_terminal.py

Writes live.svg (the job at work) and summary.svg (the end) to docs/images.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "images"
COLUMNS, LINES = 92, 40
WAIT_S_MAX = 300
COMMAND = "bcai run examples/digits.py --out out/digits"
THEME = TerminalTheme(
    (22, 27, 34), (201, 209, 217),
    [(72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34),
     (88, 166, 255), (188, 140, 255), (57, 197, 207), (177, 186, 196)],
    [(110, 118, 129), (255, 161, 152), (86, 211, 100), (227, 179, 65),
     (121, 192, 255), (210, 168, 255), (86, 212, 221), (240, 246, 252)],
)  # fmt: skip
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def main() -> None:
    """Run the job in a terminal of its own and keep two moments of it."""
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/tmux"
        (Path(folder) / "examples").symlink_to(ROOT / "examples")
        environment = {
            "BCAI_HOME": f"{folder}/home",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "LC_ALL": "C.UTF-8",
        }
        pairs = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
        shell = f"cd {folder} && env -u NO_COLOR {pairs}"
        subprocess.run(
            ["tmux", "-S", socket, "-u", "new-session", "-d", "-x", str(COLUMNS), "-y", str(LINES),
             f"{shell} sh -c '{COMMAND}; bcai down; sleep 600'"],
            check=True,
        )  # fmt: skip
        try:
            draw("live", wait_for(socket, r"(7|8)\d %"))
            draw("summary", wait_for(socket, r"(?s)SUCCEEDED.*job  .*network stopped"))
        finally:
            subprocess.run(["tmux", "-S", socket, "kill-server"], check=True)


def wait_for(socket: str, pattern: str) -> str:
    """Return the screen, with its colours, once it shows what is wanted."""
    end = time.monotonic() + WAIT_S_MAX
    while time.monotonic() < end:
        screen = subprocess.run(
            ["tmux", "-S", socket, "capture-pane", "-e", "-p"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        if re.search(pattern, Text.from_ansi(screen).plain):
            return screen
        time.sleep(0.1)
    raise TimeoutError(f"the screen never showed {pattern}: {screen}")


def draw(name: str, screen: str) -> None:
    """Write a screen as SVG, without fonts from elsewhere."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bold green"), (COMMAND, "bold")))
    lines = [line for line in screen.rstrip().split("\n") if "network stopped" not in line]
    console.print(Text.from_ansi("\n".join(lines).rstrip()))
    console.print()  # the last line's underscores would be cut off
    svg = console.export_svg(title="bcai", theme=THEME)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: (Fira Code|arial)[^;]*;", f"font-family: {FONT};", svg)
    svg = re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)
    (PICTURES / f"{name}.svg").write_text(svg, encoding="utf-8")
    print(f"wrote {name}.svg")


main()
