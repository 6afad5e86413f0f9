"""The consensus step size of compressed gossip: the formula, and the best of a few against gossip by hand."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from breaking import break_off
from compressed import PIECES, ByHand, compressor_by_hand, config_of, numbering, trainer_of
from problems import CLASSES
from torch import nn
from workers import final_parameters

from topokit.designer import design, design_matrix
from topokit.errors import InputError
from topokit_trainer.consensus_step import STEPS, _smaller, squarm_step, theoretical_step

# Theory


def step_by_hand(W, omega):
    """gamma* of the paper, with the spectrum as NumPy finds it."""
    size = np.sort(np.abs(np.linalg.eigvals(W)))[::-1]
    delta, beta = 1 - size[1], np.linalg.norm(np.eye(len(W)) - W, 2)
    return 2 * delta * omega / (64 * delta + delta**2 + 16 * beta**2 + 8 * delta * beta**2 - 16 * delta * omega)


def test_the_formula_in_fractions():
    # delta = 1/2, beta = 1, omega = 1/4: 2/8 over 32 + 1/4 + 16 + 4 - 2.
    assert squarm_step(0.5, 1.0, 0.25) == pytest.approx(
        float(Fraction(1, 4) / (32 + Fraction(1, 4) + 16 + 4 - 2)), rel=1e-15
    )


def test_it_is_that_of_the_ring_of_eight_in_the_literature():
    assert theoretical_step(design("ring", 8).round(0), 0.1) == pytest.approx(8.99e-4, abs=5e-7)


@pytest.mark.parametrize("omega", [1e-3, 0.1, 1.0])
@pytest.mark.parametrize("name", ["ring", "star", "torus", "hypercube", "complete"])
def test_theory_is_the_papers_formula(name, omega):
    matrix = design(name, 8).round(0)
    found = theoretical_step(matrix, omega)
    assert found == pytest.approx(step_by_hand(matrix.to_dense(), omega), rel=1e-9)
    delta = 1 - np.sort(np.abs(np.linalg.eigvalsh(matrix.to_dense())))[-2]
    assert found * delta / 8 >= delta**2 * omega / 644  # p of the paper, and its bound


def test_eigenvalues_below_zero_count():
    W = np.full((2, 2), 0.1) + 0.8 * (1 - np.eye(2))  # eigenvalues 1 and -0.8
    assert theoretical_step(design_matrix(W).round(0), 0.5) == pytest.approx(step_by_hand(W, 0.5), rel=1e-12)


def test_theory_has_none_for_nodes_that_swap_their_values():
    # With a step of zero they would never agree.
    words = "^--consensus-step theory needs a spectral gap, and this mixing matrix has the eigenvalue -1; take tuned"
    with pytest.raises(InputError, match=words):
        trainer_of(design_matrix(np.array([[0.0, 1.0], [1.0, 0.0]])), config_of(consensus_step="theory"))


def test_a_run_takes_the_least_contraction_of_its_tensors():
    schedule, lines = design("ring", 8), []
    trainer = trainer_of(
        schedule, config_of(consensus_step="theory", compressor="top-k:0.3", steps=1), report=lines.append
    )
    omega = min(5 / 15, 1 / 3)
    assert trainer.algorithm.gamma == pytest.approx(step_by_hand(schedule.round(0).to_dense(), omega), rel=1e-9)
    said = f"note: the consensus step size is {trainer.algorithm.gamma:.3g} (theory)"
    assert any(line.startswith(said) for line in lines)
    sign = trainer_of(schedule, config_of(consensus_step="theory", compressor="sign"))
    assert sign.algorithm.gamma == pytest.approx(step_by_hand(schedule.round(0).to_dense(), 1 / 15), rel=1e-9)
    assert trainer.run().final["consensus_step"] == trainer.algorithm.gamma


# By a run of gossip


def qsgd(x, levels, rng):
    """QSGD, scaled down so that it contracts."""
    tau = 1 + min(x.size / levels**2, np.sqrt(x.size) / levels)
    norm = np.linalg.norm(x)
    return norm * np.sign(x) * np.floor(levels * np.abs(x) / norm + rng.random(x.size)) / (levels * tau)


def left_by_hand(schedule, name, gamma, seed, rounds=60):
    """What gossip by hand leaves of the distance from the mean of normal vectors."""
    rng, compress = np.random.default_rng(seed), compressor_by_hand(name, PIECES)
    start = rng.standard_normal((schedule.nodes, 18))
    if name == "qsgd:4":

        def compress(x, key):
            return np.concatenate([qsgd(x[piece], 4, rng) for piece in PIECES])

    run = ByHand(schedule, config_of(), compress, gamma, start, np.zeros(18), numbering(schedule))
    for t in range(rounds):
        run.gossip(t, 0.0)
        if not np.abs(run.X).max() < 1e6:
            return np.inf
    return np.linalg.norm(run.X - run.X.mean(axis=0)) / np.linalg.norm(start - start.mean(axis=0))


TUNED = [("ring", "top-k:0.3"), ("one-peer-hypercube", "top-k:0.3+sign"), ("star", "qsgd:4")]


@pytest.fixture(scope="module")
def tuned():
    """What is found for each."""
    found = {}
    for place, name in TUNED:
        found[place, name] = trainer_of(
            design(place, 8), config_of(consensus_step="tuned", compressor=name)
        ).algorithm.gamma
    return found


@pytest.mark.parametrize(("place", "name"), TUNED)
def test_no_other_of_the_list_is_much_better_by_hand(tuned, place, name):
    gamma = tuned[place, name]
    assert gamma in STEPS
    left = {step: left_by_hand(design(place, 8), name, step, 11) for step in {STEPS[0], *STEPS[10::3], gamma}}
    assert left[gamma] < 3 * min(left.values())
    assert left[gamma] < 0.2 * min(left[STEPS[0]], 1)  # the choice matters


def test_what_diverges_is_not_taken(tuned):
    gamma = tuned["ring", "top-k:0.3"]
    assert left_by_hand(design("ring", 8), "top-k:0.3", 1.0, 11) > 1
    assert gamma < 1


def test_with_everything_said_on_the_complete_graph_it_is_one():
    trainer = trainer_of(
        design("complete", 4, weights="uniform"), config_of(consensus_step="tuned", compressor="identity")
    )
    assert trainer.algorithm.gamma == 1.0


def test_it_is_found_again_and_depends_on_nothing_but_the_settings(tuned):
    # Another model start, other data, other noise; what is drawn for the trial is drawn by the seed.
    torch.manual_seed(99)
    config = config_of(consensus_step="tuned", compressor="qsgd:4", perturb=2.0, lr=1.0)
    assert trainer_of(design("star", 8), config).algorithm.gamma == tuned["star", "qsgd:4"]


class Matrix(nn.Module):
    """A matrix of parameters that the outputs do not depend on."""

    def __init__(self, side):
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(side, side))

    def forward(self, x):
        return torch.zeros(len(x), CLASSES, dtype=x.dtype) + 0 * self.matrix.sum()


@pytest.mark.slow
def test_steps_that_only_begin_well_are_not_taken():
    gamma, found = "tuned", {}
    for factor in (1, 2):
        config = config_of(lr=0.0, perturb=1.0, steps=400, eval_every=100, compressor="rand-k:0.05")
        trainer = trainer_of(design("ring", 8), replace(config, consensus_step=gamma), model=lambda: Matrix(24))
        found[factor] = [row["consensus_distance"] for row in trainer.run().metrics]
        gamma = str(2 * trainer.algorithm.gamma)
    assert max(after / before for before, after in pairwise(found[1])) < 0.8
    # Twice the step: closer at first, and then apart for good.
    assert found[2][1] < found[2][0]
    assert found[2][4] > 1.5 * found[2][0]


@pytest.mark.slow
def test_where_less_of_the_model_is_said_the_step_is_smaller(monkeypatch):
    monkeypatch.setattr("topokit_trainer.consensus_step.NUMBERS", 1 << 14)  # a matrix with a side of some 45
    found = {}
    for side in (30, 120):
        config = config_of(compressor="low-rank:1", consensus_step="tuned", batch_size=4)
        trainer = trainer_of(design("ring", 8), config, model=lambda side=side: Matrix(side))
        found[side] = trainer.algorithm.gamma
    assert found[30] in STEPS
    assert 2 < found[30] / found[120] < 8  # a rank of one is of four times as many


def test_large_models_are_tried_small():
    shapes = [torch.Size(shape) for shape in ((1000, 2000), (1000,), (64, 32, 3, 3), (2, 4), (1,), ())]
    pieces = _smaller(shapes, 10_000)
    starts = [piece.columns.start for piece in pieces]
    assert starts == [0, *(piece.columns.stop for piece in pieces[:-1])]
    assert all(piece.columns.stop - piece.columns.start == piece.shape.numel() > 0 for piece in pieces)
    assert 8_000 < pieces[-1].columns.stop < 11_000
    assert [len(piece.shape) for piece in pieces] == [2, 1, 2, 2, 1, 0]
    rows, columns = pieces[0].shape
    assert columns / rows == pytest.approx(2, rel=0.05)
    assert [piece.shape for piece in _smaller(shapes[3:], 10_000)] == shapes[3:]


@pytest.mark.parametrize(("place", "name"), TUNED)
def test_gossip_alone_contracts_at_a_linear_rate(tuned, place, name):
    config = config_of(lr=0.0, perturb=1.0, steps=120, compressor=name, consensus_step=str(tuned[place, name]))
    trainer, distances = trainer_of(design(place, 8), config), []
    step = trainer.algorithm.step

    def watched(nodes, number):
        x = final_parameters(trainer)
        distances.append(np.linalg.norm(x - x.mean(axis=0)))
        step(nodes, number)

    trainer.algorithm.step = watched
    trainer.run()
    logs = np.log(distances)[[0, 40, 80, 119]]
    falls = -np.diff(logs)
    assert min(falls) > 0.5 * max(falls)
    assert falls.sum() > np.log(1e3)


def test_a_run_that_goes_on_keeps_what_was_found(tmp_path, monkeypatch):
    config = config_of("sparq-sgd", consensus_step="tuned", steps=12, checkpoint_every=5, out=tmp_path)
    first = trainer_of(design("ring", 4), config)
    gamma = first.algorithm.gamma
    break_off(first, 8)
    monkeypatch.setattr("topokit_trainer.algorithms.compressed.tuned_step", None)  # it is not looked for again
    again = trainer_of(design("ring", 4), config)
    assert again.progress.step == 5
    final = again.run().final
    assert final["consensus_step"] == again.algorithm.gamma == gamma
