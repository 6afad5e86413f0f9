"""Synchronous runs of eight ranks that lose some of them, at any moment, again and again."""

import random
import time

import numpy as np
import pytest
from mortal_ranks import mortal_ranks
from recovery_workers import KILL, STOP, check_rounds, train_and_note

from topokit import design

pytestmark = [pytest.mark.dist, pytest.mark.slow, pytest.mark.timeout(1800)]

RANKS, REPETITIONS = 8, 20
SETTINGS = {
    "on_failure": "reweight",
    "steps": 150,
    "eval_every": 50,
    "checkpoint_every": 0,
    "dtype": "float64",
    "perturb": 0.1,
    "batch_size": 16,
    "timeout": 30.0,
    "gradients": "loop",
}
TARGET = 0.85  # accuracy of the averaged model on the digits


def lose_one(topology, seed, **settings):
    """Run eight ranks, one of which is killed from outside at a random moment; give the results of the others."""
    drawn = random.Random(f"{topology} {seed}")
    victim = seed % RANKS
    with mortal_ranks(train_and_note, RANKS, topology, RANKS, SETTINGS | settings, timeout=120) as group:
        group.word(*(f"trains {rank}" for rank in range(RANKS)))
        time.sleep(drawn.uniform(0, 0.4))
        group.signal(victim, KILL)
        return group.results(*(rank for rank in range(RANKS) if rank != victim))


@pytest.mark.parametrize("topology", ["ring", "one-peer-exponential"])
def test_a_rank_lost_at_a_random_moment_twenty_times(topology):
    seconds = []
    for seed in range(REPETITIONS):
        results = lose_one(topology, seed)
        assert check_rounds(design(topology, RANKS), results) == 3, seed
        first = next(result for result in results if result["rank"] == 0)
        assert [loss["nodes"] for loss in first["lost"]] == [(seed % RANKS,)]
        assert first["rows"][-1]["accuracy"] > TARGET, seed
        assert first["rows"][-1]["living"] == RANKS - 1
        seconds.append(max(result["lost"][0]["seconds"] for result in results))
    print(f"\n{topology}: {np.median(seconds):.2f} s until the others go on (median), {max(seconds):.2f} s at most")
    assert np.median(seconds) < 1.5


@pytest.mark.parametrize(
    ("order", "settings"),
    [
        ("awc", {}),
        ("awc", {"local_steps": 3}),
        ("cta", {"momentum": 0.9, "momentum_mixing": "mixed", "lr": 0.02}),
        ("atc", {"momentum": 0.9, "lr": 0.02}),
    ],
)
def test_every_order_of_steps_and_rounds_survives(order, settings):
    for seed in range(3):
        results = lose_one("one-peer-exponential", seed, order=order, **settings)
        assert check_rounds(design("one-peer-exponential", RANKS), results) == 3
        first = next(result for result in results if result["rank"] == 0)
        assert first["rows"][-1]["accuracy"] > TARGET - 0.1


def test_ranks_are_lost_one_after_the_other_and_while_others_are_mourned():
    end = [(5, 20, "sent", KILL), (0, 20, "before", KILL), (3, 21, "sent", KILL), (7, 60, "before", STOP)]
    with mortal_ranks(
        train_and_note, RANKS, "one-peer-exponential", RANKS, SETTINGS | {"lost_after": 1.5}, end, timeout=120
    ) as group:
        results = group.results(1, 2, 4, 6)
    assert check_rounds(design("one-peer-exponential", RANKS), results) == 3
    first = next(result for result in results if result["rank"] == 0)
    assert sorted(node for loss in first["lost"] for node in loss["nodes"]) == [0, 3, 5, 7]
    assert first["rows"][-1]["accuracy"] > TARGET - 0.05


@pytest.mark.parametrize(
    ("topology", "nodes", "end", "settings"),
    [
        ("one-peer-exponential", 4, [(3, 11, "before", KILL)], {"order": "awc"}),
        ("one-peer-exponential", 4, [(1, 11, "sent", KILL)], {"order": "cta", "momentum": 0.9}),
        ("ring", 4, [(1, 5, "sent", KILL), (0, 8, "before", KILL)], {"local_steps": 2}),
        ("ring", 8, [(2, 11, "sent", KILL)], {"order": "awc", "local_steps": 2}),
        ("random-matching", 4, [(1, 11, "before", KILL)], {}),
    ],
)
def test_a_rank_that_dies_within_a_round(topology, nodes, end, settings):
    gone = {who for who, *_ in end}
    with mortal_ranks(
        train_and_note, 4, topology, nodes, SETTINGS | {"steps": 40} | settings, end, timeout=60
    ) as group:
        results = group.results(*(rank for rank in range(4) if rank not in gone))
    assert check_rounds(design(topology, nodes), results) == 3
