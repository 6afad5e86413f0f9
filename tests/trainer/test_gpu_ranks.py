"""Ranks on a GPU: one NCCL rank, and several gloo ranks that share one device."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from own_schedules import own_schedules
from ranks import run_ranks
from workers import final_parameters, tokens_of_all, train_all

from topokit.designer import design
from topokit_trainer import TrainConfig, Trainer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

CONFIG = TrainConfig(steps=50, batch_size=8, dtype="float64", momentum=0.9, lr=0.05, device="cuda", checkpoint_every=0)
RUNS = [
    (design(name, 4), replace(CONFIG, order=order))
    for name in ("ring", "one-peer-exponential")
    for order in ("atc", "awc")
] + [
    (schedule, replace(CONFIG, algorithm=name))
    for name, schedule in own_schedules(4, active=2).items()
    if name != "teleportation"  # whose models are on one rank or another
]


def virtual():
    results = []
    for schedule, config in RUNS:
        trainer = Trainer(schedule, replace(config, device="cpu"))
        trainer.run()
        results.append(final_parameters(trainer))
    return results


@pytest.mark.dist
@pytest.mark.parametrize("size", [4, 2])
def test_gloo_ranks_share_one_device(size):
    ranks = run_ranks(train_all, size, RUNS, timeout=100)
    for number, alone in enumerate(virtual()):
        together = np.concatenate([rank[number][0] for rank in ranks])
        assert np.abs(together - alone).max() <= 1e-9 * np.abs(alone).max()


@pytest.mark.dist
@pytest.mark.parametrize("size", [8, 2])
def test_tokens_travel_between_ranks_of_one_device(size):
    schedule = own_schedules(8, active=4)["teleportation"]
    alone = Trainer(schedule, replace(CONFIG, device="cpu"))
    alone.run()
    ranks = run_ranks(tokens_of_all, size, [(schedule, CONFIG)], {}, timeout=100)
    together = {token: row for rank in ranks for token, row in rank[0][0].items()}
    assert sorted(together) == [0, 1, 2, 3]
    for token, expected in enumerate(final_parameters(alone)):
        assert np.abs(together[token] - expected).max() <= 1e-9 * np.abs(expected).max()


@pytest.mark.dist
def test_one_nccl_rank():
    runs = [(schedule, replace(config, backend="nccl")) for schedule, config in RUNS]
    (rank,) = run_ranks(train_all, 1, runs, timeout=100)
    for number, alone in enumerate(virtual()):
        assert np.abs(rank[number][0] - alone).max() <= 1e-9 * np.abs(alone).max()


@pytest.mark.dist
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_nccl_ranks_have_a_device_each():
    size = 4 if torch.cuda.device_count() >= 4 else 2
    ranks = run_ranks(train_all, size, [(s, replace(c, backend="nccl")) for s, c in RUNS], timeout=100)
    for number, alone in enumerate(virtual()):
        together = np.concatenate([rank[number][0] for rank in ranks])
        assert np.abs(together - alone).max() <= 1e-9 * np.abs(alone).max()
