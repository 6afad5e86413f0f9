"""The application as a function, and as a process."""

import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from topokit_cli.main import main

ROOT = Path(__file__).parents[2]


@dataclass
class Outcome:
    status: int
    stdout: str
    stderr: str


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command in this process, in an empty folder, the way the console script does."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"TERM": "dumb", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # Typer sets its own

    def run_command(*arguments, stdin=""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8"))
        status = main([str(argument) for argument in arguments])
        return Outcome(status, *capsys.readouterr())

    return run_command


@pytest.fixture
def command():
    """Give the command line, and the environment in which it runs from any folder."""
    roots = [str(ROOT), str(ROOT / "trainer"), str(ROOT / "cli")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(roots), "TERM": "dumb", "COLUMNS": "100"}
    return [sys.executable, "-m", "topokit_cli"], environment


@pytest.fixture
def start(command, tmp_path):
    """Start a command as a process, in an empty folder."""
    line, environment = command
    running = []

    def start_command(*arguments, **options):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
        process = subprocess.Popen([*line, *arguments], env=environment, **{**pipes, **options})
        running.append(process)
        return process

    yield start_command
    for process in running:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
