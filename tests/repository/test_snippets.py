"""What README and docs show is run: Python sessions as doctests, console sessions command by command.

In a ``console`` block, lines after ``$ `` are commands and what follows is what they print to both streams; ``...``
stands for anything, as in doctests. Blocks of one page share a folder, in which they run from top to bottom.

A command that needs no shell runs in this process, which has PyTorch already: a process of its own would take seconds
of processor time for that, and most pages have several. Those with pipes go through a shell and the installed command.
"""

import doctest
import io
import os
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

import topokit.designer  # noqa: F401 (fills the registry, of which a copy is kept)
from topokit.registry import TOPOLOGIES
from topokit_cli.main import main

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


def run_here(words):
    """Run a command of ours in this process; give its exit status and what it said on both streams."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        status = main(words)
    return status, said.getvalue()


def run_in_shell(command, folder):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    return done.returncode, done.stdout


def check_console(block, folder):
    for command, expected in commands_of(block):
        program, *words = shlex.split(command)
        # Whatever a shell would take for more than words changes when it is quoted as a word.
        plain = program == "topokit" and shlex.join([program, *words]) == command
        status, said = run_here(words) if plain else run_in_shell(command, folder)
        if expected.strip():
            assert doctest.OutputChecker().check_output(expected, said, OPTIONS), (
                f"$ {command}\nexpected:\n{expected}\ngot:\n{said}"
            )
        else:
            assert status == 0, f"$ {command}\n{said}"


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    for name, value in {"TERM": "dumb", "COLUMNS": "120", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # Typer sets its own


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
