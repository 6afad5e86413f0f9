"""The algorithms against plain NumPy: their equations, written out once more."""

import networkx as nx
import numpy as np
import pytest
import torch
from problems import Softmax, blobs, linear, settings
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from workers import final_parameters

from topokit.designer import design, design_graph, design_matrix
from topokit.errors import InputError
from topokit.kinds import Drawn, Matchings, Pairwise, Teleport
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer import Trainer, train
from topokit_trainer.algorithms import make_algorithm

STEPS = 24


def doubly_stochastic(n, seed=3):
    """A convex combination of permutations, neither symmetric nor normal."""
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.ones(4))
    return sum(s * np.eye(n)[rng.permutation(n)] for s in (*share[:3] * 0.7, share[3] * 0.7)) + 0.3 * np.eye(n)


SCHEDULES = {
    "ring": design("ring", 4),
    "one-peer-exponential": design("one-peer-exponential", 8),
    "random": design_matrix(doubly_stochastic(5)),
    "star": design_graph(nx.star_graph(4)),
    "drawn": Schedule.of(Drawn(6, "groups", {"size": 3}, seed=4)),
    "matchings": Schedule.of(Matchings(4, [[(0, 1), (2, 3)], [(1, 2)]], [0.7, 0.4], 0.5, seed=2)),
    "base-2": design("base-2", 5),
}


def start_of(trainer):
    """The nodes' parameters before training, as an array of one's own."""
    return final_parameters(trainer).copy()


def run_by_hand(trainer, start):
    """D-SGD with PyTorch's SGD, node by node, from the formulas in the documentation of both."""
    config, schedule = trainer.config, trainer.schedule
    problem = Softmax(trainer.data)
    X, velocity = start.copy(), np.zeros_like(start)
    H = config.local_steps
    for step in range(config.steps):
        mixing = schedule.round(step // H).to_dense()
        if step % H == 0:
            before = X.copy()
        batches = trainer.nodes.batches.indices(step)
        for i in range(schedule.nodes):
            gradient = problem.gradient(X[i], batches[i]) + config.weight_decay * X[i]
            velocity[i] = config.momentum * velocity[i] + gradient if step else gradient
            X[i] -= config.lr * velocity[i]
        last = step + 1 == config.steps
        if config.order == "atc" and (step + 1) % H == 0:
            X = mixing @ X
        elif config.order == "awc" and ((step + 1) % H == 0 or last):
            X += mixing @ before - before
    return X


@pytest.mark.parametrize("local_steps", [1, 3])
@pytest.mark.parametrize("order", ["atc", "awc"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_dsgd_is_its_equations(name, order, local_steps):
    config = settings(
        steps=STEPS, order=order, local_steps=local_steps, lr=0.1, momentum=0.9, weight_decay=0.01, perturb=0.1
    )
    trainer = Trainer(SCHEDULES[name], config, model=linear, data=blobs())
    start = start_of(trainer)
    trainer.run()
    found = final_parameters(trainer)
    assert np.abs(found - start).max() > 0.1
    assert np.abs(found - found.mean(axis=0)).max() > 1e-3
    assert np.abs(found - run_by_hand(trainer, start)).max() < 1e-10


def test_allreduce_is_sgd_on_all_batches_together():
    config = settings(steps=STEPS, algorithm="allreduce", lr=0.1, momentum=0.9, weight_decay=0.01)
    trainer = Trainer(design("ring", 4), config, model=linear, data=blobs())
    problem, x = Softmax(trainer.data), start_of(trainer)[0]
    velocity = np.zeros_like(x)
    trainer.run()
    for step in range(STEPS):
        batch = trainer.nodes.batches.indices(step).ravel()
        velocity = config.momentum * velocity + problem.gradient(x, batch) + config.weight_decay * x
        x = x - config.lr * velocity
    assert np.abs(final_parameters(trainer) - x).max() < 1e-10


def test_complete_graph_from_equal_starts_is_allreduce():
    runs = []
    for algorithm in ("dsgd", "allreduce"):
        config = settings(steps=STEPS, algorithm=algorithm, lr=0.2)
        trainer = Trainer(design("complete", 5, weights="uniform"), config, model=linear, data=blobs())
        trainer.run()
        runs.append(final_parameters(trainer))
    assert np.abs(runs[0] - runs[1]).max() < 1e-12


@pytest.mark.parametrize("order", ["atc", "awc"])
def test_adam_is_one_optimizer_a_node(order):
    config = settings(steps=STEPS, order=order, optimizer="adam", lr=0.01, weight_decay=0.01, perturb=0.1)
    trainer = Trainer(design("one-peer-exponential", 6), config, model=linear, data=blobs())
    X = torch.from_numpy(start_of(trainer))
    trainer.run()
    W = [torch.from_numpy(matrix.to_dense()) for matrix in trainer.schedule.rounds]
    models = [linear().double() for _ in X]
    optimizers = [torch.optim.Adam(m.parameters(), lr=0.01, weight_decay=0.01) for m in models]
    x, y = trainer.data.train.tensors
    for step in range(STEPS):
        start = X.clone()
        for i, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            vector_to_parameters(X[i].clone(), model.parameters())
            batch = torch.from_numpy(trainer.nodes.batches.indices(step)[i])
            optimizer.zero_grad()
            cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
            X[i] = parameters_to_vector(model.parameters()).detach()
        mixing = W[step % len(W)]
        X = mixing @ X if order == "atc" else X + mixing @ start - start
    assert np.abs(final_parameters(trainer) - X.numpy()).max() < 1e-10


def distance(X):
    return np.sqrt(((X - X.mean(axis=0)) ** 2).sum(axis=1).mean())


@pytest.mark.parametrize("order", ["atc", "awc"])
@pytest.mark.parametrize("name", [("ring", 8), ("exponential", 8), ("one-peer-exponential", 6), ("star", 5)])
def test_without_gradient_the_consensus_distance_is_the_simulated_one(name, order):
    schedule = design(*name)
    config = settings(steps=30, order=order, lr=0.0, perturb=1.0, eval_every=1)
    trainer = Trainer(schedule, config, model=linear, data=blobs())
    X = start_of(trainer)
    metrics = trainer.run().metrics
    assert [row["step"] for row in metrics] == list(range(31))
    assert metrics[0]["consensus_distance"] == pytest.approx(distance(X), rel=1e-9)
    for row in metrics[1:]:
        before = distance(X)
        X = schedule.round(row["step"] - 1).to_dense() @ X
        if distance(X) < 1e-6:
            break  # from here on rounding errors are what is left
        assert row["consensus_distance"] == pytest.approx(distance(X), rel=1e-9)
        assert row["contraction"] == pytest.approx(distance(X) / before, rel=1e-9)
        assert row["round"] == row["step"]
    assert row["step"] > 6


def test_exact_averaging_is_exact():
    config = settings(steps=3, lr=0.0, perturb=1.0, eval_every=1)
    trainer = Trainer(design("one-peer-exponential", 8), config, model=linear, data=blobs())
    mean = start_of(trainer).mean(axis=0)
    trainer.run()
    assert np.abs(final_parameters(trainer) - mean).max() < 1e-14


@pytest.mark.parametrize("order", ["atc", "awc"])
@pytest.mark.parametrize("name", ["ring", "random", "star", "one-peer-exponential"])
def test_the_worst_direction_contracts_by_beta(name, order):
    schedule = SCHEDULES[name]
    n = schedule.nodes
    _, singular_values, right = np.linalg.svd(schedule.round(0).to_dense() - 1 / n)
    config = settings(steps=1, order=order, lr=0.0, eval_every=1)
    trainer = Trainer(schedule, config, model=linear, data=blobs())
    stack = trainer.nodes.stacks.stacks[0]
    direction = np.random.default_rng(0).standard_normal(stack.shape[1])
    stack.data += torch.from_numpy(np.outer(right[0], direction))
    final = trainer.run().final
    beta = singular_values[0]
    assert final["contraction"] == pytest.approx(beta, rel=1e-9)
    assert final["contraction_bound"] == pytest.approx(beta, rel=1e-9)
    frobenius = np.linalg.norm(schedule.round(0).to_dense() - 1 / n) / np.sqrt(n - 1)
    assert final["contraction_expected"] == pytest.approx(frobenius, rel=1e-9)


@pytest.mark.parametrize("order", ["atc", "awc"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_mixing_keeps_the_mean_at_every_round(name, order):
    config = settings(steps=40, order=order, lr=0.0, perturb=1.0)
    trainer = Trainer(SCHEDULES[name], config, model=linear, data=blobs())
    mean = start_of(trainer).mean(axis=0)
    step, drifts = trainer.algorithm.step, []

    def watched(nodes, number):
        step(nodes, number)
        drifts.append(np.abs(final_parameters(trainer).mean(axis=0) - mean).max())

    trainer.algorithm.step = watched
    trainer.run()
    assert len(drifts) == 40
    assert max(drifts) < 1e-14


@pytest.mark.parametrize(("order", "rounds"), [("atc", 6), ("awc", 7)])
def test_a_last_round_cut_short_is_counted(order, rounds):
    # 20 steps are 6 rounds of 3 steps and two steps more; AWC has begun its seventh round with the first of them.
    config = settings(steps=20, order=order, local_steps=3, lr=0.0, perturb=1.0, eval_every=7)
    trainer = Trainer(design("one-peer-exponential", 6), config, model=linear, data=blobs())
    X = start_of(trainer)
    metrics = trainer.run().metrics
    assert [row["round"] for row in metrics] == [0, 2, 4, rounds]
    for number in range(rounds):
        before, X = distance(X), trainer.schedule.round(number).to_dense() @ X
    assert np.abs(final_parameters(trainer) - X).max() < 1e-13
    final = metrics[-1]
    # A contraction is that of the round which the evaluation follows at once.
    assert [row["contraction"] is None for row in metrics] == [True, True, True, order == "atc"]
    assert final["bytes_sent_per_node"] == rounds * trainer.nodes.stacks.bytes_per_node
    if final["contraction"] is not None:
        assert final["contraction"] == pytest.approx(distance(X) / before, rel=1e-9)
        W = trainer.schedule.round(rounds - 1).to_dense()
        assert final["contraction_bound"] == pytest.approx(np.linalg.norm(W - 1 / 6, 2), rel=1e-9)


@pytest.mark.parametrize("local_steps", [1, 4])
def test_nothing_is_saved_while_a_round_is_under_way(local_steps):
    algorithm = make_algorithm(settings(algorithm="dsgd", order="awc", local_steps=local_steps))
    trainer = Trainer(design("ring", 4), settings(order="awc", local_steps=local_steps), model=linear, data=blobs())
    trainer.algorithm = algorithm
    for step in range(8):
        algorithm.step(trainer.nodes, step)
        assert algorithm.at_rest(step + 1) is ((step + 1) % local_steps == 0)
        assert algorithm.rounds(step + 1) == (step + 1) // local_steps


@pytest.mark.parametrize("order", ["atc", "awc"])
def test_column_stochastic_schedules_are_refused(order):
    W = MixingMatrix.from_matrix(np.array([[0.5, 0.25, 0.0], [0.5, 0.5, 0.5], [0.0, 0.25, 0.5]]))
    schedule = Schedule.cyclic([W], mixing="column-stochastic")
    with pytest.raises(InputError, match="D-SGD needs doubly stochastic mixing, schedule-3 is column-stochastic"):
        Trainer(schedule, settings(algorithm="dsgd", order=order), model=linear, data=blobs())
    result = train(schedule, settings(algorithm="allreduce", steps=2), model=linear, data=blobs())
    assert result.final["round"] == 0


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Teleport(4, [design("ring", 2).rounds], seed=0), "schedule-4 is a teleport schedule"),
        (Pairwise(3, [(0, 1), (1, 2)], [1, 1], seed=0), "schedule-3 is a pairwise schedule"),
        (design("ceca-2p", 4).rule, "keeps one state a node, schedule-4 asks for 2 copies"),
    ],
)
def test_kinds_that_dsgd_cannot_run_are_refused(rule, words):
    with pytest.raises(InputError, match=words):
        Trainer(Schedule.of(rule), settings(algorithm="dsgd"), model=linear, data=blobs())


def test_allreduce_of_an_optimizer_with_a_closure_is_refused_before_training():
    with pytest.raises(InputError, match="closure"):
        Trainer(
            design("ring", 4),
            settings(algorithm="allreduce"),
            model=linear,
            data=blobs(),
            optimizer=lambda m: torch.optim.LBFGS(m.parameters()),
        )
