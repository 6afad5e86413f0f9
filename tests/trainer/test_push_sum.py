"""Push-sum against its equations, with the biased x and the weights that nodes would send along with it."""

import shutil

import networkx as nx
import numpy as np
import pytest
import torch
from breaking import break_off
from problems import CLASSES, FEATURES, Softmax, blobs, linear, settings
from ranks import run_ranks
from torch import optim
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from workers import final_parameters, train_all

from topokit.designer import design, design_graph, design_matrix
from topokit.errors import InputError
from topokit.kinds import Matchings, Pairwise, Sampled, Teleport
from topokit.matrix import MixingMatrix
from topokit.perron import perron_vector
from topokit.schedule import Schedule
from topokit_trainer import Trainer, train

STEPS = 24
USUAL = {"algorithm": "push-sum", "steps": STEPS, "lr": 0.05, "perturb": 0.1, "partition": "sorted"}
INERTIA = {"momentum": 0.9, "weight_decay": 0.01}


def pushing(hears):
    """Each node u keeps a part and sends as much to each node of hears[u]; columns alone sum to one."""
    A = np.zeros((len(hears), len(hears)))
    for u, nodes in enumerate(hears):
        A[[u, *nodes], u] = 1 / (1 + len(nodes))
    return MixingMatrix.from_matrix(A)


def column_stochastic(*rounds):
    return Schedule.cyclic(rounds, mixing="column-stochastic")


ROUNDS = [pushing([[1], [2], [3], []]), pushing([[], [0, 3], [], [0]]), pushing([[2, 3], [], [0], [1]])]
IRREGULAR = nx.DiGraph([(0, 1), (0, 2), (0, 4), (1, 2), (2, 3), (2, 0), (3, 5), (4, 0), (5, 4), (5, 0), (3, 0)])
SCHEDULES = {
    "irregular": design_graph(IRREGULAR, "push-sum"),
    "four": design_graph(nx.DiGraph([(0, 1), (0, 2), (1, 2), (2, 3), (3, 0)]), "push-sum"),
    "time-varying": column_stochastic(*ROUNDS),
    "sampled": Schedule.of(Sampled(ROUNDS, ["1/2", "1/4", "1/4"], seed=5, mixing="column-stochastic")),
}
SHARED = ["four", "time-varying", "sampled"]  # of four nodes, which ranks can share


def config_of(**changes):
    return settings(**(USUAL | changes))


def trainer_of(schedule, config, **parts):
    return Trainer(schedule, config, **({"model": linear, "data": blobs(dtype=getattr(torch, config.dtype))} | parts))


def by_hand(trainer, Z):
    """The final z: gradients at z = x / w, their steps added to x, both x and w mixed. A step may have no round."""
    config, schedule, problem = trainer.config, trainer.schedule, Softmax(blobs())
    X, w, velocity = Z.copy(), np.ones(len(Z)), np.zeros_like(Z)
    for step in range(config.steps):
        Z = X / w[:, None]
        batches = trainer.nodes.batches.indices(step)
        gradients = np.stack([problem.gradient(z, batch) for z, batch in zip(Z, batches, strict=True)])
        velocity = config.momentum * velocity + gradients + config.weight_decay * Z
        X = X - config.lr * velocity
        if (step + 1) % config.local_steps == 0:
            A = schedule.round(step // config.local_steps).to_dense()
            X, w = A @ X, A @ w
    return X / w[:, None]


@pytest.mark.parametrize("local_steps", [1, 3])
@pytest.mark.parametrize("name", SCHEDULES)
def test_it_is_its_equations(name, local_steps):
    trainer = trainer_of(SCHEDULES[name], config_of(local_steps=local_steps, **INERTIA))
    start = final_parameters(trainer).copy()
    final = trainer.run().final
    found = final_parameters(trainer)
    assert np.abs(trainer.algorithm.weights - 1).max() > 0.01
    assert np.abs(found - start).max() > 0.1
    assert np.abs(found - found.mean(axis=0)).max() > 1e-3
    assert np.abs(found - by_hand(trainer, start)).max() < 1e-10
    rounds = STEPS // local_steps
    messages = sum(SCHEDULES[name].rule.messages(t) for t in range(rounds))
    model = (FEATURES + 1) * CLASSES * 8
    assert final["bytes_sent_per_node"] == pytest.approx(messages * model / SCHEDULES[name].nodes, abs=0.51)
    assert final["round"] == rounds


@pytest.mark.dist
@pytest.mark.parametrize("size", [4, 2], ids=["distributed", "hybrid"])
def test_ranks_are_its_equations_and_go_on_where_they_were_saved(tmp_path, size):
    saving = {"checkpoint_every": 9, "keep_checkpoints": 9} if size == 2 else {}
    runs = [
        (SCHEDULES[name], config_of(local_steps=2, **INERTIA, **saving, out=tmp_path / name if saving else None))
        for name in SHARED
    ]
    parts = {"model": linear, "data": blobs()}
    ranks = run_ranks(train_all, size, runs, parts, timeout=100)
    finals = [np.concatenate([rank[number][0] for rank in ranks]) for number in range(len(runs))]
    for number, name in enumerate(SHARED):
        alone = trainer_of(SCHEDULES[name], config_of(local_steps=2, **INERTIA))
        start = final_parameters(alone).copy()
        assert np.abs(finals[number] - by_hand(alone, start)).max() < 1e-10
        here, there = alone.run().final, ranks[0][number][1][-1]
        for key in ("bytes_sent_per_node", "round"):
            assert there[key] == here[key]
        for key in ("loss", "consensus_distance"):
            assert there[key] == pytest.approx(here[key], rel=1e-9)
    if not saving:
        return
    for name in SHARED:  # as if the runs had broken off after step 9, in the middle of local steps
        for step in ("18", "24"):
            shutil.rmtree(tmp_path / name / "checkpoints" / f"step-000000{step}")
    again = run_ranks(train_all, size, runs, parts, timeout=100)
    for number, final in enumerate(finals):
        assert np.concatenate([rank[number][0] for rank in again]).tobytes() == final.tobytes()


def test_adam_is_one_optimizer_a_node():
    schedule, config = SCHEDULES["irregular"], config_of(optimizer="adam", lr=0.01, weight_decay=0.01)
    trainer = trainer_of(schedule, config)
    X, A = torch.from_numpy(final_parameters(trainer).copy()), torch.from_numpy(schedule.round(0).to_dense())
    trainer.run()
    models = [linear().double() for _ in X]
    optimizers = [optim.Adam(m.parameters(), lr=0.01, weight_decay=0.01) for m in models]
    x, y = blobs().train.tensors
    w = torch.ones((len(X), 1), dtype=torch.float64)
    for step in range(STEPS):
        Z, batches = X / w, torch.from_numpy(trainer.nodes.batches.indices(step))
        for i, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            vector_to_parameters(Z[i].clone(), model.parameters())
            optimizer.zero_grad()
            cross_entropy(model(x[batches[i]]), y[batches[i]]).backward()
            optimizer.step()
            X[i] += parameters_to_vector(model.parameters()).detach() - Z[i]
        X, w = A @ X, A @ w
    assert np.abs(final_parameters(trainer) - (X / w).numpy()).max() < 1e-10


def test_outer_steps_start_from_the_weighted_mean():
    config = config_of(local_steps=2, outer_every=4, outer_momentum=0.6, outer_lr=0.8, steps=22)
    trainer = trainer_of(SCHEDULES["irregular"], config)
    start = final_parameters(trainer).copy()
    trainer.run()
    problem, A = Softmax(blobs()), SCHEDULES["irregular"].round(0).to_dense()
    X, w, slow, anchor = start.copy(), np.ones(len(start)), 0.0, start.mean(axis=0)
    for step in range(22):
        Z, batches = X / w[:, None], trainer.nodes.batches.indices(step)
        X = X - 0.05 * np.stack([problem.gradient(z, batch) for z, batch in zip(Z, batches, strict=True)])
        if step % 2 == 1:
            X, w = A @ X, A @ w
        if step % 4 == 3:
            slow = 0.6 * slow + (anchor - X.mean(axis=0)) / 0.05
            anchor = anchor - 0.8 * 0.05 * slow
            X = np.outer(w, anchor)  # every z is the anchor; the mass of x is n times it
    found = final_parameters(trainer)
    assert np.abs(found - X / w[:, None]).max() < 1e-10
    assert np.abs(found - found.mean(axis=0)).max() > 1e-3


# Where rows sum to one as well

PEERS = design("one-peer-exponential", 6).rounds
BALANCED = {
    "permutations": lambda mixing: Schedule.cyclic(
        [MixingMatrix.from_matrix(0.6 * np.eye(5) + 0.4 * np.roll(np.eye(5), 2, axis=0))], mixing=mixing
    ),
    "one-peer-exponential": lambda mixing: Schedule.cyclic(PEERS, mixing=mixing),
    "sampled": lambda mixing: Schedule.of(Sampled(PEERS, ["1/2", "1/4", "1/4"], seed=3, mixing=mixing)),
}


def finals_of(schedule, **changes):
    trainer = trainer_of(schedule, config_of(**(INERTIA | changes)))
    trainer.run()
    return final_parameters(trainer)


@pytest.mark.parametrize("local_steps", [1, 3])
@pytest.mark.parametrize("name", BALANCED)
def test_doubly_stochastic_rounds_make_it_dsgd(name, local_steps):
    schedule = BALANCED[name]("doubly-stochastic")
    expected = finals_of(schedule, algorithm="dsgd", local_steps=local_steps)
    assert finals_of(schedule, local_steps=local_steps).tobytes() == expected.tobytes()
    unsaid = BALANCED[name]("column-stochastic")  # the same, without being told that rows sum to one
    assert np.abs(finals_of(unsaid, local_steps=local_steps) - expected).max() < 1e-12


def test_matchings_are_doubly_stochastic_and_make_it_dsgd():
    schedule = Schedule.of(Matchings(4, [[(0, 1), (2, 3)], [(1, 2)]], [0.7, 0.4], 0.5, seed=2))
    assert finals_of(schedule).tobytes() == finals_of(schedule, algorithm="dsgd").tobytes()


@pytest.mark.parametrize("mixing", ["doubly-stochastic", "column-stochastic"])
def test_complete_graph_from_equal_starts_is_allreduce(mixing):
    schedule = Schedule.cyclic([MixingMatrix.from_matrix(np.full((5, 5), 0.2))], mixing=mixing)
    expected = finals_of(schedule, algorithm="allreduce", perturb=0.0)
    assert np.abs(finals_of(schedule, perturb=0.0) - expected).max() < 1e-12


# What is conserved


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("local_steps", [1, 2])
def test_mass_is_conserved_at_every_step(name, local_steps):
    trainer = trainer_of(SCHEDULES[name], config_of(local_steps=local_steps, **INERTIA))
    step, descend, mix = trainer.algorithm.step, trainer.nodes.descend, trainer.nodes.combine
    n, led, means = trainer.schedule.nodes, [], []

    def mean():
        return trainer.algorithm.averages(trainer.nodes)[""].numpy() @ final_parameters(trainer)

    means.append(mean())

    def watched_descend(number):
        before = final_parameters(trainer).copy()
        descend(number)
        led.append((final_parameters(trainer) - before).mean(axis=0))  # mean of z' - z

    def watched_step(nodes, number):
        step(nodes, number)
        means.append(mean())
        if trainer.algorithm.weights is not None:
            assert abs(trainer.algorithm.weights.sum() - n) < 1e-13 * n
            assert trainer.algorithm.averages(nodes)[""].tolist() == (trainer.algorithm.weights / n).tolist()

    def watched_mix(*parts):
        before = trainer.algorithm.own.numpy().T @ final_parameters(trainer)
        mix(*parts)
        mixed.append((before, final_parameters(trainer).copy()))

    mixed = []
    trainer.algorithm.step, trainer.nodes.descend, trainer.nodes.combine = watched_step, watched_descend, watched_mix
    trainer.run()
    assert len(means) == STEPS + 1
    assert np.abs(np.diff(means, axis=0) - led).max() < 1e-14
    w = np.ones(n)
    for number, (before, after) in enumerate(mixed):
        w = trainer.schedule.round(number).to_dense() @ w
        assert np.abs(w @ after - before).max() < 1e-13
    assert len(mixed) == STEPS // local_steps


def idle(trainer):
    """No gradients, for long runs of mixing alone."""
    trainer.nodes.descend = lambda step: None
    return trainer


@pytest.mark.parametrize("name", SCHEDULES)
def test_without_gradients_all_nodes_come_to_the_mean_of_the_starts(name):
    trainer = idle(trainer_of(SCHEDULES[name], config_of(steps=300, perturb=1.0)))
    start = final_parameters(trainer).copy()
    trainer.run()
    assert np.abs(final_parameters(trainer) - start.mean(axis=0)).max() < 1e-14
    # The matrices alone come to something else: they do not agree, and on nothing that is near the mean.
    X = start
    for t in range(300):
        X = trainer.schedule.round(t).to_dense() @ X
    assert np.abs(X - start.mean(axis=0)).max() > 0.1
    assert np.abs(X - X.mean(axis=0)).max() > 0.1


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [("irregular", "float64", 1e-14), ("irregular", "float32", 3e-7), ("sampled", "float32", 3e-7)],
)
def test_mass_stays_where_it_is_for_3000_rounds(name, dtype, tolerance):
    trainer = idle(trainer_of(SCHEDULES[name], config_of(steps=3000, perturb=1.0, dtype=dtype)))
    mean = final_parameters(trainer).mean(axis=0)
    trainer.run()
    weights = trainer.algorithm.weights
    assert np.abs(final_parameters(trainer) - mean).max() < tolerance
    assert abs(weights.sum() - len(weights)) < 1e-12
    if name == "irregular":
        assert np.abs(weights - 6 * perron_vector(SCHEDULES[name].round(0))).max() < 1e-12


@pytest.mark.slow
def test_training_is_stable_for_3000_steps():
    config = config_of(steps=3000, batch_size=8, lr=0.1, weight_decay=0.05, gradients="vmap", dtype="float32")
    trainer = trainer_of(SCHEDULES["irregular"], config)
    step, losses = trainer.algorithm.step, []

    def watched(nodes, number):
        step(nodes, number)
        if number in (999, 2999):
            losses.append(trainer.evaluator(trainer.algorithm.averages(nodes))[""])

    trainer.algorithm.step = watched
    trainer.run()
    assert losses[1].loss == pytest.approx(losses[0].loss, rel=0.05)
    assert losses[1].consensus_distance < 2 * losses[0].consensus_distance


def test_the_averaged_model_is_weighted():
    trainer = trainer_of(SCHEDULES["irregular"], config_of())
    result = trainer.run()
    w = trainer.algorithm.weights
    expected = w @ final_parameters(trainer) / len(w)
    found = parameters_to_vector(result.model.parameters()).detach().numpy()
    assert np.abs(found - expected).max() < 1e-14
    assert np.abs(found - final_parameters(trainer).mean(axis=0)).max() > 1e-3


# Plans


@pytest.mark.parametrize(("name", "planned"), [("irregular", 200), ("time-varying", 300)])
def test_no_round_is_planned_again_once_the_weights_have_settled(monkeypatch, name, planned):
    trainer = idle(trainer_of(SCHEDULES[name], config_of(steps=1000)))
    module = type(trainer.algorithm).step.__globals__
    plans, plan_round = [], module["plan_round"]

    def counted(*arguments):
        plans.append(1)
        return plan_round(*arguments)

    monkeypatch.setitem(module, "plan_round", counted)
    trainer.run()
    assert 10 < len(plans) < planned
    assert len(trainer.algorithm._kept) <= 4 * SCHEDULES[name].period


def test_settled_plans_are_the_same_as_fresh_ones():
    finals = []
    for fresh in (False, True):
        trainer = trainer_of(SCHEDULES["four"], config_of(steps=200))
        step = trainer.algorithm.step

        def forgetful(nodes, number, step=step, algorithm=trainer.algorithm):
            algorithm._kept.clear()
            step(nodes, number)

        if fresh:
            trainer.algorithm.step = forgetful
        trainer.run()
        finals.append(final_parameters(trainer).tobytes())
    assert finals[0] == finals[1]


# Going on


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("irregular", {"local_steps": 4, "checkpoint_every": 7}),
        ("time-varying", {"dtype": "float32"}),
        ("sampled", {"local_steps": 3, "checkpoint_every": 7}),
        ("four", {"dtype": "bfloat16"}),
    ],
)
def test_an_interrupted_run_ends_where_a_straight_one_does(tmp_path, name, changes):
    def trainer_at(folder):
        config = config_of(**({"steps": 31, "checkpoint_every": 7, "out": folder} | INERTIA | changes))
        return trainer_of(SCHEDULES[name], config)

    straight = trainer_at(tmp_path / "straight")
    straight.run()
    broken = trainer_at(tmp_path / "broken")
    break_off(broken, 17)
    again = trainer_at(tmp_path / "broken")
    assert again.progress.step == 14
    again.run()
    assert final_parameters(again).tobytes() == final_parameters(straight).tobytes()
    assert again.algorithm.weights.tobytes() == straight.algorithm.weights.tobytes()


# What is refused, and what is said


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (
            Schedule.cyclic([MixingMatrix.from_matrix(np.array([[0.5, 0.5], [0.25, 0.75]]))], mixing="row-stochastic"),
            r"needs rounds whose columns sum to one \(column-stochastic or doubly stochastic\), schedule-2 is row",
        ),
        (design("ceca-2p", 4), "push-sum keeps one state a node, .* asks for 2 copies"),
        (design("tree-push-pull", 4), "push-sum keeps one state a node"),
        (Schedule.of(Teleport(4, [design("ring", 2).rounds], seed=0)), "schedule-4 is a teleport schedule"),
        (Schedule.of(Pairwise(3, [(0, 1), (1, 2)], [1, 1], seed=0)), "schedule-3 is a pairwise schedule"),
        (
            column_stochastic(
                MixingMatrix.from_matrix(np.array([[0.0, 0.0], [1.0, 1.0]])), MixingMatrix.from_matrix(np.eye(2)[::-1])
            ),
            "push-sum: the weight of node 0 is 0 after round 0, and models are divided by it; give every node",
        ),
        (
            column_stochastic(MixingMatrix.from_matrix(np.array([[0.5, -0.6], [0.5, 1.6]]))),
            "push-sum: the weight of node 0 is -0.1 after round 0",
        ),
    ],
)
def test_other_schedules_are_refused(schedule, words):
    with pytest.raises(InputError, match=words):
        train(schedule, config_of(), model=linear, data=blobs())


def chain(n):
    """Each node sends one half on, and to the first node from anywhere: weights fall by half from node to node."""
    return nx.DiGraph([(i, i + 1) for i in range(n - 1)] + [(i, 0) for i in range(1, n)])


def test_small_weights_are_told_and_survived():
    notes = []
    schedule = design_graph(chain(8), "push-sum")
    weights = [np.ones(8)]
    for _ in range(100):
        weights.append(schedule.round(0).to_dense() @ weights[-1])
    lowest = np.min(weights, axis=0)
    trainer = trainer_of(schedule, config_of(lr=0.001), report=notes.append)
    assert f"the weight of node {lowest.argmin()} falls to {lowest.min():.2g}" in notes[0]
    assert f"steps up to {1 / lowest.min():.0f} times as long" in notes[0]
    start = final_parameters(trainer).copy()
    trainer.run()
    assert np.abs(final_parameters(trainer) - by_hand(trainer, start)).max() < 1e-10
    notes.clear()
    trainer_of(SCHEDULES["four"], config_of(), report=notes.append)
    assert notes == []


def test_a_schedule_without_a_name_for_it_finds_push_sum():
    config = config_of(algorithm="auto")
    assert trainer_of(SCHEDULES["sampled"], config).algorithm.name == "push-sum"
    assert trainer_of(design_matrix(np.full((4, 4), 0.25)), config).algorithm.name == "D-SGD"
