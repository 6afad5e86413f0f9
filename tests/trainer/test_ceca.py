"""DSGD-CECA against its equations in plain NumPy: two copies, the gradient at the one that is sent."""

import numpy as np
import pytest
import torch
from exact import adam_by_hand
from problems import Softmax, blobs, linear, settings
from ranks import run_ranks
from workers import final_parameters, train_all

from topokit.designer import design
from topokit.errors import InputError
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer import Trainer
from topokit_trainer.algorithms.ceca import sent_copy

STEPS = 24
MOMENTUM = {"momentum": 0.9, "weight_decay": 0.01}


def trainer_for(schedule, data=None, **changes):
    return Trainer(schedule, settings(**changes), model=linear, data=data or blobs())


def copies_of(trainer):
    """Both copies of all nodes, shape (2, nodes, parameters)."""
    nodes = trainer.nodes
    wide = torch.cat(nodes.stacks.wide, dim=1).double().numpy().copy()
    return wide.reshape(2, nodes.stacks.rows, -1)


def digits(schedule):
    """What the construction sends: by the binary digits of n - 1, copy 0 where the digit is 1."""
    return [1 - int(digit) for digit in f"{schedule.nodes - 1:b}"]


def run_by_hand(trainer, start, update):
    """Give both copies after the run; ``update(i, z, batch, step)`` is the change -eta u(z) of node i."""
    schedule, n = trainer.schedule, trainer.schedule.nodes
    X = np.concatenate([start, start])
    sent = digits(schedule)
    for step in range(trainer.config.steps):
        batches = trainer.nodes.batches.indices(step)
        z = sent[step % len(sent)] * n
        changes = np.array([update(i, X[z + i], batches[i], step) for i in range(n)])
        X = schedule.round(step).to_dense() @ (X + np.tile(changes, (2, 1)))
    return X.reshape(2, n, -1)


def momentum(trainer):
    """SGD with momentum and weight decay, one velocity a node."""
    config, problem = trainer.config, Softmax(trainer.data)
    velocity = {}

    def update(i, z, batch, step):
        gradient = problem.gradient(z, batch) + config.weight_decay * z
        velocity[i] = config.momentum * velocity[i] + gradient if step else gradient
        return -config.lr * velocity[i]

    return update


@pytest.mark.parametrize("gradients", ["loop", "vmap"])
@pytest.mark.parametrize(
    ("name", "n"), [("ceca-2p", 3), ("ceca-2p", 5), ("ceca-2p", 6), ("ceca-2p", 7), ("ceca-1p", 6), ("ceca-1p", 10)]
)
def test_it_is_its_equations(name, n, gradients):
    schedule = design(name, n)
    trainer = trainer_for(schedule, steps=STEPS, perturb=0.1, gradients=gradients, **MOMENTUM)
    start = final_parameters(trainer).copy()
    final = trainer.run().final
    found, expected = copies_of(trainer), run_by_hand(trainer, start, momentum(trainer))
    assert np.abs(found[0] - start).max() > 0.1
    assert np.abs(found[0] - found[0].mean(axis=0)).max() > 1e-3
    assert np.abs(found[0] - found[1]).max() > 1e-3
    assert np.abs(found - expected).max() < 1e-10
    assert np.array_equal(found[0], final_parameters(trainer))
    assert final["bytes_sent_per_node"] == STEPS * trainer.nodes.stacks.bytes_per_node
    assert final["round"] == STEPS


@pytest.mark.parametrize("name", ["ceca-1p", "ceca-2p"])
def test_the_matrix_tells_which_copy_is_sent(name):
    for n in range(2, 65, 2):
        schedule = design(name, n)
        assert [sent_copy(matrix) for matrix in schedule.rounds] == digits(schedule)


@pytest.mark.parametrize(("weights", "sent"), [((1 / 3, 1 / 3), 0), ((0.0, 0.5), 1), ((0.5, 0.0), 0), ((0.0, 0.0), 0)])
def test_a_round_that_sends_both_copies_or_none_takes_copy_0(weights, sent):
    own, (first, second) = 1 - sum(weights), weights
    swap, stay = np.array([[0, 1], [1, 0]]), np.eye(2)
    rows = np.hstack([own * stay + first * swap, second * swap])
    assert sent_copy(MixingMatrix.from_matrix(np.vstack([rows, rows]))) == sent


def runs(size):
    cases = {
        2: [("ceca-2p", 6), ("ceca-1p", 10)],
        3: [("ceca-2p", 3), ("ceca-2p", 6)],
        4: [("ceca-2p", 4), ("ceca-1p", 4), ("ceca-1p", 12)],
    }
    config = settings(steps=STEPS, perturb=0.1, gradients="auto", **MOMENTUM)
    return [(design(*case), config) for case in cases[size]]


@pytest.mark.dist
@pytest.mark.parametrize("size", [2, 3, 4])
def test_ranks_follow_the_equations(size):
    ranks = run_ranks(train_all, size, runs(size), {"model": linear, "data": blobs()})
    for case, (schedule, config) in enumerate(runs(size)):
        trainer = Trainer(schedule, config, model=linear, data=blobs())
        expected = run_by_hand(trainer, final_parameters(trainer).copy(), momentum(trainer))
        found = np.concatenate([rank[case][0] for rank in ranks])
        assert np.abs(found - expected[0]).max() < 1e-10
        final = ranks[0][case][1][-1]
        assert final["bytes_sent_per_node"] == STEPS * trainer.nodes.stacks.bytes_per_node


def test_adam_has_one_state_for_both_copies():
    config = {"optimizer": "adam", "lr": 0.01, "weight_decay": 0.01}
    trainer = trainer_for(design("ceca-2p", 6), steps=STEPS, perturb=0.1, **config)
    start = final_parameters(trainer).copy()
    trainer.run()
    update = adam_by_hand(trainer, len(start), lr=0.01, weight_decay=0.01)
    assert np.abs(copies_of(trainer) - run_by_hand(trainer, start, update)).max() < 1e-10


@pytest.mark.parametrize("name", ["ceca-1p", "ceca-2p"])
def test_a_period_without_gradients_averages_exactly(name):
    for n in range(2, 41, 2 if name == "ceca-1p" else 1):
        schedule = design(name, n)
        trainer = trainer_for(schedule, lr=0.0, perturb=1.0, batch_size=1, steps=2 * schedule.period)
        start = final_parameters(trainer).copy()
        trainer.nodes.stacks.wide[0][n:] += 1.0  # what copies 1 start with does not matter
        for step in range(schedule.period):
            trainer.algorithm.step(trainer.nodes, step)
        found = copies_of(trainer)
        assert np.abs(found[0] - start.mean(axis=0)).max() < 1e-14
        assert np.abs(found[1] - (start.sum(axis=0) - start) / (n - 1)).max() < 1e-14


@pytest.mark.parametrize(("name", "n"), [("ceca-2p", 7), ("ceca-1p", 10)])
def test_both_means_move_by_the_mean_change_at_every_step(name, n):
    trainer = trainer_for(design(name, n), lr=0.1, perturb=1.0, partition="sorted")
    for step in range(40):
        before = copies_of(trainer).mean(axis=1)
        assert np.abs(before[0] - before[1]).max() < 1e-13
        trainer.algorithm.step(trainer.nodes, step)
        change = -0.1 * torch.cat(trainer.nodes.stacks.gradients, dim=1).mean(dim=0).numpy()
        assert np.abs(change).max() > 1e-4
        assert np.abs(copies_of(trainer).mean(axis=1) - before - change).max() < 1e-14


def test_two_nodes_from_equal_starts_are_allreduce():
    found = []
    for algorithm in ("ceca", "allreduce"):
        trainer = trainer_for(design("ceca-2p", 2), algorithm=algorithm, steps=STEPS, lr=0.2, **MOMENTUM)
        trainer.run()
        found.append(final_parameters(trainer))
    assert np.abs(found[0] - found[1]).max() < 1e-12


@pytest.mark.slow
def test_3000_steps_in_float32_stay_with_those_in_float64():
    found = []
    for dtype in ("float64", "float32"):
        data = blobs(dtype=getattr(torch, dtype))
        changes = {"steps": 3000, "lr": 0.05, "weight_decay": 0.1, "partition": "sorted", "gradients": "vmap"}
        trainer = trainer_for(design("ceca-2p", 5), data, dtype=dtype, **changes)
        trainer.run()
        found.append(copies_of(trainer))
    means = found[1].mean(axis=1)
    assert np.abs(means[0] - means[1]).max() < 1e-5
    assert np.abs(found[1] - found[0]).max() < 1e-5


def test_it_goes_on_from_a_checkpoint_bit_for_bit(tmp_path):
    schedule = design("ceca-2p", 6)
    usual = {"perturb": 0.1, "checkpoint_every": 4, "eval_every": 5, **MOMENTUM}
    straight = trainer_for(schedule, steps=20, out=tmp_path / "straight", **usual)
    expected = straight.run().metrics
    broken = trainer_for(schedule, steps=20, out=tmp_path / "broken", **usual)
    step = broken.algorithm.step

    def watched(nodes, number):
        step(nodes, number)
        broken.interrupted = number == 13  # after a round in which copy 1 matters: 14 = 2 mod 3

    broken.algorithm.step = watched
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    again = trainer_for(schedule, steps=20, out=tmp_path / "broken", **usual)
    assert again.progress.step == 14
    assert np.array_equal(copies_of(again), copies_of(broken))
    metrics = again.run().metrics
    assert np.array_equal(copies_of(again), copies_of(straight))
    assert [row | {"seconds": 0} for row in metrics] == [row | {"seconds": 0} for row in expected]


def uneven():
    """Two nodes, of which node 0 keeps itself: rows sum to one, but node 0 counts more."""
    rows = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]])
    other = np.array([[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    rounds = [MixingMatrix.from_matrix(m) for m in (other, rows)]
    return Schedule.cyclic(rounds, copies=2, mixing="row-stochastic")


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (design("ring", 4), "ring-4 is cyclic and doubly-stochastic, with one state a node"),
        (design("tree-push-pull", 5), "tree-push-pull-5 is cyclic and push-pull, with 2 copies a node"),
        (design("od-equidyn", 5, seed=0), "od-equidyn-5 is sampled and doubly-stochastic, with one state a node"),
        (
            uneven(),
            "count alike; in round 1 of schedule-2, copy 0 of node 1 has a share of 0.25 in the mean of copies 0",
        ),
    ],
)
def test_other_schedules_are_refused(schedule, words):
    with pytest.raises(InputError, match=f"DSGD-CECA needs .*{words}"):
        trainer_for(schedule, algorithm="ceca")
