"""Asynchronous gossip with a simulated clock: on several ranks, interrupted, and what it refuses and tells."""

import re

import numpy as np
import pytest
import torch
from breaking import break_off
from event_by_event import two_groups
from problems import blobs, linear, settings
from ranks import run_ranks
from workers import final_parameters, train_all

from topokit.designer import design
from topokit.errors import InputError
from topokit_trainer import Trainer

NODES = 8
VARIANTS = {
    "gossip": {"algorithm": "async-gossip"},
    "acid": {"algorithm": "async-gossip", "acid": True, "gradients": "vmap"},
    "ad-psgd": {"algorithm": "ad-psgd", "clip": 0.5},
}


def config_of(variant, **changes):
    usual = {"steps": 20, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "perturb": 0.5, "eval_every": 5}
    return settings(**(usual | {"speeds": "1,3:0.3,6:2", "clock": "simulated"} | VARIANTS[variant] | changes))


def made(config, graph="ring", **parts):
    return Trainer(design("pairwise", NODES, graph=graph, rate=2, seed=4), config, model=linear, data=blobs(), **parts)


def figures(metrics, wire=False):
    own = {"seconds"} if wire else {"seconds", "bytes_on_the_wire"}
    return [{name: value for name, value in row.items() if name not in own} for row in metrics]


@pytest.mark.dist
@pytest.mark.parametrize("size", [2, 4])
def test_nodes_on_several_ranks_take_the_same_way(size):
    graphs = {"gossip": "ring", "acid": "complete", "ad-psgd": "ring"}
    schedules = {graph: design("pairwise", NODES, graph=graph, rate=2, seed=4) for graph in graphs.values()}
    runs = [(schedules[graphs[variant]], config_of(variant, steps=10)) for variant in VARIANTS]
    ranks = run_ranks(train_all, size, runs, {"model": linear, "data": blobs()})
    for number, (schedule, config) in enumerate(runs):
        trainer = Trainer(schedule, config, model=linear, data=blobs())
        alone = trainer.run().metrics
        rows = np.concatenate([rank[number][0] for rank in ranks])
        assert np.abs(rows - final_parameters(trainer)).max() < 1e-10
        for mine, theirs in zip(figures(alone), figures(ranks[0][number][1]), strict=True):
            assert mine == pytest.approx(theirs, abs=1e-9)
        crossing = 0
        for t in range(config.steps):
            events = trainer.algorithm.clocks.events(t)
            ends = (np.stack((events.node, events.partner)) // (NODES // size))[:, events.partner >= 0]
            crossing += 2 * int(np.count_nonzero(ends[0] != ends[1]))
        final = ranks[0][number][1][-1]
        assert final["bytes_on_the_wire"] == crossing * trainer.nodes.stacks.bytes_per_node
        assert crossing > 20


@pytest.mark.dist
def test_parameters_in_several_stacks_travel_together():
    config = config_of("acid", steps=8, perturb=0.0)
    schedule = design("pairwise", NODES, rate=2, seed=4)
    parts = {"model": linear, "data": blobs(), "optimizer": two_groups}
    ranks = run_ranks(train_all, 2, [(schedule, config)], parts)
    rows = np.concatenate([rank[0][0] for rank in ranks])
    for optimizer in (two_groups, None):  # in two stacks, or in one
        trainer = made(config, optimizer=optimizer)
        trainer.run()
        assert len(trainer.nodes.parameters) == (1 if optimizer is None else 2)
        assert np.abs(rows - final_parameters(trainer)).max() < 1e-10


OPTIMIZERS = {
    "sgd": {},
    "adam": {"optimizer": "adam", "momentum": 0.0, "lr": 0.01},
    "cosine": {"lr_schedule": "cosine", "gradients": "loop"},
}


@pytest.mark.parametrize("options", OPTIMIZERS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_that_breaks_off_goes_on_to_the_same_bits(tmp_path, variant, options):
    changes = OPTIMIZERS[options]
    whole = made(config_of(variant, checkpoint_every=4, out=tmp_path / "whole", **changes))
    expected = whole.run().metrics
    config = config_of(variant, checkpoint_every=4, out=tmp_path / "broken", **changes)
    break_off(made(config), 11)
    again = made(config)
    assert again.progress.step == 8
    found = again.run().metrics
    assert np.array_equal(final_parameters(again), final_parameters(whole))
    assert figures(found, wire=True) == figures(expected, wire=True)
    for name, state in whole.nodes.states.items():
        assert all(map(torch.equal, state.tensors, again.nodes.states[name].tensors)), name


@pytest.mark.dist
def test_a_run_goes_on_with_another_number_of_ranks(tmp_path):
    config = config_of("acid", checkpoint_every=4, out=tmp_path)
    schedule = design("pairwise", NODES, graph="ring", rate=2, seed=4)
    run_ranks(train_all, 2, [(schedule, config)], {"model": linear, "data": blobs()}, 11)
    again = made(config)
    assert again.progress.step == 8
    found = again.run().metrics
    whole = made(config_of("acid"))
    expected = whole.run().metrics
    assert np.abs(final_parameters(again) - final_parameters(whole)).max() < 1e-10
    for mine, theirs in zip(figures(expected), figures(found), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-9)


# What is refused, and what is told


@pytest.mark.parametrize(("algorithm", "name"), [("async-gossip", "asynchronous gossip"), ("ad-psgd", "AD-PSGD")])
def test_rounds_are_refused(algorithm, name):
    words = f"{name} runs pairwise schedules; ring-8 is a cyclic schedule (design one with --topology pairwise)"
    with pytest.raises(InputError, match=f"^{re.escape(words)}$"):
        Trainer(design("ring", NODES), settings(algorithm=algorithm), model=linear, data=blobs())


def test_what_cannot_be_is_refused_in_a_sentence():
    with pytest.raises(InputError, match="--speeds names node 8, but the schedule has nodes 0 to 7"):
        made(config_of("gossip", speeds="1,8:2"))
    with pytest.raises(InputError, match=r"--clock real needs one process for each node \(--processes 8\); one"):
        made(config_of("gossip", clock="real"))
    with pytest.raises(InputError, match=r"it needs a closure\); take another optimizer"):
        made(config_of("gossip"), optimizer=lambda model: torch.optim.LBFGS(model.parameters()))


def test_constants_are_told():
    said = []
    made(config_of("acid"), report=said.append)
    assert "note: A2CiD2: eta 0.578563, alpha~ 0.987669, from chi_1 1.70711 and chi_2 0.4375" in said
    said.clear()
    made(config_of("gossip"), report=said.append)
    assert "note: no acceleration: eta 0, alpha~ 0.5; chi_1 is 1.70711 and chi_2 0.4375" in said
    said.clear()
    made(config_of("acid"), graph="complete", report=said.append)
    assert "note: chi_1 and chi_2 are equal here: A2CiD2 has nothing to gain on this graph" in said


def test_a_pairwise_schedule_asks_for_asynchronous_gossip_and_learns():
    trainer = made(settings(steps=60, lr=0.1))
    assert trainer.config.algorithm == "async-gossip"
    metrics = trainer.run().metrics
    assert metrics[-1]["accuracy"] > metrics[0]["accuracy"] + 0.1
    assert metrics[-1]["loss"] < 0.9 * metrics[0]["loss"]
    assert metrics[0]["averagings_per_gradient"] is None
    assert abs(metrics[-1]["averagings_per_gradient"] - 2) < 0.5
    assert metrics[-1]["train_loss"] < metrics[0]["loss"]


def buffered():
    """A model whose forward pass changes buffers."""
    return torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU(), torch.nn.Linear(4, 3))


def test_changing_buffers_follow_the_gradients_of_their_own_node():
    config = config_of("gossip", speeds="1,0:1e-9", perturb=0.0)
    trainer = Trainer(design("pairwise", NODES, seed=4), config, model=buffered, data=blobs())
    trainer.run()
    counts = trainer.nodes.stacks.buffers["1.num_batches_tracked"]
    assert counts.tolist() == trainer.algorithm.tally[:, 0].tolist()
    assert counts[0] == 0 < counts[1:].min()
