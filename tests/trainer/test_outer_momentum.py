"""Outer momentum (SlowMo) against plain NumPy, around D-SGD and push-sum."""

from dataclasses import replace

import numpy as np
import pytest
from breaking import break_off
from problems import CLASSES, Softmax, blobs, linear, settings
from ranks import run_ranks
from torch import optim
from workers import final_parameters, train_all

from topokit.designer import design
from topokit.errors import InputError
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer import Trainer

STEPS = 34
RING = design("ring", 4)
MOMENTUM = {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.01}
OUTER = {"outer_momentum": 0.6, "outer_lr": 0.8}


def directed():
    """Two rounds whose columns sum to one, and whose rows do not."""
    A = np.array([[0.5, 0.0, 0.3, 0.0], [0.5, 0.6, 0.0, 0.0], [0.0, 0.4, 0.7, 0.2], [0.0, 0.0, 0.0, 0.8]])
    B = np.array([[0.9, 0.0, 0.0, 0.5], [0.0, 0.5, 0.0, 0.0], [0.1, 0.0, 1.0, 0.0], [0.0, 0.5, 0.0, 0.5]])
    return Schedule.cyclic([MixingMatrix.from_matrix(M) for M in (A, B)], mixing="column-stochastic")


def make(schedule, config, **parts):
    return Trainer(schedule, config, **({"model": linear, "data": blobs()} | parts))


def start_of(trainer):
    """The nodes' parameters before training, as an array of one's own."""
    return final_parameters(trainer).copy()


def run_by_hand(trainer, Z, rates=None):
    """The equations of D-SGD or push-sum, with outer steps; rates are for each step (and parameter)."""
    config, schedule = trainer.config, trainer.schedule
    H, push = config.local_steps, config.algorithm == "push-sum"
    rates = np.full(config.steps, config.lr) if rates is None else rates
    problem = Softmax(trainer.data)
    Z, w = Z.copy(), np.ones((len(Z), 1))
    m, u, anchor = np.zeros_like(Z), np.zeros(Z.shape[1]), Z.mean(axis=0)
    for step, eta in enumerate(rates):
        W = schedule.round(step // H).to_dense()
        first, last = step % H == 0, (step + 1) % H == 0
        X = w * Z
        if first:
            start = Z.copy()
            Z = W @ Z if config.order == "cta" else Z
        for i, batch in enumerate(trainer.nodes.batches.indices(step)):
            m[i] = config.momentum * m[i] + problem.gradient(Z[i], batch) + config.weight_decay * Z[i]
            X[i] -= eta * m[i]
            Z[i] -= eta * m[i]
        if push:
            X, w = (W @ X, W @ w) if last else (X, w)
            Z = X / w
        elif last:
            Z = {"atc": W @ Z, "awc": Z + W @ start - start, "cta": Z}[config.order]
        if (step + 1) % config.outer_every == 0:
            mean = (w * Z).mean(axis=0)
            moved = np.broadcast_to(eta, mean.shape) > 0
            safe = np.where(moved, eta, 1)
            u = np.where(moved, config.outer_momentum * u + (anchor - mean) / safe, u)
            anchor = np.where(moved, anchor - config.outer_lr * eta * u, mean)
            Z = np.tile(anchor, (len(Z), 1))
    return Z


CASES = {
    "atc": (RING, {"outer_every": 12}),
    "atc, 3 local steps": (design("one-peer-exponential", 4), {"local_steps": 3, "outer_every": 12}),
    "awc, 2 local steps": (RING, {"order": "awc", "local_steps": 2, "outer_every": 8}),
    "cta": (design("one-peer-exponential", 4), {"order": "cta", "outer_every": 7}),
    "push-sum": (directed(), {"algorithm": "push-sum", "outer_every": 11}),
    "push-sum, 3 local steps": (directed(), {"algorithm": "push-sum", "local_steps": 3, "outer_every": 9}),
}


def config_of(name, **changes):
    schedule, own = CASES[name]
    return schedule, settings(**(MOMENTUM | OUTER | {"steps": STEPS, "perturb": 0.1} | own | changes))


def rising(step):
    """Factors of the learning rate that begin at zero again and again, also where an outer step is."""
    return (step % 6) / 6


@pytest.mark.parametrize("name", CASES)
def test_outer_steps_are_their_equations(name):
    schedule, config = config_of(name)
    trainer = make(schedule, config, scheduler=lambda o: optim.lr_scheduler.LambdaLR(o, rising))
    start = start_of(trainer)
    trainer.run()
    found = final_parameters(trainer)
    assert np.abs(found - start).max() > 0.1
    assert np.abs(found - found.mean(axis=0)).max() > 1e-3
    assert np.abs(found - run_by_hand(trainer, start, config.lr * rising(np.arange(STEPS)))).max() < 1e-10


@pytest.mark.dist
@pytest.mark.parametrize("size", [4, 2], ids=["distributed", "hybrid"])
def test_every_mode_is_the_equations(size):
    runs = [config_of(name) for name in CASES]
    ranks = run_ranks(train_all, size, runs, {"model": linear, "data": blobs()})
    for number, (schedule, config) in enumerate(runs):
        alone = make(schedule, config)
        expected = run_by_hand(alone, start_of(alone))
        alone.run()
        together = np.concatenate([rank[number][0] for rank in ranks])
        assert np.abs(together - expected).max() < 1e-10, list(CASES)[number]
        here, there = alone.folder.rows[-1], ranks[0][number][1][-1]
        assert here["bytes_sent_per_node"] == there["bytes_sent_per_node"]
        assert here["bytes_on_the_wire"] == 0
        if size == 4:  # every message of a node crosses the network
            assert there["bytes_on_the_wire"] == pytest.approx(4 * there["bytes_sent_per_node"], abs=4 * 5)


def test_each_group_has_its_own_learning_rate():
    def two_groups(model):
        return optim.SGD([{"params": [model.weight]}, {"params": [model.bias], "lr": 0.03}], lr=0.1, momentum=0.5)

    schedule, config = config_of("atc", momentum=0, weight_decay=0)
    trainer = make(schedule, config, optimizer=two_groups)
    start = start_of(trainer)
    eta = np.full(start.shape[1], 0.1)
    eta[-CLASSES:] = 0.03
    trainer.run()
    # The trainer's own optimizer took the place of the one in the configuration.
    trainer.config = replace(config, momentum=0.5)
    assert np.abs(final_parameters(trainer) - run_by_hand(trainer, start, [eta] * STEPS)).max() < 1e-10


OPTIMIZERS = {
    "sgd": lambda model: optim.SGD(model.parameters(), lr=0.05, momentum=0.5, weight_decay=0.01),
    "adam": lambda model: optim.Adam(model.parameters(), lr=0.05),
    "lbfgs": lambda model: optim.LBFGS(model.parameters(), lr=0.05, max_iter=2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_without_outer_momentum_it_is_local_descent_with_exact_averages(name):
    # A round of gossip changes nothing just before an exact average.
    usual = settings(steps=STEPS, local_steps=5)
    outer = make(RING, replace(usual, outer_every=5, outer_momentum=0.0), optimizer=OPTIMIZERS[name])
    exact = make(design("complete", 4, weights="uniform"), usual, optimizer=OPTIMIZERS[name])
    start = start_of(outer)
    outer.run()
    exact.run()
    assert np.abs(final_parameters(outer) - start).max() > 0.01
    assert np.abs(final_parameters(outer) - final_parameters(exact)).max() < 1e-12


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_an_outer_step_leaves_all_nodes_alike_to_the_bit(dtype):
    trainer = make(RING, settings(**MOMENTUM, **OUTER, steps=24, outer_every=6, dtype=dtype, perturb=0.1))
    trainer.run()
    found = final_parameters(trainer)
    assert np.isfinite(found).all()
    assert (found == found[0]).all()


def test_after_every_step_it_is_allreduce():
    usual = settings(**MOMENTUM, steps=STEPS)
    outer = make(RING, replace(usual, outer_every=1, outer_momentum=0.0))
    exact = make(RING, replace(usual, algorithm="allreduce"))
    outer.run()
    exact.run()
    assert np.abs(final_parameters(outer) - final_parameters(exact)).max() < 1e-12


def test_without_gradients_the_nodes_meet_at_the_mean_of_their_starts():
    schedule, config = config_of("push-sum", lr=0.0, perturb=1.0)
    trainer = make(schedule, config)
    mean, step, drifts = start_of(trainer).mean(axis=0), trainer.algorithm.step, []

    def watched(nodes, number):
        step(nodes, number)
        share = trainer.algorithm.averages(nodes)[""].numpy()
        assert share.sum() == pytest.approx(1, abs=1e-14)
        drifts.append(np.abs(share @ final_parameters(trainer) - mean).max())

    trainer.algorithm.step = watched
    trainer.run()
    assert len(drifts) == STEPS
    assert max(drifts) < 1e-13
    assert np.abs(final_parameters(trainer) - mean).max() < 1e-13


@pytest.mark.slow
def test_stays_where_it_belongs_for_thousands_of_steps():
    data = blobs(samples=40)
    config = settings(steps=3000, lr=0.02, momentum=0.8, weight_decay=0.1, batch_size=8, partition="sorted")
    config = replace(config, outer_every=10, outer_lr=0.7, gradients="vmap", eval_every=1500)
    trainer = make(RING, config, data=data)
    problem = Softmax(data)

    def slope():
        x = final_parameters(trainer).mean(axis=0)
        return np.linalg.norm(problem.gradient(x, np.arange(32)) + config.weight_decay * x)

    at_first, metrics = slope(), trainer.run().metrics
    assert slope() < 0.01 * at_first
    assert metrics[1]["loss"] == pytest.approx(metrics[2]["loss"], rel=1e-6)
    assert metrics[2]["consensus_distance"] < 1e-13  # the last step is an outer one


def test_what_it_sends_is_counted():
    trainer = make(design("one-peer-exponential", 6), settings(steps=20, outer_every=7))
    # 20 rounds of one message; the mean of the starts and two outer steps.
    size = trainer.nodes.stacks.bytes_per_node
    assert trainer.run().final["bytes_sent_per_node"] == round((20 + 3 * 2 * 5 / 6) * size)


@pytest.mark.parametrize("name", ["atc, 3 local steps", "awc, 2 local steps", "push-sum"])
def test_interrupted_runs_end_where_uninterrupted_ones_do(tmp_path, name):
    schedule, config = config_of(name, lr_schedule="cosine", checkpoint_every=10)

    straight, broken = (make(schedule, replace(config, out=tmp_path / part)) for part in ("straight", "broken"))
    straight.run()
    break_off(broken, 33)
    again = make(schedule, broken.config)
    assert again.progress.step == 30
    again.run()
    assert final_parameters(again).tobytes() == final_parameters(straight).tobytes()


def test_outer_steps_within_a_round_are_refused():
    words = "--outer-every must be a multiple of --local-steps 4, got 6"
    for order in ("atc", "awc", "cta"):
        with pytest.raises(InputError, match=words):
            make(RING, settings(order=order, local_steps=4, outer_every=6))


def test_what_the_algorithm_inside_refuses_is_refused():
    with pytest.raises(InputError, match="D-SGD needs doubly stochastic mixing"):
        make(directed(), settings(algorithm="dsgd", outer_every=5))


def test_other_algorithms_have_no_outer_steps():
    with pytest.raises(InputError, match="--outer-every belongs to dsgd and push-sum"):
        make(RING, settings(algorithm="exact-diffusion", outer_every=5))
