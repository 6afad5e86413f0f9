"""Synchronous training that loses ranks, and goes on without them."""

import signal

import numpy as np
import pytest
from mortal_ranks import mortal_ranks
from recovery_workers import KILL, STOP, check_rounds, end_of, train_and_note

from topokit import design
from topokit.errors import InputError
from topokit_trainer.config import TrainConfig
from topokit_trainer.launch import start_ranks
from topokit_trainer.loop import Trainer
from topokit_trainer.recovery import require_recoverable
from topokit_trainer.telemetry import read_metrics
from topokit_trainer.world import World

pytestmark = pytest.mark.dist

SETTINGS = {
    "on_failure": "reweight",
    "steps": 20,
    "eval_every": 10,
    "checkpoint_every": 0,
    "dtype": "float64",
    "perturb": 0.1,
    "batch_size": 16,
    "timeout": 20.0,
    "gradients": "loop",
}


def lose(topology, nodes, ranks, end, **settings):
    """Run ranks of which some end; give the results of the others."""
    gone = {who for who, *_ in end}
    alive = [rank for rank in range(ranks) if rank not in gone]
    with mortal_ranks(train_and_note, ranks, topology, nodes, SETTINGS | settings, end, timeout=40) as group:
        return group.results(*alive)


@pytest.mark.parametrize(
    ("topology", "nodes", "end", "settings"),
    [
        ("ring", 4, [(2, 11, "sent", KILL)], {}),
        ("one-peer-exponential", 4, [(0, 11, "before", KILL)], {}),
        ("ring", 8, [(0, 11, "sent", KILL)], {"momentum": 0.9, "momentum_mixing": "mixed"}),
        ("ring", 4, [(1, 7, "before", KILL), (3, 7, "sent", KILL)], {"local_steps": 2, "order": "awc"}),
    ],
)
def test_the_living_go_on_with_the_complement_and_keep_their_mean(topology, nodes, end, settings):
    results = lose(topology, nodes, 4, end, **settings)
    assert check_rounds(design(topology, nodes), results) == 3
    first = next(result for result in results if result["rank"] == 0)
    assert [row["step"] for row in first["rows"]] == [0, 10, 20]
    assert first["rows"][-1]["living"] == nodes * len(results) // 4
    share = nodes // 4
    lost = {rank * share + k for rank, *_ in end for k in range(share)}
    assert {node for loss in first["lost"] for node in loss["nodes"]} == lost
    assert [result["keys"] for result in results] == [
        [rank * share + k for k in range(share)] for rank in range(4) if rank * share not in lost
    ]


def test_a_rank_that_hangs_is_waited_for_and_then_left_behind():
    with mortal_ranks(
        train_and_note,
        4,
        "ring",
        4,
        SETTINGS | {"lost_after": 1.0, "timeout": 3.0},
        [(1, 11, "sent", STOP)],
        timeout=40,
    ) as group:
        results = group.results(0, 2, 3)
        group.signal(1, signal.SIGCONT)
        with pytest.raises(AssertionError, match=r"rank 1 was silent for too long .* the others go on without it"):
            group.results(1)
    assert check_rounds(design("ring", 4), results) == 3
    assert all(result["lost"][0]["seconds"] < 2.5 for result in results)


def test_the_lowest_rank_left_writes_and_the_run_can_go_on_with_all(tmp_path):
    settings = {"out": str(tmp_path / "run"), "checkpoint_every": 10}
    results = lose("ring", 4, 4, [(0, 13, "sent", KILL)], **settings)
    assert check_rounds(design("ring", 4), results) == 3
    rows = read_metrics(tmp_path / "run")
    assert [row["step"] for row in rows] == [0, 10, 20]
    assert [row["living"] for row in rows] == [4, 4, 3]
    # Alone, with all four nodes: the lost one starts again from the mean of the others, which stays.
    config = TrainConfig(**(SETTINGS | settings))
    trainer = Trainer(design("ring", 4), config)
    X = np.concatenate([stack.detach().numpy() for stack in trainer.nodes.stacks.stacks], axis=1)
    final = np.concatenate([r["final"] for r in sorted(results, key=lambda r: r["rank"])])
    np.testing.assert_array_equal(X[1:], final)
    np.testing.assert_allclose(X[0], final.mean(0), atol=1e-15)


def test_by_default_the_run_ends_and_names_the_rank_that_was_lost():
    settings = SETTINGS | {"on_failure": "stop"}
    with mortal_ranks(end_of, 4, "ring", 4, settings, [(2, 11, "sent", KILL)], timeout=40) as group:
        errors = group.results(0, 1, 3)
    for error in errors:
        assert "broke off: rank 2 is lost" in error
        assert error.endswith("start the same command again to go on from the last checkpoint")
        assert "\n" not in error


@pytest.mark.parametrize(
    ("settings", "backend", "message"),
    [
        ({"outer_every": 10}, "gloo", "cannot be had with outer steps"),
        ({"momentum": 0.9, "momentum_mixing": "quasi-global"}, "gloo", "--momentum-mixing local or mixed"),
        ({}, "nccl", "needs --backend gloo"),
    ],
)
def test_what_cannot_go_on_is_refused_before_the_run(settings, backend, message):
    config = TrainConfig(algorithm="dsgd", on_failure="reweight", **settings)
    with pytest.raises(InputError, match=message):
        require_recoverable(config, World(size=2, backend=backend))


def test_without_ranks_to_lose_nothing_changes():
    settings = {"steps": 6, "eval_every": 3, "checkpoint_every": 0, "dtype": "float64"}
    plain = Trainer(design("ring", 4), TrainConfig(**settings)).run()
    alone = Trainer(design("ring", 4), TrainConfig(on_failure="reweight", **settings)).run()
    drop = {"seconds"}
    assert [{k: v for k, v in row.items() if k not in drop} for row in plain.metrics] == [
        {k: v for k, v in row.items() if k not in drop} for row in alone.metrics
    ]


def test_ranks_that_lose_nobody_do_as_without_recovery():
    with_it, without = (
        lose("one-peer-exponential", 4, 4, [], on_failure=mode, steps=8) for mode in ("reweight", "stop")
    )
    for a, b in zip(with_it, without, strict=True):
        np.testing.assert_array_equal(a["final"], b["final"])


def test_ranks_that_all_end_with_the_first_cannot_go_on(tmp_path):
    design("ring", 4).save(tmp_path / "ring.json")
    with pytest.raises(InputError, match="--on-failure reweight needs --survive, too"):
        start_ranks(str(tmp_path / "ring.json"), TrainConfig(on_failure="reweight"), 2)
