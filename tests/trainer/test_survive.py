"""A launcher whose ranks may die: they are started again, told to end, or given up, and never left behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import dummy_rank
import pytest
from fault_runs import OPTIONS
from launched import launched, rank_pids

from topokit.designer import design
from topokit.errors import InputError, TopokitError
from topokit_cli.main import main
from topokit_trainer import survive
from topokit_trainer.config import TrainConfig
from topokit_trainer.survive import Launcher, Survival, start_survivors, survival_of

ROOT = Path(__file__).parents[2]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the states of processes are read from /proc")
pytestmark = pytest.mark.dist


class Run:
    """A launcher of dummy ranks in a thread."""

    def __init__(self, folder, size, **survival):
        self.folder, self.said, self.outcome = folder, [], None
        command = [sys.executable, dummy_rank.__file__, str(folder)]
        self.launcher = Launcher(command, size, Survival(**survival), folder, self.said.append)
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            self.outcome = self.launcher.run()
        except TopokitError as error:
            self.outcome = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        (self.folder / "finish").touch()
        self.thread.join(timeout=30)
        assert not self.thread.is_alive()

    def events(self):
        return [json.loads(line) for line in (self.folder / "launcher.jsonl").read_text().splitlines()]

    def kinds(self, rank):
        return [event["kind"] for event in self.events() if event.get("rank") == rank]

    def pid(self, rank):
        return [event["pid"] for event in self.events() if event.get("rank") == rank and "pid" in event][-1]


def until(condition, timeout=30.0):
    limit = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def lines(folder, rank):
    path = folder / f"rank-{rank}"
    return path.read_text().splitlines() if path.exists() else []


def all_started(folder, size, times=1):
    until(lambda: all(lines(folder, rank).count("started") >= times for rank in range(size)))


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(ROOT / part) for part in (".", "trainer")))
    monkeypatch.setattr(survive, "FIRST_PAUSE", 0.05)


def test_a_rank_that_dies_is_started_again_so_many_times(tmp_path):
    with Run(tmp_path, 3, restarts=1) as run:
        all_started(tmp_path, 3)
        os.kill(run.pid(0), signal.SIGKILL)
        until(lambda: lines(tmp_path, 0).count("started") == 2)
        os.kill(run.pid(0), signal.SIGTERM)
        until(lambda: run.kinds(0).count("lost") == 2)
    assert run.outcome == 0
    assert run.kinds(0) == ["started", "lost", "restarted", "lost"]
    assert run.kinds(1) == run.kinds(2) == ["started"]
    assert [event["signal"] for event in run.events() if event["kind"] == "lost"] == ["SIGKILL", "SIGTERM"]
    assert run.events()[-1]["kind"] == "finished"
    assert run.said == [
        "rank 0 was killed by SIGKILL; it is started again in 0 s (1 of 1)",
        "rank 0 was killed by SIGTERM and has used all its restarts (1); the others go on without it",
    ]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["step"] == 10
    assert [event["kind"] for event in summary["launcher"]] == ["lost", "restarted", "lost"]


def test_without_a_rank_left_the_run_has_failed(tmp_path):
    with Run(tmp_path, 2) as run:
        all_started(tmp_path, 2)
        for rank in range(2):
            os.kill(run.pid(rank), signal.SIGKILL)
        run.thread.join(timeout=30)
        assert not (tmp_path / "finish").exists()
    assert isinstance(run.outcome, TopokitError)
    assert "no rank is left" in str(run.outcome)


def test_an_old_summary_does_not_make_a_failed_run_a_finished_one(tmp_path):
    (tmp_path / "summary.json").write_text('{"finished": true}')
    with Run(tmp_path, 1) as run:
        all_started(tmp_path, 1)
        os.kill(run.pid(0), signal.SIGKILL)
        run.thread.join(timeout=30)
    assert isinstance(run.outcome, TopokitError)


def test_what_the_ranks_refuse_is_said_once_and_not_tried_again(tmp_path):
    with Run(tmp_path, 2, restarts=3) as run:  # each of them imports PyTorch to say so
        all_started(tmp_path, 2)
        (tmp_path / "refuse").touch()
        run.thread.join(timeout=30)
        assert not (tmp_path / "finish").exists()
    assert isinstance(run.outcome, InputError)
    assert str(run.outcome) == "--lr must be modest"
    assert [lines(tmp_path, rank) for rank in range(2)] == [["started"]] * 2


@LINUX
def test_a_stopped_rank_is_killed_and_a_busy_one_is_not(tmp_path):
    (tmp_path / "burn-1").touch()
    with Run(tmp_path, 3, kill_stopped_after=0.5) as run:
        all_started(tmp_path, 3)
        os.kill(run.pid(2), signal.SIGSTOP)
        time.sleep(0.25)
        os.kill(run.pid(2), signal.SIGCONT)  # in time
        time.sleep(0.5)
        assert run.kinds(2) == ["started"]
        os.kill(run.pid(2), signal.SIGSTOP)
        until(lambda: "lost" in run.kinds(2))
    assert run.kinds(2) == ["started", "hung", "lost"]
    assert run.kinds(1) == ["started"]
    assert run.outcome == 0


@LINUX
def test_a_stopped_rank_may_come_back_but_does_not_hold_up_the_end(tmp_path):
    with Run(tmp_path, 2) as run:
        all_started(tmp_path, 2)
        os.kill(run.pid(1), signal.SIGSTOP)
        time.sleep(0.5)
        assert run.kinds(1) == ["started"]
    assert run.outcome == 0
    assert run.kinds(1) == ["started", "lost"]
    assert run.said == ["rank 1 was killed by SIGKILL when the run was over"]


@pytest.fixture
def process(tmp_path):
    for name in ("hard-of-hearing-1", "deaf-2"):
        (tmp_path / name).touch()
    command = [sys.executable, dummy_rank.__file__, str(tmp_path), "4"]
    launcher = subprocess.Popen(command, start_new_session=True)
    all_started(tmp_path, 4)
    ranks = rank_pids(launcher.pid)
    assert set(ranks) == {0, 1, 2, 3}
    yield launcher
    for pid in (launcher.pid, *ranks.values()):
        if lives(pid):
            os.kill(pid, signal.SIGKILL)
    launcher.wait()


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@LINUX
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_who_interrupts_the_launcher_interrupts_the_ranks(process, tmp_path, number):
    ranks = rank_pids(process.pid)
    os.kill(ranks[3], signal.SIGSTOP)
    process.send_signal(number)
    assert process.wait(timeout=20) == 130
    assert not any(lives(pid) for pid in ranks.values())
    assert [lines(tmp_path, rank) for rank in range(3)] == [
        ["started", "SIGINT"],
        ["started", "SIGINT"],
        ["started", "SIGINT", "SIGTERM"],
    ]
    assert json.loads((tmp_path / "launcher.jsonl").read_text().splitlines()[-1])["kind"] == "interrupted"


@LINUX
def test_ranks_end_with_a_launcher_that_is_killed(process):
    ranks = rank_pids(process.pid)
    os.kill(ranks[3], signal.SIGSTOP)
    process.kill()
    process.wait()
    until(lambda: not any(lives(pid) for pid in ranks.values()), timeout=5)


@pytest.mark.parametrize(
    ("algorithm", "options", "processes", "restarts", "message"),
    [
        ("async-gossip", {}, 1, None, "needs several ranks"),
        ("async-gossip", {"clock": "simulated"}, 4, None, "this one is async-gossip with a simulated clock"),
        ("dsgd", {}, 4, None, "this one is dsgd with --on-failure stop"),
        ("push-sum", {}, 4, None, "this one is push-sum$"),
        ("dsgd", {"on_failure": "reweight"}, 4, 2, "--restarts is for asynchronous runs"),
        ("ad-psgd", {}, 4, -1, "--restarts must be at least 0"),
    ],
)
def test_runs_that_cannot_survive_a_rank_are_refused(algorithm, options, processes, restarts, message):
    with pytest.raises(InputError, match=message):
        survival_of(algorithm, TrainConfig(**options), processes, restarts)


def test_what_does_not_fit_is_refused_before_anything_is_started(tmp_path):
    design("ring", 4).save(tmp_path / "ring.json")
    reweight = TrainConfig(on_failure="reweight", out=tmp_path / "run")
    with pytest.raises(InputError, match="which 3 ranks cannot share evenly"):
        start_survivors(str(tmp_path / "ring.json"), reweight, 3, print)
    with pytest.raises(InputError, match="give --out"):
        start_survivors(str(tmp_path / "ring.json"), TrainConfig(on_failure="reweight"), 2, print)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--restarts", "2"], "--restarts belongs to --survive"),
        (["--survive"], "--survive needs several ranks"),
        (["--survive", "--search-active", "--algorithm", "teleportation"], "--search-active is several"),
    ],
)
def test_the_command_line_refuses_in_one_sentence(tmp_path, capsys, options, message):
    design("ring", 4).save(tmp_path / "ring.json")
    assert main(["train", str(tmp_path / "ring.json"), *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert len(error.splitlines()) == 1


@LINUX
@pytest.mark.slow
def test_a_real_run_goes_on_without_rank_0(tmp_path):
    design("pairwise", 3, graph="complete").save(tmp_path / "pairs.json")
    words = (*OPTIONS, "--survive", "--restarts", 0, "--steps", 300, "--eval-every", 50, "--speeds", 0.1)
    with launched(tmp_path / "run", tmp_path / "pairs.json", 3, *words) as run:
        run.until_step(50)
        run.kill(0)
        status, errors = run.end()
        assert status == 0, errors
        summary = run.summary()
    assert "rank 0 was killed by SIGKILL; the others go on without it" in errors
    assert summary["finished"]
    assert summary["living"] == 2
    assert sum(summary["gradients"]) >= 900, "the others take the gradients that the lost one does not"
    assert summary["accuracy"] > 0.8
    assert ("lost", 0) in {(event["kind"], event["rank"]) for event in summary["events"]}
    assert [(event["kind"], event["rank"], event["signal"]) for event in summary["launcher"]] == [
        ("lost", 0, "SIGKILL")
    ]
