"""What README and docs show is run: Python sessions as doctests, console sessions command by command.

In a ``console`` block, lines after ``$ `` are commands and what follows is what they print to both streams; ``...``
stands for anything, as in doctests. Blocks of one page share a folder, in which they run from top to bottom.
"""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from topokit.registry import TOPOLOGIES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def commands_of(block):
    """Split a console block into (command, expected output)."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    for part in parts:
        command, _, expected = part.partition("\n")
        while command.endswith("\\"):
            more, _, expected = expected.partition("\n")
            command = command[:-1] + more.strip()
        yield command, expected


def check_console(block, folder):
    environment = dict(os.environ, TERM="dumb", COLUMNS="120", NO_COLOR="1")
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    for command, expected in commands_of(block):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
        )
        if expected.strip():
            assert doctest.OutputChecker().check_output(expected, done.stdout, OPTIONS), (
                f"$ {command}\nexpected:\n{expected}\ngot:\n{done.stdout}"
            )
        else:
            assert done.returncode == 0, f"$ {command}\n{done.stdout}"


@pytest.mark.timeout(300)  # README's page starts many processes
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TOPOLOGIES, "_entries", dict(TOPOLOGIES))  # a page may register one of its own
    names: dict[str, object] = {}
    text = page.read_text()
    for number, (language, block) in enumerate(BLOCK.findall(text)):
        if language == "console":
            check_console(block, tmp_path)
        elif language == "python" and ">>>" in block:
            test = doctest.DocTestParser().get_doctest(block, names, f"{page.name}[{number}]", str(page), 0)
            runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
            report: list[str] = []
            runner.run(test, out=report.append, clear_globs=False)
            names = test.globs
            assert not runner.failures, "".join(report)
        elif language == "python":
            exec(compile(block, f"{page.name}[{number}]", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
