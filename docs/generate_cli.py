"""Write docs/cli.md from the help texts of the commands: ``python docs/generate_cli.py``."""

import os
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "cli.md"

HEAD = """# The command line

<!-- Written by docs/generate_cli.py from the help texts; change those. -->

Every command explains itself with `--help` (or `-h`). Results go to standard output, notes to standard error.
"""


def page() -> str:
    """Give the text of the page."""
    from topokit_cli.main import app

    names = [command.name for command in app.registered_commands]
    parts = [HEAD, _section("topokit", [])]
    parts += [_section(f"topokit {name}", [name]) for name in names if name]
    return "\n".join(parts)


def _section(title: str, arguments: list[str]) -> str:
    from topokit_cli.main import main

    text = StringIO()
    with redirect_stdout(text):
        main([*arguments, "--help"])
    return f"## {title}\n\n```text\n{text.getvalue().rstrip()}\n```\n"


if __name__ == "__main__":
    os.environ["COLUMNS"], os.environ["TERM"] = "100", "dumb"
    sys.path[:0] = [str(ROOT), str(ROOT / "trainer"), str(ROOT / "cli")]
    PAGE.write_text(page(), encoding="utf-8")
