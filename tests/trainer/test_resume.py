"""A run that is interrupted, in whatever way, and started again ends where an uninterrupted one does."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from topokit.designer import design
from topokit_trainer.telemetry import read_metrics

ROOT = Path(__file__).parents[2]
OPTIONS = [
    *(
        "--partition",
        "dirichlet",
        "--momentum",
        "0.9",
        "--lr-schedule",
        "cosine",
        "--batch-size",
        "8",
        "--device",
        "cpu",
    ),
    *("--eval-every", "40", "--checkpoint-every", "25", "--gradients", "loop"),
]


def start(folder, processes, order, steps):
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    environment["PYTHONPATH"] = os.pathsep.join(str(ROOT / part) for part in (".", "trainer", "cli"))
    command = [
        *(sys.executable, "-m", "topokit_cli", "train", str(folder.parent / "schedule.json"), "--out", str(folder)),
        *("--processes", str(processes), "--order", order, "--steps", str(steps), *OPTIONS),
    ]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(process):
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    return output


def interrupt(process, folder, number):
    """Send the signal to everything that the command started, once a checkpoint is there."""
    limit = time.monotonic() + 60
    while not list((folder / "checkpoints").glob("step-*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.002)
    os.killpg(process.pid, number)
    process.communicate(timeout=60)
    # Ranks are sessions of their own, which end when they see that their launcher is gone.
    while any(str(folder) in command for command in running_commands()):
        assert time.monotonic() < limit, "ranks outlived their launcher"
        time.sleep(0.05)
    return process.returncode


def running_commands():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")


def trajectory(folder):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(folder)]


@pytest.mark.dist
@pytest.mark.parametrize(
    ("processes", "order", "number"),
    [
        pytest.param(1, "atc", signal.SIGINT, marks=pytest.mark.slow),
        (2, "awc", signal.SIGKILL),
        pytest.param(1, "awc", signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param(2, "atc", signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_interrupted_runs_go_on(tmp_path, processes, order, number):
    steps = 300
    design("one-peer-exponential", 4).save(tmp_path / "schedule.json")
    process = start(tmp_path / "interrupted", processes, order, steps)
    status = interrupt(process, tmp_path / "interrupted", number)
    assert status == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert not (tmp_path / "interrupted" / "summary.json").exists(), "the run ended before it could be interrupted"
    finish(start(tmp_path / "interrupted", processes, order, steps))
    finish(start(tmp_path / "straight", processes, order, steps))
    assert trajectory(tmp_path / "interrupted") == trajectory(tmp_path / "straight")
    assert json.loads((tmp_path / "interrupted" / "summary.json").read_text())["finished"]
