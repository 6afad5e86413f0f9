"""Virtual, distributed and hybrid runs are the same run, and one round is one product with W."""

import numpy as np
import pytest
from ranks import run_ranks
from workers import failing_setup, final_parameters, mix_once, train_all

from topokit.designer import design
from topokit.matrix import MixingMatrix
from topokit_trainer import TrainConfig, Trainer

CASES = [
    ("ring", "atc", "float32"),
    ("ring", "awc", "float64"),
    ("one-peer-exponential", "atc", "float64"),
    ("one-peer-exponential", "awc", "float32"),
    ("random-matching", "atc", "float32"),
    ("random-matching", "awc", "float64"),
]
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def runs():
    return [
        (
            design(name, 4),
            TrainConfig(
                steps=20,
                batch_size=8,
                order=order,
                dtype=dtype,
                momentum=0.9,
                weight_decay=1e-3,
                clip=1.0,
                lr=0.05,
                lr_schedule="step",
                partition="dirichlet",
                checkpoint_every=0,
                device="cpu",
            ),
        )
        for name, order, dtype in CASES
    ]


@pytest.fixture(scope="module")
def virtual():
    results = []
    for schedule, config in runs():
        trainer = Trainer(schedule, config)
        metrics = trainer.run().metrics
        results.append((final_parameters(trainer), metrics))
    return results


@pytest.mark.dist
@pytest.mark.parametrize("size", [4, 2], ids=["distributed", "hybrid"])
def test_modes_agree(virtual, size):
    ranks = run_ranks(train_all, size, runs())
    for case, (_name, _order, dtype) in enumerate(CASES):
        alone, metrics = virtual[case]
        together = np.concatenate([rank[case][0] for rank in ranks])
        scale = np.abs(alone).max()
        assert np.abs(alone - alone[0]).max() > 1e-3 * scale, "nodes should differ for the comparison to say something"
        assert np.abs(together - alone).max() <= TOLERANCE[dtype] * scale, CASES[case]
        for here, there in zip(metrics, ranks[0][case][1], strict=True):
            for key in ("loss", "accuracy", "node_accuracy_worst", "consensus_distance", "train_loss"):
                if here[key] is not None:
                    assert there[key] == pytest.approx(here[key], rel=1e-3, abs=1e-6), (CASES[case], key)
            assert there["bytes_sent_per_node"] == here["bytes_sent_per_node"]


def matrices(n):
    rng = np.random.default_rng(5)
    rounds = [
        m
        for name in ("ring", "star", "complete", "exponential", "one-peer-exponential")
        for m in design(name, n).rounds
    ]
    dense = np.mean([np.eye(n)[rng.permutation(n)] for _ in range(5)], axis=0)
    return [*rounds, MixingMatrix.from_matrix(dense)]


@pytest.mark.dist
@pytest.mark.parametrize(("size", "overlapped"), [(4, False), (2, True)])
def test_one_round_is_one_product(size, overlapped):
    n = 8
    values = np.random.default_rng(0).standard_normal((n, 1001))
    ranks = run_ranks(mix_once, size, matrices(n), values, overlapped)
    for number, matrix in enumerate(matrices(n)):
        mixed = np.concatenate([rank[number] for rank in ranks])
        assert np.abs(mixed - matrix.to_dense() @ values).max() <= 1e-14 * np.abs(values).max()


@pytest.mark.dist
def test_error_of_one_rank_ends_all(tmp_path):
    messages = run_ranks(failing_setup, 4, tmp_path / "nowhere")
    assert set(messages) == {f"rank 1: --data-path {tmp_path / 'nowhere'} is not a folder"}
