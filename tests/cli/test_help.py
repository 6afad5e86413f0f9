"""Help: every option is explained, every command has examples that run, and the page in docs/ is up to date."""

import inspect
import re
import runpy
import shlex
from typing import get_type_hints

import pytest

from topokit.designer import design
from topokit_cli.main import app, root

from .conftest import ROOT

COMMANDS = {command.name: command.callback for command in app.registered_commands}
ELSEWHERE = {"train", "compare-runs", "measure"}  # their examples need a run or several ranks, and PyTorch


def examples(name):
    text = inspect.getdoc(COMMANDS[name] if name else root)
    block = re.search(r"Examples:\n((?:  .*\n)+)", text)
    return [line.strip() for line in block.group(1).splitlines()] if block else []


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_is_short_and_long_and_has_examples(run, name):
    short, long = (run(*name.split(), flag) for flag in ("-h", "--help"))
    assert (short.status, long.status) == (0, 0)
    assert short.stdout == long.stdout
    assert f"Usage: topokit {name}".rstrip() in long.stdout
    assert "Examples:" in long.stdout
    assert examples(name)
    for line in examples(name):
        assert line in long.stdout  # neither wrapped nor cut off
        assert f"topokit {name}".rstrip() in line or re.search("topokit_trainer|topokit_cli", line)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_option_and_argument_is_explained(name):
    command = COMMANDS[name] if name else root
    for parameter, hint in get_type_hints(command, include_extras=True).items():
        infos = [info for info in getattr(hint, "__metadata__", ()) if hasattr(info, "help")]
        if infos:
            assert infos[0].help, f"{name} {parameter}"
            assert infos[0].help.endswith("."), f"{name} {parameter}"
        else:
            assert parameter in {"return", "context"}, f"{name} {parameter}"


@pytest.mark.parametrize("line", [line for name in COMMANDS if name not in ELSEWHERE for line in examples(name)])
def test_examples_run(run, tmp_path, line):
    for name in ("schedule", "mine", "ring", "torus", "one-peer"):
        design("one-peer-exponential" if name in {"schedule", "mine", "one-peer"} else name, 12).save(f"{name}.json")
    design("random-matching", 12).save("random.json")
    (tmp_path / "links.csv").write_text("source,target\na,b\nb,c\nc,a\na,c\n")
    (tmp_path / "cluster.csv").write_text("source,target\na,b\nb,c\nc,d\nd,a\na,c\n")
    flow = ""
    for stage in line.split(" | "):
        program, *arguments = shlex.split(stage)
        if program != "topokit":
            assert program == "jq"
            continue
        files = [str(p.name) for p in sorted(tmp_path.glob("*.json")) if p.name != "random.json"]
        arguments = [word for argument in arguments for word in (files if argument == "*.json" else [argument])]
        outcome = run(*arguments, stdin=flow)
        expected = 3 if {"--require", "--min-gap"} & set(arguments) else 0  # twelve nodes do not average exactly
        assert outcome.status == expected, outcome.stderr
        flow = outcome.stdout


def test_the_page_in_docs_is_what_the_commands_say(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "dumb")
    page = runpy.run_path(str(ROOT / "docs" / "generate_cli.py"))["page"]()
    assert page == (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), "run python docs/generate_cli.py"
