"""Asynchronous training on real ranks: what it reaches and leaves, and what it survives."""

import json
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from async_workers import Drowsy, at_step, eventually, snapshots, train_here
from mortal_ranks import mortal_ranks

from topokit.designer import design
from topokit.errors import InputError
from topokit_trainer import TrainConfig, train
from topokit_trainer.telemetry import read_metrics
from topokit_trainer.world import World

RING = design("pairwise", 4)
UNIT = 0.01  # seconds of a gradient: long beside what a gradient costs, so that averagings find their time
SOON = {"loss": Drowsy(UNIT)}
FILES = {"averaged-model.pt", "config.json", "marks", "metrics.jsonl", "schedule.json", "summary.json"}


def settings(out, **others):
    given = {"steps": 120, "eval_every": 30, "lr": 0.4, "batch_size": 16, "lost_after": 1.5, "device": "cpu"}
    return TrainConfig(**({"algorithm": "async-gossip", "out": out, "timeout": 60} | given | others))


def summary_of(out):
    return json.loads((out / "summary.json").read_text())


@pytest.mark.dist
@pytest.mark.parametrize(
    ("options", "averagings"),
    [
        pytest.param({}, 1, marks=pytest.mark.slow, id="gossip"),
        pytest.param({"acid": True, "momentum": 0.5, "lr": 0.2}, 1, id="acid"),
        pytest.param({"algorithm": "ad-psgd", "lr_schedule": "cosine"}, 2, id="ad-psgd"),
    ],
)
def test_runs_reach_their_accuracy_and_say_how(tmp_path, options, averagings):
    config = settings(tmp_path / "run", **options)
    with mortal_ranks(train_here, 4, RING, config, SOON, timeout=110) as ranks:
        results = ranks.results(*range(4))
    assert [result["error"] for result in results] == [None] * 4
    assert {path.name for path in config.out.iterdir()} == FILES
    rows, summary = read_metrics(config.out), summary_of(config.out)
    assert [row["step"] for row in rows] == [0, 30, 60, 90, 120]
    assert all(result["metrics"] == rows for result in results)
    assert rows[-1]["accuracy"] > 0.8  # 0.06 at the start; how far it gets depends on when averagings come
    assert rows[-1]["node_accuracy_worst"] > 0.7
    assert rows[-1]["living"] == 4
    assert rows[0]["consensus_distance"] == 0
    assert 0.2 * averagings < rows[-1]["averagings_per_gradient"] < 1.2 * averagings  # fewer on a busy machine
    assert 0 < rows[-1]["gradients_per_second"] < 4 / UNIT
    assert (rows[-1]["lr"] < 0.01) == (config.lr_schedule == "cosine")
    assert sum(summary["gradients"]) >= 4 * config.steps
    assert summary["events"] == []
    assert [line.split()[1] for line in results[0]["lines"] if line.startswith("step")] == [
        "0",
        "30",
        "60",
        "90",
        "120",
    ]
    assert all(result["lines"] == [] for result in results[1:]), "one rank speaks for all"

    # What the figures say follows from the snapshots that are kept.
    assert sorted(path.name for path in (config.out / "marks").iterdir()) == ["00000090", "00000120", "run.json"]
    saved = snapshots(config.out, 120)
    x = torch.stack([saved[rank]["x"][0].double() for rank in range(4)])
    distance = float((x - x.mean(0)).square().sum(1).mean().sqrt())
    assert rows[-1]["consensus_distance"] == pytest.approx(distance, rel=1e-12)
    np.testing.assert_allclose(results[2]["average"], x.mean(0).numpy(), rtol=0, atol=1e-6)
    assert rows[-1]["node_accuracy_worst"] == min(snapshot["accuracy"] for snapshot in saved.values())
    assert summary["averagings"] == [saved[rank]["averagings"] for rank in range(4)]
    assert all(bool(snapshot["tilde"]) == config.acid for snapshot in saved.values())


@pytest.mark.slow
@pytest.mark.dist
def test_an_interrupted_run_goes_on_and_a_finished_one_says_so(tmp_path):
    config = settings(tmp_path / "run", steps=150, momentum=0.5, lr=0.2, lr_schedule="cosine")
    with mortal_ranks(train_here, 4, RING, config, SOON, timeout=110) as ranks:
        eventually(lambda: at_step(config.out, 60))
        for rank in range(4):
            ranks.signal(rank, signal.SIGINT if rank % 2 else signal.SIGTERM)
        first = ranks.results(*range(4))
    assert [result["error"] for result in first] == ["interrupted"] * 4
    assert "the same command again to go on" in first[0]["lines"][-1]
    stopped = [torch.load(config.out / "marks" / "stopped" / f"rank-0000{r}.pt", weights_only=True) for r in range(4)]
    before = read_metrics(config.out)
    with mortal_ranks(train_here, 4, RING, config, SOON, timeout=110) as ranks:
        second = ranks.results(*range(4))
    assert [result["error"] for result in second] == [None] * 4
    rows, summary = read_metrics(config.out), summary_of(config.out)
    assert rows[: len(before)] == before
    assert [row["step"] for row in rows] == list(range(0, 151, 30))
    assert all(now >= then["count"] for now, then in zip(summary["gradients"], stopped, strict=True))
    assert sum(summary["gradients"]) < 4 * 150 + 4 * 120, "counts go on where they stood"
    assert rows[-1]["seconds"] > max(snapshot["seconds"] for snapshot in stopped)
    assert rows[-1]["accuracy"] > 0.8  # 0.06 at the start; how far it gets depends on when averagings come
    with mortal_ranks(train_here, 4, RING, config, SOON, timeout=110) as ranks:
        third = ranks.results(*range(4))
    assert third[0]["lines"] == ["the run is finished already, with 150 steps"]
    assert third[3]["metrics"] == rows
    with mortal_ranks(train_here, 4, RING, replace(config, seed=1), SOON, timeout=110) as ranks:
        fourth = ranks.results(*range(4))
    assert all("holds a run with seed 0, not 1" in result["error"] for result in fourth)


@pytest.mark.dist
@pytest.mark.parametrize("victim", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_the_others_finish_when_a_rank_is_killed(tmp_path, victim):
    config = settings(tmp_path / "run", steps=240, acid=True, lost_after=3.0)
    others = [rank for rank in range(4) if rank != victim]
    with mortal_ranks(train_here, 4, RING, config, SOON, timeout=110) as ranks:
        eventually(lambda: at_step(config.out, 30))
        ranks.signal(victim, signal.SIGKILL)
        results = ranks.results(*others)
    assert [result["error"] for result in results] == [None] * 3
    rows, summary = read_metrics(config.out), summary_of(config.out)
    assert [row["step"] for row in rows] == list(range(0, 241, 30))
    assert (rows[1]["living"], rows[-1]["living"]) == (4, 3)
    assert rows[-1]["accuracy"] > 0.85
    about = [event for event in summary["events"] if event["rank"] == victim]
    assert [event["kind"] for event in about] == ["lost"]
    assert set(about[0]["by"]) == set(others)
    assert sum(summary["gradients"]) >= 4 * 240, "the others take the gradients of the one that is lost"
    assert summary["gradients"][victim] < 240
    said = [line for result in results for line in result["lines"] if f"rank {victim} was lost after" in line]
    assert len(said) == 1, "it is said once"


@pytest.mark.slow
@pytest.mark.dist
def test_a_rank_that_was_stopped_catches_up(tmp_path):
    config = settings(tmp_path / "run", steps=420, lost_after=1.0)
    with mortal_ranks(train_here, 4, RING, config, SOON, timeout=110) as ranks:
        eventually(lambda: at_step(config.out, 30))
        ranks.signal(1, signal.SIGSTOP)
        eventually(lambda: any('"lost"' in p.read_text() for p in (config.out / "ranks").glob("*")))
        time.sleep(0.3)
        ranks.signal(1, signal.SIGCONT)
        results = ranks.results(*range(4))
    assert [result["error"] for result in results] == [None] * 4
    summary = summary_of(config.out)
    about = [event["kind"] for event in summary["events"] if event["rank"] == 1]
    assert about == ["lost", "back", "fetched"]
    assert read_metrics(config.out)[-1]["living"] == 4
    assert "rank 1 came back" in results[0]["lines"]


@pytest.mark.dist
def test_a_rank_that_is_started_again_goes_on_with_a_neighbour_s_parameters(tmp_path):
    config = settings(tmp_path / "run", steps=420, lost_after=1.0)
    with mortal_ranks(train_here, 4, RING, config, SOON, timeout=110) as ranks:
        eventually(lambda: at_step(config.out, 60))
        ranks.signal(3, signal.SIGKILL)
        ranks.start(3)
        results = ranks.results(*range(4))
    assert [result["error"] for result in results] == [None] * 4
    rows, summary = read_metrics(config.out), summary_of(config.out)
    fetched = [event for event in summary["events"] if event["kind"] == "fetched"]
    assert [event["rank"] for event in fetched] == [3]
    assert fetched[0]["of"] in (0, 2), "its neighbours on the ring"
    assert "rejoined" in [event["kind"] for event in summary["events"]]
    assert (rows[-1]["living"], rows[-1]["step"]) == (4, 420)
    assert rows[-1]["node_accuracy_worst"] > 0.85
    assert summary["gradients"][3] > 60


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.parametrize("by", ["sleep", "burn"])
def test_a_slow_rank_slows_nobody_down(tmp_path, by):
    for attempt in range(3):  # on a busy machine
        rates = []
        for speeds in ("1", "1,1:0.1"):
            config = settings(tmp_path / f"{attempt} {speeds}", speeds=speeds, slow_by=by, steps=100)
            with mortal_ranks(train_here, 4, RING, config, SOON, timeout=110) as ranks:
                assert [result["error"] for result in ranks.results(*range(4))] == [None] * 4
            saved = snapshots(config.out, 100)
            rates.append([saved[rank]["count"] / saved[rank]["seconds"] for rank in range(4)])
        ratios = [beside / alone for alone, beside in zip(*rates, strict=True)]
        if ratios[1] < 0.3 and min(ratios[0], *ratios[2:]) >= 0.9:
            return
    raise AssertionError(f"the ranks came to {ratios} of their pace")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clock": "real"}, "the schedule has 4 nodes, and there is 1 process; start it with --processes 4"),
        ({"clock": "real", "algorithm": "dsgd"}, "--clock belongs to async-gossip and ad-psgd"),
    ],
)
def test_what_cannot_be_run_in_real_time_is_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        train(RING, settings(tmp_path, **options))


def test_a_real_clock_needs_a_folder():
    from topokit_trainer.asynchronous.start import check

    with pytest.raises(InputError, match="a real clock needs --out"):
        check(RING, settings(None), World(size=4))
    with pytest.raises(InputError, match="there are 3 processes; start it with --processes 4"):
        check(RING, settings(None), World(size=3))


def test_pairs_do_not_meet_through_nccl(tmp_path):
    from topokit_trainer.asynchronous.start import check

    with pytest.raises(InputError, match="a real clock needs --backend gloo"):
        check(RING, settings(tmp_path, backend="nccl"), World(size=4))


def test_who_was_started_again_asks_the_next_neighbour_where_the_first_was_too(tmp_path):
    from types import SimpleNamespace

    from topokit_trainer.asynchronous.links import LinkBroken
    from topokit_trainer.asynchronous.worker import _Worker

    heard, asked, noted = [], [], []

    def wait(predicate, timeout):
        heard.append(1 if 1 not in heard else 3)  # one by one
        return predicate()

    def fetch_from(rank):
        asked.append(rank)
        if rank == 1:
            raise LinkBroken("it was started again, too")
        return [torch.ones(2)], [], 7

    nothing = SimpleNamespace(adopt=lambda x, tilde: None)
    worker = object.__new__(_Worker)
    worker.rank, worker.near, worker.world = 2, [(1, 0.5), (3, 0.5)], World(size=4)
    worker.config = settings(tmp_path)
    worker.peers = SimpleNamespace(living=lambda: frozenset(heard), wait=wait, clear_away=lambda: None)
    worker.gossip = SimpleNamespace(fetch_from=fetch_from)
    worker.learner = SimpleNamespace(state=nothing, forget=lambda: None)
    worker.journal = SimpleNamespace(add=lambda kind, rank, **details: {"kind": kind, "rank": rank} | details)
    worker.roster, worker._tell = SimpleNamespace(was_dropped=lambda: True), noted.append
    worker._catch_up()
    assert asked == [1, 3]
    assert noted == [{"kind": "fetched", "rank": 2, "of": 3}]
