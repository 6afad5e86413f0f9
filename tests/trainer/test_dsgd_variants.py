"""The orders and momenta of D-SGD against plain NumPy: their equations, written out once more."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from breaking import break_off
from problems import CLASSES, Softmax, blobs, linear, settings
from ranks import run_ranks
from torch import optim
from workers import final_parameters, train_all

from topokit.designer import design
from topokit.errors import InputError
from topokit.kinds import Drawn, Matchings, Teleport
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer import Trainer

STEPS = 24
SCHEDULES = {
    "ring": design("ring", 4),
    "one-peer-exponential": design("one-peer-exponential", 4),
    "drawn": Schedule.of(Drawn(4, "groups", {"size": 3}, seed=4)),
    "matchings": Schedule.of(Matchings(4, [[(0, 1), (2, 3)], [(1, 2)]], [0.7, 0.4], 0.5, seed=2)),
}
FORMS = [f for f in product(("atc", "awc", "cta"), ("local", "mixed", "quasi-global")) if f != ("awc", "mixed")]
NEW = [form for form in FORMS if form not in {("atc", "local"), ("awc", "local")}]
MOMENTUM = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}


def make(schedule, config, **parts):
    return Trainer(schedule, config, **({"model": linear, "data": blobs()} | parts))


def start_of(trainer):
    """The nodes' parameters before training, as an array of one's own."""
    return final_parameters(trainer).copy()


def buffers_of(trainer):
    """The momentum buffers of PyTorch's SGD, as an array like the parameters."""
    states = trainer.nodes.optimizer.optimizer.state
    return torch.cat([states[s]["momentum_buffer"] for s in trainer.nodes.stacks.stacks], dim=1).numpy().copy()


def run_by_hand(trainer, X, rates=None, beta=None, nesterov=False):
    """Each form from its equations; rates (for each step) and beta are numbers, or a number for each parameter."""
    config, schedule = trainer.config, trainer.schedule
    order, mixing, H = config.order, config.momentum_mixing, config.local_steps
    beta = config.momentum if beta is None else beta
    rates = np.full(config.steps, config.lr) if rates is None else rates
    problem = Softmax(trainer.data)
    X, m = X.copy(), np.zeros_like(X)
    for step, eta in enumerate(rates):
        W = schedule.round(step // H).to_dense()
        first, last = step % H == 0, (step + 1) % H == 0
        if first:
            start, passed = X.copy(), 0.0
        if first and order == "cta":
            X = W @ X
            m = W @ m if mixing == "mixed" else m
        for i, batch in enumerate(trainer.nodes.batches.indices(step)):
            g = problem.gradient(X[i], batch) + config.weight_decay * X[i]
            heavy = beta * m[i] + g
            if mixing != "quasi-global":
                m[i] = heavy
            X[i] -= eta * (g + beta * heavy if nesterov else heavy)
        passed = passed + eta
        if last and order == "atc":
            X = W @ X
            m = W @ m if mixing == "mixed" else m
        if order == "awc" and (last or step + 1 == config.steps):
            X += W @ start - start
        if last and mixing == "quasi-global" and np.all(passed > 0):
            m = beta * m + (1 - beta) * (start - X) / passed
    return X


def saw(step):
    """Learning rates that rise from zero again and again."""
    return (step % 10) / 10


@pytest.mark.parametrize(("order", "mixing"), NEW)
@pytest.mark.parametrize(
    ("name", "local_steps"), [("ring", 1), ("one-peer-exponential", 3), ("drawn", 1), ("matchings", 3)]
)
def test_every_form_is_its_equations(name, order, mixing, local_steps):
    config = settings(
        **(MOMENTUM | {"steps": STEPS, "order": order, "momentum_mixing": mixing, "local_steps": local_steps}),
        perturb=0.1,
    )
    trainer = make(SCHEDULES[name], config, scheduler=lambda optimizer: optim.lr_scheduler.LambdaLR(optimizer, saw))
    start = start_of(trainer)
    trainer.run()
    found = final_parameters(trainer)
    assert np.abs(found - start).max() > 0.1
    assert np.abs(found - found.mean(axis=0)).max() > 1e-3
    assert np.abs(found - run_by_hand(trainer, start, config.lr * saw(np.arange(STEPS)))).max() < 1e-10


RUNS = [
    ("matchings", "cta", "local", 1),
    ("drawn", "cta", "local", 3),
    ("one-peer-exponential", "cta", "mixed", 3),
    ("drawn", "atc", "mixed", 1),
    ("ring", "atc", "quasi-global", 1),
    ("one-peer-exponential", "awc", "quasi-global", 3),
]


@pytest.mark.dist
@pytest.mark.parametrize("size", [4, 2], ids=["distributed", "hybrid"])
def test_every_mode_is_the_equations(size):
    usual = settings(**MOMENTUM, steps=STEPS, perturb=0.1)
    runs = [
        (SCHEDULES[name], replace(usual, order=order, momentum_mixing=mixing, local_steps=steps))
        for name, order, mixing, steps in RUNS
    ]
    ranks = run_ranks(train_all, size, runs, {"model": linear, "data": blobs()})
    for number, (schedule, config) in enumerate(runs):
        alone = make(schedule, config)
        expected = run_by_hand(alone, start_of(alone))
        alone.run()
        together = np.concatenate([rank[number][0] for rank in ranks])
        assert np.abs(together - expected).max() < 1e-10, RUNS[number]
        sent = [metrics[-1]["bytes_sent_per_node"] for metrics in (ranks[0][number][1], alone.folder.rows)]
        assert sent[0] == sent[1] > 0


@pytest.mark.parametrize("mixing", ["mixed", "quasi-global"])
@pytest.mark.parametrize("order", ["atc", "cta"])
def test_groups_and_nesterov_are_those_of_the_optimizer(order, mixing):
    def two_groups(model):
        groups = [{"params": [model.weight]}, {"params": [model.bias], "lr": 0.05, "momentum": 0.5}]
        return optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)

    config = settings(steps=STEPS, order=order, momentum_mixing=mixing, perturb=0.1)
    trainer = make(SCHEDULES["one-peer-exponential"], config, optimizer=two_groups)
    start = start_of(trainer)
    eta, beta = np.full(start.shape[1], 0.1), np.full(start.shape[1], 0.9)
    eta[-CLASSES:], beta[-CLASSES:] = 0.05, 0.5
    trainer.run()
    expected = run_by_hand(trainer, start, [eta] * STEPS, beta, nesterov=True)
    assert np.abs(final_parameters(trainer) - expected).max() < 1e-10


@pytest.mark.parametrize("mixing", ["local", "mixed"])
@pytest.mark.parametrize("order", ["atc", "cta"])
def test_complete_graph_from_equal_starts_is_allreduce_with_momentum(order, mixing):
    config = settings(**MOMENTUM, steps=STEPS)
    schedule = design("complete", 5, weights="uniform")
    found, expected = (
        make(schedule, changed)
        for changed in (replace(config, order=order, momentum_mixing=mixing), replace(config, algorithm="allreduce"))
    )
    found.run()
    expected.run()
    nodes, all_alike = final_parameters(found), final_parameters(expected)
    assert np.abs(nodes.mean(axis=0) - all_alike).max() < 1e-12
    # As CTA, the nodes have not met since their last step.
    assert (np.abs(nodes - all_alike).max() < 1e-12) == (order == "atc")
    if mixing == "mixed" and order == "atc":
        assert np.abs(buffers_of(found) - buffers_of(expected)).max() < 1e-12


def test_quasi_global_momentum_on_the_complete_graph_is_that_of_one_model():
    config = settings(**MOMENTUM, steps=STEPS, momentum_mixing="quasi-global")
    trainer = make(design("complete", 5, weights="uniform"), config)
    problem, x = Softmax(trainer.data), start_of(trainer)[0]
    trainer.run()
    beta, m = config.momentum, np.zeros_like(x)
    for step in range(STEPS):
        g = problem.gradient(x, trainer.nodes.batches.indices(step).ravel()) + config.weight_decay * x
        x = x - config.lr * (beta * m + g)
        m = beta * m + (1 - beta) * (beta * m + g)
    assert np.abs(final_parameters(trainer) - x).max() < 1e-12


@pytest.mark.parametrize(("order", "mixing"), NEW)
@pytest.mark.parametrize("name", SCHEDULES)
def test_rounds_keep_the_means_at_every_step(name, order, mixing):
    config = settings(**(MOMENTUM | {"lr": 0.0, "weight_decay": 0.0}), steps=40, order=order, perturb=1.0)
    trainer = make(SCHEDULES[name], replace(config, momentum_mixing=mixing))
    mean, step = start_of(trainer).mean(axis=0), trainer.algorithm.step
    gradients, drifts = np.zeros_like(mean), []

    def watched(nodes, number):
        nonlocal gradients
        step(nodes, number)
        drifts.append(np.abs(final_parameters(trainer).mean(axis=0) - mean).max())
        gradients = config.momentum * gradients + torch.cat(nodes.stacks.gradients, dim=1).numpy().mean(axis=0)
        if mixing == "mixed":  # the mean of the buffers is the momentum of the mean gradients
            drifts.append(np.abs(buffers_of(trainer).mean(axis=0) - gradients).max())

    trainer.algorithm.step = watched
    trainer.run()
    assert len(drifts) == (80 if mixing == "mixed" else 40)
    assert max(drifts) < 1e-13
    if mixing == "quasi-global":  # a learning rate of zero says nothing about the way, and divides nothing
        assert not any(part.any() for part in trainer.nodes.states["quasi-global momentum"].tensors)


def test_combine_then_adapt_counts_and_measures_its_rounds():
    # 20 steps are 6 rounds of 3 steps and two steps more, before which a seventh round stands.
    config = settings(steps=20, order="cta", local_steps=3, lr=0.0, perturb=1.0, eval_every=7)
    trainer = make(design("one-peer-exponential", 6), config)
    X = start_of(trainer)
    metrics = trainer.run().metrics
    assert [row["round"] for row in metrics] == [0, 3, 5, 7]
    for number in range(7):
        before, X = X, trainer.schedule.round(number).to_dense() @ X
    assert np.abs(final_parameters(trainer) - X).max() < 1e-13
    assert metrics[-1]["contraction"] == pytest.approx(
        np.linalg.norm(X - X.mean(axis=0)) / np.linalg.norm(before - before.mean(axis=0)), rel=1e-9
    )
    assert metrics[-1]["bytes_sent_per_node"] == 7 * trainer.nodes.stacks.bytes_per_node


@pytest.mark.parametrize(("order", "messages"), [("atc", 2 * 7), ("cta", 2 * 7 - 1)])
def test_mixed_momentum_is_counted(order, messages):
    # Before the first step there is no momentum to send.
    config = settings(**MOMENTUM, steps=7, order=order, momentum_mixing="mixed")
    trainer = make(design("one-peer-exponential", 6), config)
    assert trainer.run().final["bytes_sent_per_node"] == messages * trainer.nodes.stacks.bytes_per_node


@pytest.mark.parametrize(("order", "mixing"), NEW)
def test_interrupted_runs_end_where_uninterrupted_ones_do(tmp_path, order, mixing):
    config = settings(**MOMENTUM, steps=20, lr_schedule="cosine", perturb=0.1, checkpoint_every=4)
    config = replace(config, order=order, momentum_mixing=mixing, local_steps=3)

    straight, broken = (
        make(SCHEDULES["ring"], replace(config, out=tmp_path / name)) for name in ("straight", "broken")
    )
    straight.run()
    break_off(broken, 11)
    again = make(SCHEDULES["ring"], broken.config)
    # A checkpoint waits for the round to end where its start would have to be known.
    assert again.progress.step == (9 if order == "awc" or mixing == "quasi-global" else 8)
    again.run()
    assert final_parameters(again).tobytes() == final_parameters(straight).tobytes()
    assert buffers_of(again).tobytes() == buffers_of(straight).tobytes()


@pytest.mark.parametrize("mixing", ["mixed", "quasi-global"])
def test_momentum_is_shared_in_half_precision_too(mixing):
    config = settings(steps=40, lr=0.05, momentum=0.9, momentum_mixing=mixing, dtype="bfloat16", batch_size=8)
    metrics = make(design("ring", 4), config).run().metrics
    assert metrics[-1]["loss"] < metrics[0]["loss"]


@pytest.mark.slow
@pytest.mark.parametrize(("order", "mixing"), [("cta", "local"), ("atc", "mixed"), ("atc", "quasi-global")])
def test_stays_where_it_belongs_for_thousands_of_steps(order, mixing):
    data = blobs(samples=40)
    config = settings(steps=3000, lr=0.02, momentum=0.8, weight_decay=0.1, batch_size=8, partition="sorted")
    config = replace(config, order=order, momentum_mixing=mixing, gradients="vmap", eval_every=1500)
    trainer = make(design("ring", 4), config, data=data)
    problem = Softmax(data)

    def slope():
        x = final_parameters(trainer).mean(axis=0)
        return np.linalg.norm(problem.gradient(x, np.arange(32)) + config.weight_decay * x)

    at_first = slope()
    metrics = trainer.run().metrics
    assert slope() < 0.01 * at_first
    assert metrics[2]["consensus_distance"] == pytest.approx(metrics[1]["consensus_distance"], rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "optimizer", "words"),
    [
        ({"order": "awc", "momentum_mixing": "mixed"}, None, "mixed needs --order atc or cta: awc sends before"),
        ({"momentum_mixing": "mixed"}, None, "mixed needs --optimizer sgd with --momentum above 0; .*.stacked SGD."),
        ({"momentum_mixing": "quasi-global"}, None, "quasi-global needs --optimizer sgd with --momentum above 0"),
        ({"momentum_mixing": "mixed", "optimizer": "adam"}, None, "optimizer .stacked Adam. keeps no momentum buffer"),
        (
            {"momentum_mixing": "quasi-global"},
            lambda model: optim.LBFGS(model.parameters()),
            "quasi-global needs an elementwise optimizer with momentum, such as SGD; this run has LBFGS for each node",
        ),
    ],
)
def test_momentum_that_cannot_be_shared_is_refused(changes, optimizer, words):
    with pytest.raises(InputError, match=words):
        make(SCHEDULES["ring"], settings(**changes), optimizer=optimizer)


@pytest.mark.parametrize(("order", "mixing"), NEW)
def test_schedules_that_do_not_fit_are_refused(order, mixing):
    config = settings(**MOMENTUM, algorithm="dsgd", order=order, momentum_mixing=mixing)
    W = MixingMatrix.from_matrix(np.array([[0.5, 0.25, 0.0], [0.5, 0.5, 0.5], [0.0, 0.25, 0.5]]))
    with pytest.raises(InputError, match="D-SGD needs doubly stochastic mixing, schedule-3 is column-stochastic"):
        make(Schedule.cyclic([W], mixing="column-stochastic"), config)
    with pytest.raises(InputError, match="schedule-4 is a teleport schedule"):
        make(Schedule.of(Teleport(4, [design("ring", 2).rounds], seed=0)), config)
