"""Starting ranks: under torchrun, and from one command; an error is said once, and all ranks end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from topokit.designer import design

ROOT = Path(__file__).parents[2]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


def run(*words):
    environment = dict(os.environ, OMP_NUM_THREADS="1", TERM="dumb")
    environment["PYTHONPATH"] = os.pathsep.join(str(ROOT / part) for part in (".", "trainer", "cli"))
    command = [sys.executable, *(str(word) for word in words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)


@pytest.fixture
def schedule(tmp_path):
    design("ring", 4).save(tmp_path / "ring.json")
    return tmp_path / "ring.json"


@pytest.mark.dist
def test_torchrun_and_the_command_line_agree(schedule, tmp_path):
    options = ("--steps", 20, "--eval-every", 10, "--batch-size", 8, "--dtype", "float64", "--device", "cpu")
    options = (*options, "--gradients", "loop")  # which engine is faster may come out differently
    ranks = run(*TORCHRUN, 2, "-m", "topokit_trainer", schedule, *options, "--out", tmp_path / "ranks")
    assert ranks.returncode == 0, ranks.stderr
    command = run("-m", "topokit_cli", "train", schedule, *options, "--processes", 2, "--json")
    assert command.returncode == 0, command.stderr
    last = json.loads((tmp_path / "ranks" / "metrics.jsonl").read_text().splitlines()[-1])
    again = json.loads(command.stdout)
    del last["seconds"], again["seconds"]
    assert again.pop("contraction") == pytest.approx(last.pop("contraction"), rel=1e-12)
    assert again == last
    assert {p.name for p in (tmp_path / "ranks").iterdir()} >= {
        "config.json",
        "schedule.json",
        "summary.json",
        "plot.png",
    }


@pytest.mark.dist
@pytest.mark.parametrize(
    ("break_it", "options", "message"),
    [
        (
            lambda text: text,
            (),
            "the schedule has 4 nodes, which 3 ranks cannot share evenly; start 1, 2 or 4 processes",
        ),
        pytest.param(
            lambda text: text.replace('"symmetric": true', '"symmetric": false'),
            (),
            "symmetric",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["ranks", "claim"],
)
def test_torchrun_says_an_error_once(schedule, break_it, options, message):
    schedule.write_text(break_it(schedule.read_text()))
    done = run(*TORCHRUN, 3, "-m", "topokit_trainer", schedule, *options)
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert message in errors[0]
    assert "topokit.errors" not in done.stderr, "a traceback of ours reached the user"


def test_the_command_line_checks_before_it_starts_ranks(schedule):
    done = run("-m", "topokit_cli", "train", schedule, "--processes", 3)
    assert done.returncode == 1
    expected = "error: the schedule has 4 nodes, which 3 ranks cannot share evenly; start 1, 2 or 4 processes"
    assert done.stderr.splitlines() == [expected]


@pytest.mark.dist
def test_an_error_in_the_ranks_is_said_once(schedule, tmp_path):
    done = run(
        "-m", "topokit_cli", "train", schedule, "--processes", 2, "--data", "mnist", "--data-path", tmp_path / "no"
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"error: --data-path {tmp_path / 'no'} is not a folder"]
    assert done.stdout == ""
