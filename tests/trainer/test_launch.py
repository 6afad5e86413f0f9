"""Starting ranks: under torchrun, and from one command; an error is said once, and all ranks end."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from exchange_workers import train_on
from launched import launched
from ranks import run_ranks

from topokit.designer import design
from topokit_cli.main import main
from topokit_trainer.config import TrainConfig
from topokit_trainer.loop import train
from topokit_trainer.rank_processes import RankProcesses

ROOT = Path(__file__).parents[2]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


def run(*words):
    environment = dict(os.environ, OMP_NUM_THREADS="1", TERM="dumb")
    environment["PYTHONPATH"] = os.pathsep.join(str(ROOT / part) for part in (".", "trainer", "cli"))
    command = [sys.executable, *(str(word) for word in words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)


def words_of(settings):
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]


@pytest.fixture
def schedule(tmp_path):
    design("ring", 4).save(tmp_path / "ring.json")
    return tmp_path / "ring.json"


SETTINGS = {"steps": 20, "eval_every": 10, "batch_size": 8, "dtype": "float64", "device": "cpu", "gradients": "loop"}


def check_last(found):
    """Compare the last evaluation of a run with that of ranks which nobody had to launch."""
    found = dict(found)
    (_, (*_, last), *_), _ = run_ranks(train_on, 2, design("ring", 4), TrainConfig(**SETTINGS), {})
    del last["seconds"], found["seconds"]
    assert found.pop("contraction") == pytest.approx(last.pop("contraction"), rel=1e-12)
    assert found == last


@pytest.mark.dist
def test_torchrun_starts_the_same_run(schedule, tmp_path):
    ranks = run(*TORCHRUN, 2, "-m", "topokit_trainer", schedule, *words_of(SETTINGS), "--out", tmp_path / "ranks")
    assert ranks.returncode == 0, ranks.stderr
    check_last(json.loads((tmp_path / "ranks" / "metrics.jsonl").read_text().splitlines()[-1]))
    assert {p.name for p in (tmp_path / "ranks").iterdir()} >= {
        "config.json",
        "schedule.json",
        "summary.json",
        "plot.png",
    }


@pytest.mark.dist
@pytest.mark.slow
def test_the_command_line_starts_the_same_run(schedule):
    command = run("-m", "topokit_cli", "train", schedule, *words_of(SETTINGS), "--processes", 2, "--json")
    assert command.returncode == 0, command.stderr
    check_last(json.loads(command.stdout))


@pytest.mark.dist
@pytest.mark.parametrize(
    ("break_it", "options", "message"),
    [
        (
            lambda text: text,
            (),
            "the schedule has 3 nodes, which 2 ranks cannot share evenly; start 1 or 3 processes",
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
    design("ring", 3).save(schedule)
    schedule.write_text(break_it(schedule.read_text()))
    done = run(*TORCHRUN, 2, "-m", "topokit_trainer", schedule, *options)
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert message in errors[0]
    assert "topokit.errors" not in done.stderr, "a traceback of ours reached the user"


def test_the_command_line_checks_before_it_starts_ranks(schedule, monkeypatch, capsys):
    monkeypatch.setattr(RankProcesses, "start", None)
    assert main(["train", str(schedule), "--processes", "3"]) == 1
    expected = "error: the schedule has 4 nodes, which 3 ranks cannot share evenly; start 1, 2 or 4 processes"
    assert capsys.readouterr().err.splitlines() == [expected]


@pytest.mark.slow
@pytest.mark.dist
def test_an_error_in_the_ranks_is_said_once(schedule, tmp_path):
    done = run(
        "-m", "topokit_cli", "train", schedule, "--processes", 2, "--data", "mnist", "--data-path", tmp_path / "no"
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"error: --data-path {tmp_path / 'no'} is not a folder"]
    assert done.stdout == ""


@pytest.mark.dist
@pytest.mark.parametrize(("lost", "by_command"), [(0, False), pytest.param(1, True, marks=pytest.mark.slow)])
def test_a_rank_that_is_killed_is_named_and_the_run_goes_on_from_its_checkpoint(schedule, tmp_path, lost, by_command):
    settings = {"steps": 400, "eval_every": 200, "batch_size": 4, "dtype": "float64", "gradients": "loop"}
    words = (tmp_path / "run", schedule, 2, *words_of(settings), "--checkpoint-every", 20)
    with launched(*words) as run:
        run.until(lambda: list((tmp_path / "run" / "checkpoints").glob("step-*")))
        run.kill(lost)
        status, errors = run.end(timeout=10)
    assert status == 1
    *_, last = errors.splitlines()
    assert last.startswith(f"error: rank {lost} was killed by SIGKILL")
    assert last.endswith("give the same command again to go on from the last checkpoint")
    assert errors.count("error") == 1, errors
    if by_command:
        with launched(*words) as run:
            status, errors = run.end()
        assert status == 0, errors
        assert "going on after step" in errors
    else:  # on ranks that are there sooner
        again = TrainConfig(**settings, device="cpu", checkpoint_every=20, out=tmp_path / "run")
        assert all(begun > 0 for _, _, begun, *_ in run_ranks(train_on, 2, design("ring", 4), again, {}))
    whole = train(design("ring", 4), TrainConfig(**settings, device="cpu")).final
    assert run.summary()["loss"] == pytest.approx(whole["loss"], rel=1e-9)
    assert run.summary()["consensus_distance"] == pytest.approx(whole["consensus_distance"], rel=1e-6)


@pytest.mark.dist
@pytest.mark.slow
def test_a_rank_that_is_stopped_is_named_when_the_others_have_waited_long_enough(schedule, tmp_path):
    with launched(tmp_path / "run", schedule, 4, "--steps", 100000, "--timeout", 3, "--checkpoint-every", 0) as run:
        run.until_step(50)
        run.send(2, signal.SIGSTOP)
        status, errors = run.end(timeout=20)
    assert status == 1
    assert errors.splitlines()[-1].startswith("error: rank 2 was stopped by a signal, which ended the run; nothing")
