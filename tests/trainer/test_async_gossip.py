"""Asynchronous gossip with a simulated clock against plain NumPy, one event after the other, and exact decay rates."""

import numpy as np
import pytest
import torch
from event_by_event import run_by_hand
from lifted import Lifted
from problems import blobs, linear, settings
from workers import final_parameters

from topokit.designer import design
from topokit.kinds import Pairwise
from topokit.schedule import Schedule
from topokit_trainer import Trainer
from topokit_trainer.asynchronous.dynamics import dynamics_of

NODES, UNITS = 8, 30
VARIANTS = {
    "gossip": {"algorithm": "async-gossip"},
    "acid": {"algorithm": "async-gossip", "acid": True},
    "ad-psgd": {"algorithm": "ad-psgd"},
}


def made(graph="ring", seed=5, rate=1.0, nodes=NODES, **changes):
    config = settings(**({"steps": UNITS, "lr": 0.1, "perturb": 0.1} | changes))
    return Trainer(design("pairwise", nodes, graph=graph, seed=seed, rate=rate), config, model=linear, data=blobs())


def second_copies(trainer):
    lead = torch.cat(trainer.nodes.states["lead"].tensors, dim=1).numpy()
    return final_parameters(trainer) + trainer.algorithm.scale[:, None] * lead


def by_hand(trainer, start):
    dynamics = trainer.algorithm.dynamics
    late = trainer.config.algorithm == "ad-psgd"
    return run_by_hand(trainer, start, dynamics.eta, dynamics.alpha_tilde, late)


OPTIONS = {
    "plain": {},
    "momentum": {"momentum": 0.9, "weight_decay": 0.01, "speeds": "1,2:0.2,5:3", "lr_schedule": "cosine"},
    "nesterov": {"momentum": 0.5, "nesterov": True, "clip": 0.2, "gradients": "vmap"},
}


@pytest.mark.parametrize(
    ("graph", "options"), [("ring", "plain"), ("ring", "momentum"), ("ring", "nesterov"), ("star", "momentum")]
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_events_one_after_the_other_come_to_the_same(graph, variant, options):
    trainer = made(graph, **VARIANTS[variant], **OPTIONS[options])
    start = final_parameters(trainer).copy()
    final = trainer.run().final
    x, tilde = by_hand(trainer, start)
    found = final_parameters(trainer)
    assert np.abs(found - start).max() > 0.1
    assert np.abs(found - found.mean(axis=0)).max() > 1e-3
    assert np.abs(found - x).max() < 1e-10
    if variant == "acid":
        assert np.abs(second_copies(trainer) - tilde).max() < 1e-10
        assert np.abs(tilde - x).max() > 1e-3
    events = [trainer.algorithm.clocks.events(t) for t in range(UNITS)]
    averagings = sum(e.averagings for e in events)
    gradients = sum(len(e.times) for e in events) - averagings
    assert final["gradients"] == gradients / NODES
    assert final["averagings_per_gradient"] == 2 * averagings / gradients
    assert final["round"] == averagings
    assert final["epoch"] == pytest.approx(UNITS * trainer.algorithm.clocks.speeds.mean() / 4)  # batches of an epoch
    size = trainer.nodes.stacks.bytes_per_node
    assert final["bytes_sent_per_node"] == round(2 * averagings * size / NODES)
    if variant == "ad-psgd":
        assert averagings == gradients


def test_an_optimizer_of_each_node_counts_its_own_steps():
    """Adam without averagings: every node is where its own Adam takes it, after as many steps as it took."""
    config = settings(algorithm="async-gossip", steps=12, optimizer="adam", lr=0.05, speeds="1,0:0.2,3:2", perturb=0.1)
    schedule = Schedule.of(Pairwise(4, [(0, 1), (1, 2), (2, 3)], [1e-9] * 3, seed=0))
    trainer = Trainer(schedule, config, model=linear, data=blobs())
    start = torch.from_numpy(final_parameters(trainer).copy())
    trainer.run()
    x, y = trainer.nodes.batches.dataset.tensors
    steps = trainer.algorithm.tally[:, 0].tolist()
    assert len(set(steps)) > 2
    for node, taken in enumerate(steps):
        model = linear().double()
        torch.nn.utils.vector_to_parameters(start[node].clone(), model.parameters())
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        for number in range(taken):
            batch = torch.from_numpy(trainer.nodes.batches.samples(node, number))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
        alone = torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy()
        assert np.abs(final_parameters(trainer)[node] - alone).max() < 1e-10


# Gossip alone


def drifts(trainer, units):
    """How far the sum of x + x~ and that of x alone move from where they start, at most."""
    noise = torch.Generator().manual_seed(3)
    for stack in trainer.nodes.states["lead"].tensors:
        stack.add_(torch.randn(stack.shape, generator=noise, dtype=stack.dtype))
    both = (final_parameters(trainer) + second_copies(trainer)).sum(axis=0)
    alone = final_parameters(trainer).sum(axis=0)
    drift = [0.0, 0.0]
    for unit in range(units):
        trainer.algorithm.step(trainer.nodes, unit)
        drift[0] = max(drift[0], np.abs((final_parameters(trainer) + second_copies(trainer)).sum(0) - both).max())
        drift[1] = max(drift[1], np.abs(final_parameters(trainer).sum(axis=0) - alone).max())
    return drift


def test_the_sum_of_both_copies_is_kept_to_the_last_digits():
    trainer = made(lr=0.0, perturb=1.0, acid=True, algorithm="async-gossip", nodes=16, batch_size=2)
    both, alone = drifts(trainer, 150)
    assert trainer.algorithm.tally.sum() > 3000
    assert both < 1e-13
    assert alone > 0.01  # x alone is not kept


def test_to_mix_after_showing_would_move_the_mean(monkeypatch):
    """The same measure finds the mistake: partners that see each other as of before they mixed."""
    trainer = made(lr=0.0, perturb=1.0, acid=True, algorithm="async-gossip", nodes=16, batch_size=2)
    algorithm, mix = trainer.algorithm, trainer.algorithm._mix
    shown = {}

    def late(rows, times):
        for row in rows:
            shown[row] = [values.clone() for values in algorithm.x[row]]
        mix(rows, times)

    def careless(row, seen, other=None):
        for one, theirs in ((row, shown[other]), (other, shown[row])):
            type(algorithm)._move(algorithm, one, theirs)

    monkeypatch.setattr(algorithm, "_mix", late)
    monkeypatch.setattr(algorithm, "_move", careless)
    assert drifts(trainer, 50)[0] > 1e-3


def repository_exponential(nodes=8):
    """The authors' exponential graph, which lists the opposite node twice."""
    edges = [(i, (i + hop) % nodes) for hop in (1, 2) for i in range(nodes)] + [(i, i + 4) for i in range(4)]
    return Schedule.of(Pairwise(nodes, edges, ["1/6"] * 16 + ["1/3"] * 4, seed=1))


RATES = {  # of the second moments, without and with acceleration
    "ring-8": (design("pairwise", 8, seed=1), 0.268056, 0.359864),
    "ring-12": (design("pairwise", 12, seed=1), 0.130683, 0.255261),
    "path-8": (design("pairwise", 8, graph="path", seed=1), 0.076756, 0.194081),
    "complete-8": (design("pairwise", 8, graph="complete", seed=1), 0.571429, 0.571429),
    "exponential-8": (repository_exponential(), 0.505367, 0.517775),
}


@pytest.mark.parametrize(
    ("name", "repeats", "within"),
    [
        ("ring-8", 300, 0.2),
        ("path-8", 300, 0.2),
        *(pytest.param(name, 4000, 0.06, marks=pytest.mark.slow) for name in RATES),
    ],
)
@pytest.mark.parametrize("acid", [False, True])
def test_gossip_alone_decays_as_fast_as_the_lifted_operator_says(name, acid, repeats, within):
    """From the slowest start, whose second moments decay at one rate from the first moment on: four standard errors."""
    schedule, *known = RATES[name]
    dynamics = dynamics_of(schedule, acid)
    exact = Lifted(
        schedule.nodes,
        schedule.rule.edges,
        schedule.rule.rates,
        dynamics.eta,
        dynamics.alpha,
        dynamics.alpha_tilde,
    )
    assert round(exact.rate, 6) == known[acid]
    config = settings(algorithm="async-gossip", acid=acid, steps=1, lr=0.0, speeds="1e-12", batch_size=2)
    width = exact.slowest.shape[1]
    trainer = Trainer(schedule, config, model=lambda: torch.nn.Linear(5, 5), data=blobs())
    units = max(1, round(1 / exact.rate))
    left = []
    for repeat in range(repeats):
        x, tilde = np.split(exact.slowest, 2) if acid else (exact.slowest, exact.slowest)
        trainer.nodes.parameters[0].zero_()[:, :width] = torch.from_numpy(x)
        if acid:
            trainer.algorithm.scale[:] = 1.0
            trainer.nodes.states["lead"].tensors[0].zero_()[:, :width] = torch.from_numpy(tilde - x)
        for unit in range(units):
            trainer.algorithm.step(trainer.nodes, repeat * units + unit)
        left.append(
            np.square(final_parameters(trainer)).sum() + (np.square(second_copies(trainer)).sum() if acid else 0)
        )
    assert trainer.algorithm.tally[:, 0].sum() == 0
    mean, error = np.mean(left), np.std(left) / np.sqrt(repeats)
    measured, tolerance = -np.log(mean) / units, 4 * error / mean / units
    assert tolerance < within * exact.rate
    assert abs(measured - exact.rate) < tolerance
    if name in ("ring-12", "path-8"):
        other = known[not acid]
        assert abs(measured - other) > 2 * tolerance  # the tolerance tells them apart
