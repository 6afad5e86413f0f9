"""A run that is interrupted, in whatever way, and started again ends where an uninterrupted one does."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from exchange_workers import train_on
from ranks import run_ranks

from topokit.designer import design
from topokit_trainer.config import add_arguments, config_from_arguments
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


def options_of(folder, order, steps):
    return ["--out", str(folder), "--order", order, "--steps", str(steps), *OPTIONS]


def start(folder, processes, *asked):
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    environment["PYTHONPATH"] = os.pathsep.join(str(ROOT / part) for part in (".", "trainer", "cli"))
    command = [
        *(sys.executable, "-m", "topokit_cli", "train", str(folder.parent / "schedule.json")),
        *("--processes", str(processes), *options_of(folder, *asked)),
    ]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def run_here(schedule, folder, processes, *asked):
    """Run the same without a command, on ranks that are there sooner."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    run_ranks(train_on, processes, schedule, config_from_arguments(parser.parse_args(options_of(folder, *asked))), {})


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


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.parametrize(
    ("processes", "order", "number", "by_command"),
    [
        (1, "atc", signal.SIGINT, True),
        (2, "awc", signal.SIGKILL, False),
        (2, "awc", signal.SIGKILL, True),
        (1, "awc", signal.SIGKILL, True),
        (2, "atc", signal.SIGINT, True),
    ],
)
def test_interrupted_runs_go_on(tmp_path, processes, order, number, by_command):
    steps, schedule = 200, design("one-peer-exponential", 4)
    schedule.save(tmp_path / "schedule.json")
    process = start(tmp_path / "interrupted", processes, order, steps)
    status = interrupt(process, tmp_path / "interrupted", number)
    assert status == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert not (tmp_path / "interrupted" / "summary.json").exists(), "the run ended before it could be interrupted"
    if by_command:
        finish(start(tmp_path / "interrupted", processes, order, steps))
    else:
        run_here(schedule, tmp_path / "interrupted", processes, order, steps)
    run_here(schedule, tmp_path / "straight", processes, order, steps)
    assert trajectory(tmp_path / "interrupted") == trajectory(tmp_path / "straight")
    assert json.loads((tmp_path / "interrupted" / "summary.json").read_text())["finished"]
