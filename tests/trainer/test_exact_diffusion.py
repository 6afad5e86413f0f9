"""Exact diffusion (D2) against its equations, in the form of either paper."""

from functools import partial

import networkx as nx
import numpy as np
import pytest
import torch
from breaking import break_off
from exact import exact_gradients, optimum
from problems import CLASSES, FEATURES, Softmax, blobs, linear, settings
from ranks import run_ranks
from torch import optim
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from workers import final_parameters, train_all

from topokit.designer import design, design_graph, design_matrix
from topokit.errors import InputError
from topokit.kinds import Drawn, Pairwise
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer import Trainer, train
from topokit_trainer.algorithms import make_algorithm
from topokit_trainer.algorithms.exact_diffusion import ExactDiffusion, damped, least_eigenvalue

STEPS = 24
USUAL = {"algorithm": "exact-diffusion", "steps": STEPS, "perturb": 0.1, "partition": "sorted"}

# Least eigenvalues: -1/3 exactly, 0, -0.244, -0.6 (four nodes in a cycle that keep a fifth each), 0.1.
SCHEDULES = {
    "ring": design("ring", 4),
    "star": design_graph(nx.star_graph(4)),
    "path": design("path", 6),
    "hasty": design_matrix([[0.2, 0.4, 0.0, 0.4], [0.4, 0.2, 0.4, 0.0], [0.0, 0.4, 0.2, 0.4], [0.4, 0.0, 0.4, 0.2]]),
    "lazy": design_matrix(
        [[0.6, 0.2, 0.0, 0.2], [0.2, 0.55, 0.25, 0.0], [0.0, 0.25, 0.5, 0.25], [0.2, 0.0, 0.25, 0.55]]
    ),
}
DAMPED = {"ring", "hasty"}
SHARED = ["ring", "hasty", "lazy"]  # of four nodes, which ranks can share


def config_of(**changes):
    return settings(**(USUAL | {"lr": 0.05} | changes))


def trainer_of(schedule, config, **parts):
    return Trainer(schedule, config, **({"model": linear, "data": blobs(dtype=getattr(torch, config.dtype))} | parts))


def matrix_in_use(name):
    W = SCHEDULES[name].round(0).to_dense()
    return (np.eye(len(W)) + W) / 2 if name in DAMPED else W


def gradients_of(trainer, X, step):
    problem = Softmax(blobs())
    return np.stack([problem.gradient(x, b) for x, b in zip(X, trainer.nodes.batches.indices(step), strict=True)])


def by_hand(trainer, X, V):
    """The final models, by psi = x - eta u(x) and x = V (psi + x - psi_last), u with the momentum of PyTorch's SGD."""
    config, velocity, last = trainer.config, np.zeros_like(X), X
    for step in range(config.steps):
        velocity = config.momentum * velocity + gradients_of(trainer, X, step) + config.weight_decay * X
        psi = X - config.lr * velocity
        X, last = V @ (psi + X - last), psi
    return X


def by_hand_as_d2(trainer, X, V):
    """The final models, by x = V (2 x - x_last - eta (g - g_last)) after a first step of D-SGD."""
    eta = trainer.config.lr
    g = gradients_of(trainer, X, 0)
    X, last, g_last = V @ (X - eta * g), X, g
    for step in range(1, trainer.config.steps):
        g = gradients_of(trainer, X, step)
        X, last, g_last = V @ (2 * X - last - eta * (g - g_last)), X, g
    return X


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("inertia", [{}, {"momentum": 0.9, "weight_decay": 0.01}], ids=["plain", "momentum"])
def test_it_is_its_equations(name, inertia):
    notes = []
    trainer = trainer_of(SCHEDULES[name], config_of(**inertia), report=notes.append)
    start, V = final_parameters(trainer).copy(), matrix_in_use(name)
    final = trainer.run().final
    found = final_parameters(trainer)
    assert np.abs(found - start).max() > 0.1
    assert np.abs(found - found.mean(axis=0)).max() > 1e-3
    assert np.abs(found - by_hand(trainer, start, V)).max() < 1e-10
    if not inertia:
        assert np.abs(found - by_hand_as_d2(trainer, start, V)).max() < 1e-10
    messages = SCHEDULES[name].rule.messages(0)
    assert final["bytes_sent_per_node"] == round(STEPS * messages / len(V) * (FEATURES + 1) * CLASSES * 8)
    assert (final["contraction"] is None) is (name in DAMPED)
    if name not in DAMPED:
        assert 0 < final["contraction"] <= final["contraction_bound"] + 1e-12
    said = [note for note in notes if "mixes with (I + W)/2" in note]
    assert len(said) == (name in DAMPED)
    if name == "ring":
        assert "the least eigenvalue of ring-4 is -0.3333, and exact diffusion (D2) needs one above -1/3" in said[0]


@pytest.mark.dist
@pytest.mark.parametrize("size", [4, 2], ids=["distributed", "hybrid"])
def test_ranks_are_its_equations(size):
    runs = [(SCHEDULES[name], config_of(momentum=0.9, weight_decay=0.01)) for name in SHARED]
    ranks = run_ranks(train_all, size, runs, {"model": linear, "data": blobs()}, timeout=100)
    for number, name in enumerate(SHARED):
        together = np.concatenate([rank[number][0] for rank in ranks])
        trainer = trainer_of(*runs[number])
        start = final_parameters(trainer).copy()
        assert np.abs(together - by_hand(trainer, start, matrix_in_use(name))).max() < 1e-10
        alone, there = trainer.run().final, ranks[0][number][1][-1]
        assert there["bytes_sent_per_node"] == alone["bytes_sent_per_node"]
        assert there["contraction"] == (alone["contraction"] and pytest.approx(alone["contraction"], rel=1e-9))
        if size == 4:
            assert there["bytes_on_the_wire"] == 4 * alone["bytes_sent_per_node"]


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda model: optim.Adam(model.parameters(), lr=0.01, weight_decay=0.01),
        lambda model: optim.LBFGS(model.parameters(), lr=0.1, max_iter=2, history_size=2),  # with a closure
    ],
    ids=["adam", "lbfgs"],
)
def test_any_optimizer_is_one_optimizer_a_node(optimizer):
    trainer = trainer_of(SCHEDULES["star"], config_of(steps=20), optimizer=optimizer)
    X, V = torch.from_numpy(final_parameters(trainer).copy()), torch.from_numpy(matrix_in_use("star"))
    trainer.run()
    models = [linear().double() for _ in X]
    optimizers = [optimizer(model) for model in models]
    x, y = blobs().train.tensors

    def closure(model, optimizer, batch):
        optimizer.zero_grad()
        loss = cross_entropy(model(x[batch]), y[batch])
        loss.backward()
        return loss

    last = start = X
    for step in range(20):
        batches = torch.from_numpy(trainer.nodes.batches.indices(step))
        for model, its_own, values, batch in zip(models, optimizers, X, batches, strict=True):
            with torch.no_grad():
                vector_to_parameters(values.clone(), model.parameters())
            its_own.step(partial(closure, model, its_own, batch))
        psi = torch.stack([parameters_to_vector(m.parameters()).detach() for m in models])
        X, last = V @ (psi + X - last), psi
    assert (X - start).abs().max() > 0.1
    assert np.abs(final_parameters(trainer) - X.numpy()).max() < 1e-10


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_complete_graph_from_equal_starts_is_allreduce(momentum):
    runs = []
    for algorithm in ("exact-diffusion", "allreduce"):
        config = config_of(algorithm=algorithm, momentum=momentum, perturb=0.0)
        trainer = trainer_of(design("complete", 5, weights="uniform"), config)
        trainer.run()
        runs.append(final_parameters(trainer))
    assert np.abs(runs[0] - runs[1]).max() < 1e-12


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_mean_goes_where_the_nodes_steps_lead_at_every_step(name):
    trainer = trainer_of(SCHEDULES[name], config_of(momentum=0.9))
    descend, led, found = trainer.nodes.descend, [], []
    step = trainer.algorithm.step

    def watched_descend(number):
        descend(number)
        led.append(final_parameters(trainer).mean(axis=0))  # psi

    def watched_step(nodes, number):
        step(nodes, number)
        found.append(final_parameters(trainer).mean(axis=0))

    trainer.nodes.descend, trainer.algorithm.step = watched_descend, watched_step
    trainer.run()
    assert len(found) == STEPS
    assert np.abs(np.array(found) - np.array(led)).max() < 1e-14
    assert np.abs(np.diff(found, axis=0)).max() > 1e-3


# Eigenvalues


@pytest.mark.parametrize(
    ("schedule", "least"),
    [
        (design("ring", 7), (1 + 2 * np.cos(6 * np.pi / 7)) / 3),
        (design("torus", 16), -0.6),
        (design("path", 6), None),
        (design("star", 6), 0.0),
        (design("complete", 6, weights="uniform"), 0.0),
        (design("hypercube", 8), -0.5),
    ],
)
def test_the_least_eigenvalue_is_bounded_from_below_and_closely(schedule, least):
    W = schedule.round(0)
    dense = np.linalg.eigvalsh(W.to_dense())[0]
    assert least is None or dense == pytest.approx(least, abs=1e-12)
    assert -1e-10 < least_eigenvalue(W) - dense < 1e-14


@pytest.mark.parametrize("nodes", [4, 8, 24, 250])
def test_even_rings_stand_at_the_limit_and_odd_ones_do_not(nodes):
    assert least_eigenvalue(design("ring", nodes).round(0)) <= -1 / 3
    assert least_eigenvalue(design("ring", nodes + 1).round(0)) > -1 / 3
    assert least_eigenvalue(damped(design("ring", nodes).round(0))) > 0


def test_nodes_that_keep_nothing_are_damped():
    swap = design_matrix([[0.0, 1.0], [1.0, 0.0]])
    V = damped(swap.round(0)).to_dense()
    assert V.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    notes = []
    trainer = trainer_of(swap, config_of(), report=notes.append)
    trainer.run()
    assert "the least eigenvalue of matrix-2 is -1.0000" in notes[0]
    found = final_parameters(trainer)
    assert np.abs(found[0] - found[1]).max() < 1e-14


def alternating(V, steps, noise=0.0, trials=1):
    """The recursion without gradients, with noise in their place: how far the alternating vector is in, in the end."""
    rng = np.random.default_rng(0)
    signs = np.array([1.0, -1.0] * (len(V) // 2)) / np.sqrt(len(V))  # the least eigenvector of even rings
    x = np.tile(signs[:, None], trials)
    last = x
    for _ in range(steps):
        psi = x + noise * rng.standard_normal(x.shape)
        x, last = V @ (psi + x - last), psi
    return np.sqrt(np.mean((signs @ x) ** 2))


def test_an_even_ring_is_not_stable_undamped():
    W = design("ring", 8).round(0).to_dense()
    V = damped(design("ring", 8).round(0)).to_dense()
    # With l = -1/3 the roots of z^2 - 2 l z + l are -1 and 1/3: a part never dies out ...
    assert alternating(W, 3000) == pytest.approx(alternating(W, 100), rel=1e-9)
    assert alternating(W, 3000) > 0.4
    assert alternating(V, 3000) < 1e-15
    # ... and noise adds up. It enters as n_t - n_{t-1}, so by 2 l / (1 + 1/3) = -1/2 at the root -1: a random walk.
    assert alternating(W, 3000, noise=1.0, trials=500) == pytest.approx(np.sqrt(3000) / 2, rel=0.1)
    assert alternating(V, 3000, noise=1.0, trials=500) < 1
    # Below -1/3 it diverges.
    hasty = np.eye(8) * 0.2 + (np.roll(np.eye(8), 1, axis=0) + np.roll(np.eye(8), -1, axis=0)) * 0.4
    assert alternating(hasty, 100) > 1e6


def test_training_on_an_even_ring_is_not_stable_undamped(monkeypatch):
    """The mode that does not die out is there in training, and it is the damping that removes it."""
    left = {}
    signs = torch.tensor([1.0, -1.0] * 4, dtype=torch.float64)
    for name in ("damped", "undamped"):
        if name == "undamped":
            module = type(make_algorithm(config_of())).prepare.__globals__
            monkeypatch.setitem(module, "least_eigenvalue", lambda matrix: 0.0)
        trainer = trainer_of(design("ring", 8), config_of(steps=400, lr=0.0, perturb=0.0))
        stack = trainer.nodes.parameters[0]
        stack.add_(signs.unsqueeze(1))
        mean = stack.mean(0).clone()
        trainer.run()
        left[name] = float((stack - mean).abs().max())
    assert left["damped"] < 1e-12
    assert left["undamped"] > 0.2


# The long run

LONG = {"steps": 3000, "lr": 0.3, "weight_decay": 0.05, "batch_size": 16}


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float64", 1e-12), pytest.param("float32", 1e-5, marks=pytest.mark.slow)]
)
def test_with_exact_gradients_it_finds_the_optimum_of_sorted_data_and_stays_there(dtype, tolerance):
    goal = optimum(0.05)
    trainer = exact_gradients(trainer_of(design("ring", 8), config_of(dtype=dtype, **LONG)))
    step, distances, sums = trainer.algorithm.step, [], []

    def watched(nodes, number):
        step(nodes, number)
        distances.append(np.abs(final_parameters(trainer) - goal).max())
        sums.append(float(torch.cat(trainer.algorithm.correction, dim=1).double().sum(0).abs().max()))

    trainer.algorithm.step = watched
    trainer.run()
    assert distances[0] > 0.3
    assert max(distances[2000:]) < tolerance
    # What should sum to zero walks by rounding errors of its own size, that of a step.
    assert max(sums) < 0.3 * np.sqrt(8 * 3000) * torch.finfo(getattr(torch, dtype)).eps
    assert len(sums) == 3000


def test_dsgd_does_not_find_it():
    trainer = exact_gradients(trainer_of(design("ring", 8), config_of(algorithm="dsgd", **(LONG | {"steps": 500}))))
    trainer.run()
    found, goal = final_parameters(trainer), optimum(0.05)
    assert np.abs(found.mean(axis=0) - goal).max() > 0.1
    assert np.abs(found - goal).max() > 0.3


@pytest.mark.slow
def test_noise_does_not_add_up_in_3000_steps():
    config = config_of(**(LONG | {"lr": 0.1, "momentum": 0.9, "dtype": "float32"}))
    trainer = exact_gradients(trainer_of(design("ring", 8), config), noise=0.3)
    step, distances = trainer.algorithm.step, []

    def watched(nodes, number):
        step(nodes, number)
        if number % 50 == 49:
            X = final_parameters(trainer)
            distances.append(np.sqrt(((X - X.mean(axis=0)) ** 2).sum(axis=1).mean()))

    trainer.algorithm.step = watched
    trainer.run()
    early, late = np.median(distances[10:30]), np.median(distances[40:])
    assert early > 0.01
    assert late < 1.5 * early


# Going on, and what is refused


@pytest.mark.parametrize(("name", "dtype"), [("ring", "float64"), ("path", "float32"), ("ring", "bfloat16")])
def test_an_interrupted_run_ends_where_a_straight_one_does(tmp_path, name, dtype):
    def trainer_at(folder):
        config = config_of(steps=20, checkpoint_every=6, out=folder, dtype=dtype, momentum=0.9)
        return trainer_of(SCHEDULES[name], config)

    straight = trainer_at(tmp_path / "straight")
    straight.run()
    broken = trainer_at(tmp_path / "broken")
    break_off(broken, 14)
    again = trainer_at(tmp_path / "broken")
    assert again.progress.step == 12
    again.run()
    assert final_parameters(again).tobytes() == final_parameters(straight).tobytes()


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (design("one-peer-exponential", 8), "-8 has 3 rounds; gradient-tracking has no such limit"),
        (design("exponential", 8), "exponential-8 is not symmetric; gradient-tracking has no such limit"),
        (Schedule.of(Drawn(6, "matching", {}, seed=4)), "schedule-6 is a sampled schedule; gradient-tracking has"),
        (Schedule.of(Pairwise(3, [(0, 1), (1, 2)], [1, 1], seed=0)), "schedule-3 is a pairwise schedule$"),
        (design("ceca-2p", 4), "ceca-2p-4 asks for 2 copies$"),
        (
            Schedule.cyclic(
                [MixingMatrix.from_matrix(np.array([[0.5, 0.25], [0.5, 0.75]]))], mixing="column-stochastic"
            ),
            "schedule-2 is column-stochastic$",
        ),
    ],
)
def test_other_schedules_are_refused(schedule, words):
    needs = r"exact diffusion \(D2\) needs one symmetric doubly stochastic matrix, the same in every round; .*"
    with pytest.raises(InputError, match=needs + words):
        train(schedule, config_of(), model=linear, data=blobs())


def test_nothing_is_said_before_a_schedule_is_known():
    assert ExactDiffusion().notes() == []
