"""Real runs of `topokit train --survive` whose ranks are killed or stopped: none hangs, and all reach the accuracy."""

import signal
import time
from statistics import median

import pytest
from fault_runs import GRAPHS, OPTIONS, TARGET, happenings, newest_snapshots, victim_of
from launched import launched

from topokit.designer import design
from topokit_trainer.telemetry import read_metrics

pytestmark = [pytest.mark.dist, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def story(tmp_path, request):
    """A run by its number: which ranks there are, who is the victim, with momentum or without."""
    number = request.param
    size = list(GRAPHS)[number % len(GRAPHS)]
    design("pairwise", size, graph=GRAPHS[size], seed=number).save(tmp_path / "pairs.json")
    words = ("--survive", "--steps", 1500, "--seed", number, *(["--acid"] if number % 2 else []))
    with launched(tmp_path / "run", tmp_path / "pairs.json", size, *OPTIONS, *words) as run:
        run.until_step(400, timeout=120)
        yield run, size, victim_of(number, size)


def finish(run, size, victim, before):
    """The run ends well, the others never died, and the victim is as good as they are."""
    status, errors = run.end(timeout=150)
    print(errors)
    assert status == 0, errors
    summary, rows = run.summary(), read_metrics(run.folder)
    assert summary["finished"]
    assert summary["accuracy"] > TARGET
    assert rows[-1]["living"] == size
    own = {rank: snapshot["accuracy"] for rank, snapshot in newest_snapshots(run.folder).items()}
    assert own[victim] > min(accuracy for rank, accuracy in own.items() if rank != victim) - 0.05
    usual = median(row["consensus_distance"] for row in rows if 200 <= row["step"] <= before)
    assert rows[-1]["consensus_distance"] < 2 * usual, "the one that came back keeps away from the others"
    assert all(run.kinds(rank) == ["started"] for rank in range(size) if rank != victim)
    return summary


@pytest.mark.parametrize("story", range(10), indirect=True)
def test_a_killed_rank_is_started_again_and_catches_up(story):
    run, size, victim = story
    before, killed = run.steps()[-1], time.time()
    run.kill(victim)
    run.until(lambda: happenings(run.folder, "rejoined", victim), timeout=60)
    assert run.steps()[-1] > before, "the others did not go on without it"
    summary = finish(run, size, victim, before)
    for saw in happenings(run.folder, "lost", victim):
        assert saw["time"] - killed < 5
    assert run.kinds(victim) == ["started", "lost", "restarted"]
    assert "rejoined" in {event["kind"] for event in summary["events"] if event["rank"] == victim}
    assert [event["signal"] for event in summary["launcher"] if event["kind"] == "lost"] == ["SIGKILL"]


@pytest.mark.parametrize("story", range(10, 20), indirect=True)
def test_a_stopped_rank_is_dropped_and_comes_back(story):
    run, size, victim = story
    before, stopped = run.steps()[-1], time.time()
    run.send(victim, signal.SIGSTOP)
    run.until(lambda: len(happenings(run.folder, "lost", victim)) == size - 1, timeout=10)
    assert max(saw["time"] for saw in happenings(run.folder, "lost", victim)) - stopped < 5
    step = run.steps()[-1]
    run.until(lambda: run.steps()[-1] > step, timeout=30)  # the others go on without it
    run.send(victim, signal.SIGCONT)
    run.until(lambda: len(happenings(run.folder, "back", victim)) == size - 1, timeout=10)
    summary = finish(run, size, victim, before)
    assert run.kinds(victim) == ["started"]
    assert {"lost", "back"} <= {event["kind"] for event in summary["events"] if event["rank"] == victim}
