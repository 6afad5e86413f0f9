"""Half steps of PowerGossip: directions, what the ends of links see along them, and with which precision."""

import numpy as np
import pytest
import torch
from power_gossip import HIDDEN, SCHEDULES, config_of, trainer_of, watch
from problems import CLASSES, FEATURES, linear
from workers import final_parameters

from topokit.designer import design
from topokit_trainer.directions import Blocks
from topokit_trainer.half_steps import HalfStep


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_blocks_are_orthonormal_and_span_what_they_were_made_of(dtype):
    lengths, rank, rows = [5, 40, 7, 33], 3, 6
    generator = torch.Generator().manual_seed(0)
    blocks = Blocks(rank, lengths)
    assert blocks.width == rank * sum(lengths)
    first, second, old = (torch.randn(rows, blocks.width, generator=generator, dtype=torch.float64) for _ in range(3))
    old = blocks.turned(torch.zeros_like(old), old, old).to(dtype)
    second[1] = first[1]  # nothing to go by: the old block stays
    one = (second[2] - first[2])[blocks.columns[1]].view(rank, 40)
    one = torch.stack([one[0], 2 * one[0], -one[0]])  # one direction only
    second[2, blocks.columns[1]] = first[2, blocks.columns[1]] + one.reshape(-1)
    first[3] *= 1e-30
    second[3] *= 1e-30
    first[4], second[4] = 0, 0
    first, second = first.to(dtype), second.to(dtype)
    found = blocks.turned(first, second, old)
    assert found.dtype == dtype
    accuracy = 1e-11 if dtype == torch.float64 else 1e-4
    for row in range(rows):
        one_row = slice(row, row + 1)
        alone = blocks.turned(first[one_row].clone(), second[one_row].clone(), old[one_row].clone())
        assert torch.equal(alone[0], found[row])
        for columns, length in zip(blocks.columns, lengths, strict=True):
            basis = found[row, columns].view(rank, length).double().numpy()
            given = (second.double() - first.double())[row, columns].view(rank, length).numpy()
            assert np.abs(basis @ basis.T - np.eye(rank)).max() < accuracy
            assert np.abs(given - given @ basis.T @ basis).max() <= accuracy * np.abs(given).max()
    for row in (1, 4):
        assert torch.allclose(found[row], old[row], rtol=0, atol=1e-6)


def test_what_a_link_sees_is_what_a_round_takes_off():
    """For two nodes with weights of a half: |difference|^2 afterwards = |difference|^2 - |difference V|^2."""
    trainer = trainer_of(design("path", 2), config_of(lr=0.0, perturb=1.0, steps=9), model=linear)
    before = None

    def look(number, after):
        nonlocal before
        X = final_parameters(trainer)
        difference = (X[1] - X[0])[: CLASSES * FEATURES].reshape(CLASSES, FEATURES)
        if not after:
            side = number % 2
            block = trainer.nodes.states[("right", "left")[side]].tensors[0].numpy().copy()
            assert np.array_equal(block[0], block[1])  # both ends
            seen = difference @ block[0] if side == 0 else difference.T @ block[0]
            before = np.sum(difference**2) - np.sum(seen**2)
        else:
            assert np.sum(difference**2) == pytest.approx(before, rel=1e-9, abs=1e-15)
            assert np.abs((X[1] - X[0])[CLASSES * FEATURES :]).max() < 1e-15

    watch(trainer, look)
    trainer.run()


def test_nodes_that_agree_stay_as_they_are_to_the_last_bit():
    trainer = trainer_of(SCHEDULES["ring"], config_of(2, 2, lr=0.0, momentum=0.0, perturb=0.0, dtype="float32"))
    start = final_parameters(trainer).copy()
    blocks = [t.clone() for name in ("right", "left") for t in trainer.nodes.states[name].tensors]
    trainer.run()
    assert np.array_equal(final_parameters(trainer), start)
    for before, after in zip(
        blocks, [t for name in ("right", "left") for t in trainer.nodes.states[name].tensors], strict=True
    ):
        assert torch.allclose(before, after, rtol=0, atol=1e-6)


def test_products_for_all_nodes_at_once_are_those_of_each(monkeypatch):
    """As on a GPU."""
    found = []
    for at_once in (False, True):
        if at_once:
            monkeypatch.setattr(
                HalfStep, "_batches", lambda half, models: [(slice(0, len(models)), slice(0, len(half.ends)))]
            )
        trainer = trainer_of(SCHEDULES["ring"], config_of(2, 1, steps=5))
        trainer.run()
        found.append(final_parameters(trainer))
    assert np.abs(found[0] - found[1]).max() < 1e-12


def test_faster_products_of_less_precision_are_not_used():
    found = []
    for precision in ("highest", "medium"):
        torch.set_float32_matmul_precision(precision)
        try:
            trainer = trainer_of(SCHEDULES["ring"], config_of(dtype="float32", lr=0.0, momentum=0.0, steps=3))
            trainer.run()
        finally:
            torch.set_float32_matmul_precision("highest")
        found.append(final_parameters(trainer))
    assert 0 < np.abs(found[0] - found[1]).max() < 1e-6


def test_half_precision_models_are_seen_in_single_precision():
    config = config_of(dtype="bfloat16", lr=0.0, momentum=0.0, perturb=1.0, steps=100)
    trainer = trainer_of(SCHEDULES["ring"], config)
    start = final_parameters(trainer).copy()
    final = trainer.run().final
    found = final_parameters(trainer)
    assert np.linalg.norm(found - found.mean(axis=0)) < 0.03 * np.linalg.norm(start - start.mean(axis=0))
    assert np.abs(found.mean(axis=0) - start.mean(axis=0)).max() < 0.05
    per_link = 50 * (4 * (HIDDEN + FEATURES + CLASSES + HIDDEN) + 2 * 2 * (HIDDEN + CLASSES))
    assert final["bytes_sent_per_node"] == 2 * per_link
