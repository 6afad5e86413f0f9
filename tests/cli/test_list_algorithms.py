"""What the command line tells of the training algorithms."""

import json
import re
import subprocess
import sys

import pytest

from topokit_trainer.catalog import ALGORITHMS
from topokit_trainer.config import OWNERS, flag


def parts_of(text):
    """The paragraphs of each algorithm, with line breaks undone."""
    parts = {}
    for block in text.strip().split("\n\n"):
        name, *lines = block.split("\n")
        assert all(line.startswith("  ") for line in lines)
        joined = re.sub(r"\n {4,}", " ", "\n".join(lines))
        summary, rest = re.match(r"((?:  \S.*?\n)+?)(  needs .*)", joined + "\n", re.DOTALL).groups()
        paragraphs = dict(re.fullmatch(r"  (\w+) +(.*)", line).groups() for line in rest.strip("\n").split("\n"))
        parts[name] = {"summary": " ".join(summary.split()), **paragraphs}
    return parts


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_everything_is_told_whatever_the_width(run, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    outcome = run("list", "algorithms")
    lines = outcome.stdout.splitlines()
    assert max(map(len, lines)) <= width
    assert max(map(len, lines)) > width - 12, "the width is used"
    assert not any(line != line.rstrip() for line in lines)
    found = parts_of(outcome.stdout)
    assert list(found) == list(ALGORITHMS)
    for name, facts in ALGORITHMS.items():
        options = ", ".join(flag(option) for option, owners in OWNERS.items() if name in owners)
        expected = {"summary": facts.summary, "needs": facts.needs, "memory": facts.memory, "bytes": facts.traffic}
        assert found[name] == expected | ({"options": options} if options else {}) | {"source": facts.source}
    assert "memory is what a node keeps besides" in outcome.stderr


def test_json_has_the_facts_as_numbers_too(run):
    entries = json.loads(run("list", "algorithms", "--json").stdout)
    assert [entry["name"] for entry in entries] == list(ALGORITHMS)
    for entry in entries:
        facts = ALGORITHMS[entry["name"]]
        assert {k: v for k, v in entry.items() if k not in ("name", "options")} == vars(facts)
        assert entry["options"] == [flag(option) for option, owners in OWNERS.items() if entry["name"] in owners]
    options = {option for entry in entries for option in entry["options"]}
    assert options == set(map(flag, OWNERS)), "every option of the algorithms is listed"


def test_algorithms_are_listed_without_loading_pytorch(command):
    _, environment = command
    code = (
        "import sys; from topokit_cli.main import main; status = main(['list', 'algorithms']);"
        "sys.exit(status or any(m in sys.modules for m in ('torch', 'matplotlib', 'cvxpy', 'sklearn', 'numba')))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr[:5]) == (0, "memor")
