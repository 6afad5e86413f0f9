"""Compressed gossip between ranks: its equations, and replicas that are the same bits at all who hold them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from compressed import config_of, trainer_of
from compressed_cases import CASES, RING, SCHEDULES, by_hand, by_name, check_counts, message_size
from compressed_workers import Run, gossip_on
from problems import CLASSES, FEATURES, blobs, linear
from ranks import run_ranks
from torch import nn

from topokit.designer import design

SHARED = ["choco SignTopK", "sparq step", "sparq on matchings"]
SEVERAL = ("top-k:0.3+sign", "qsgd:4", "low-rank:1", "rand-k:0.7+bf16")
SINGLE = {"dtype": "float32", "compressor": "identity", "consensus_step": "0.1"}


def two_layers():
    """A weight or a bias for each compressor."""
    return nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, CLASSES))


LAYERS, LINEAR = {"model": two_layers, "data": blobs(dtype=torch.float32)}, {"model": linear, "data": blobs()}


@pytest.fixture(scope="module")
def on_ranks(tmp_path_factory):
    """The runs, and what four ranks made of them and then two, which go on with those that broke off."""
    folders = [tmp_path_factory.mktemp("run") for _ in range(2)]
    bits = config_of("squarm-sgd", **SINGLE, steps=60, trigger="constant:100", out=folders[0], checkpoint_every=20)
    gamma = config_of(
        "sparq-sgd",
        steps=40,
        trigger="constant:6",
        compressor="top-k:0.3",
        consensus_step="tuned",
        out=folders[1],
        checkpoint_every=15,
    )
    runs = [Run(SCHEDULES[CASES[name][0]], CASES[name][1], LINEAR) for name in SHARED]
    hypercube = SCHEDULES["one-peer-hypercube"]
    broken = [
        Run(hypercube, bits, LAYERS, 45, SEVERAL),
        Run(RING, gamma, LINEAR, 33, found=(0.2, 0.3, 0.1, 0.4)),
    ]
    found = {4: run_ranks(gossip_on, 4, runs + broken, timeout=100)}
    found[2] = run_ranks(
        gossip_on, 2, runs + [replace(run, stop=None, found=run.found[1:]) for run in broken], timeout=100
    )
    return runs + broken, found


def replicas_of_all(ranks, number):
    """All holders have the same bits; give one's own."""
    own = {key: value for rank in ranks for key, value in rank[number].own.items()}
    heard = [item for rank in ranks for item in rank[number].heard.items()]
    assert heard
    assert all(own[key] == value for key, value in heard)
    return own


@pytest.mark.dist
@pytest.mark.parametrize("size", [4, 2], ids=["distributed", "hybrid"])
@pytest.mark.parametrize("number", range(len(SHARED)), ids=SHARED)
def test_ranks_are_its_equations(on_ranks, number, size):
    ranks, (schedule, config) = on_ranks[1][size], (on_ranks[0][number].schedule, on_ranks[0][number].config)
    together, run = np.concatenate([rank[number].models for rank in ranks]), by_name(SHARED[number])
    assert np.abs(together - run.X).max() < 1e-10
    width = message_size(trainer_of(schedule, config))
    check_counts(run, config, ranks[0][number].metrics[-1], width, schedule.nodes, size)
    replicas_of_all(ranks, number)


@pytest.mark.dist
@pytest.mark.slow
def test_after_a_thousand_rounds_all_holders_have_the_same_bits():
    config = config_of("sparq-sgd", **SINGLE, steps=1000, lr=0.01, trigger="constant:800")
    run = Run(design("path", 3), config, LAYERS, compressors=SEVERAL, wander=True)
    ranks = run_ranks(gossip_on, 3, [run], timeout=100)
    own = replicas_of_all(ranks, 0)
    assert len(set(own.values())) == 3
    assert all(np.isfinite(np.frombuffer(value, dtype=np.float32)).all() for value in own.values())
    assert sorted(key for rank in ranks for key in rank[0].heard) == [(0, 0), (1, 0), (1, 0), (2, 0)]
    final = ranks[0][0].metrics[-1]
    assert final["round"] == 1000
    assert min(final["messages_per_node"], final["silent_per_node"]) > 100


@pytest.mark.dist
def test_all_holders_have_the_same_bits_after_a_run_has_gone_on_with_other_ranks(on_ranks):
    number = len(SHARED)
    for size, begun in ((4, 0), (2, 40)):
        ranks = on_ranks[1][size]
        own = replicas_of_all(ranks, number)
        assert len(set(own.values())) == len(own) == 8
        assert {rank[number].begun for rank in ranks} == {begun}
    final = ranks[0][number].metrics[-1]
    assert min(final["messages_per_node"], final["silent_per_node"]) > 10


@pytest.mark.dist
def test_a_run_that_goes_on_with_other_ranks_is_its_equations_with_the_step_size_that_rank_0_had_found(on_ranks):
    number, config = len(SHARED) + 1, on_ranks[0][-1].config
    ranks = on_ranks[1][2]
    assert {rank[number].begun for rank in ranks} == {30}
    run = by_hand(RING, replace(config, out=None), gamma=0.2)
    assert np.abs(np.concatenate([rank[number].models for rank in ranks]) - run.X).max() < 1e-10
    final, width = (
        ranks[0][number].metrics[-1],
        message_size(trainer_of(RING, replace(config, out=None, consensus_step="1"))),
    )
    assert final["consensus_step"] == 0.2
    assert (final["messages_per_node"], final["silent_per_node"]) == (run.messages / 4, run.silent / 4)
    assert final["bytes_sent_per_node"] == round((run.messages * (width + 1) + run.silent) / 4)
    assert run.silent > 10
    # On the wire: 30 steps of four ranks, and the others of two.
    before = by_hand(RING, replace(config, out=None, steps=30), gamma=0.2)
    wire = before.wire(1, width, 1) + run.wire(2, width, 1) - before.wire(2, width, 1)
    assert final["bytes_on_the_wire"] == wire
