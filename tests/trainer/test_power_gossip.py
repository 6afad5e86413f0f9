"""PowerGossip against its equations, link by link in NumPy; between ranks; on from checkpoints; what it conserves."""

import numpy as np
import pytest
import torch
from breaking import break_off
from exchange_workers import train_on
from power_gossip import (
    SCHEDULES,
    STEPS,
    ByHand,
    Links,
    blocks_of,
    by_hand,
    config_of,
    network,
    parts_of,
    trainer_of,
    watch,
)
from problems import CLASSES, blobs, image_blobs, linear
from ranks import run_ranks
from torch import nn
from workers import final_parameters, train_all

from topokit.designer import design, design_matrix
from topokit.errors import InputError
from topokit.kinds import Drawn
from topokit.schedule import Schedule

CASES = [
    ("ring", 1, 1, 1),
    ("hypercube", 2, 1, 2),
    ("matchings", 1, 2, 1),
    ("matchings", 2, 1, 1),
    ("star", 1, 1, 5),
    ("sampled", 1, 1, 1),
    ("sampled", 4, 1, 1),  # the second layer travels whole
]
# Power iteration on differences whose largest singular values gossip keeps equal is chaotic: what is a rounding error
# in the beginning can be a part in a thousand after a hundred half steps. These cases are followed step by step.
CHAOTIC = [("ring", 2, 2, 1), ("hypercube", 1, 3, 1), ("star", 2, 3, 1), ("sampled", 2, 2, 1)]


@pytest.mark.parametrize(("name", "rank", "iterations", "local_steps"), CASES)
def test_it_is_its_equations(name, rank, iterations, local_steps):
    schedule, config = SCHEDULES[name], config_of(rank, iterations, local_steps=local_steps)
    trainer = trainer_of(schedule, config)
    start = final_parameters(trainer).copy()
    final = trainer.run().final
    found, (expected, links) = final_parameters(trainer), by_hand(schedule, config)
    assert np.abs(found - start).max() > 0.1
    assert np.abs(found - found.mean(axis=0)).max() > 1e-4
    assert np.abs(found - expected).max() < 1e-10
    assert final["round"] == STEPS // local_steps
    n = schedule.nodes
    assert final["bytes_sent_per_node"] == final["bytes_packed_per_node"] == round(8 * links.numbers_sent / n)
    assert final["messages_per_node"] == links.messages / n
    assert final["silent_per_node"] == 0


@pytest.mark.parametrize(("name", "rank", "iterations", "local_steps"), CHAOTIC)
def test_every_step_is_its_equations(name, rank, iterations, local_steps):
    schedule, config = SCHEDULES[name], config_of(rank, iterations, local_steps=local_steps)
    trainer, run = trainer_of(schedule, config), ByHand(schedule, config)
    start = run.rows

    def look(number, after):
        if not after:
            run.rows = final_parameters(trainer)
            run.links.blocks.update(blocks_of(trainer, run.links)[0][0])
            return
        run.step(number)
        assert np.abs(final_parameters(trainer) - run.rows).max() < 1e-12
        blocks, turns = blocks_of(trainer, run.links)
        assert turns == [run.links.turns] * 2
        for key, expected in run.links.blocks.items():
            for found, there, by_number in zip(blocks[0][key], blocks[1][key], expected, strict=True):
                assert np.array_equal(found, there)  # at both ends, to the last bit
                assert np.abs(found - by_number).max() < 1e-9

    watch(trainer, look)
    final = trainer.run().final
    assert np.abs(run.rows - start).max() > 0.1
    assert final["bytes_sent_per_node"] == round(8 * run.links.numbers_sent / schedule.nodes)
    assert final["messages_per_node"] == run.links.messages / schedule.nodes


RUNS = {
    4: [("star", 1, 2), ("sampled", 2, 1)],
    2: [("hypercube", 2, 1), ("matchings", 1, 2), ("sampled", 1, 1)],
}


@pytest.mark.dist
@pytest.mark.parametrize("size", [4, 2], ids=["distributed", "hybrid"])
def test_ranks_follow_its_equations_and_do_the_same_bit_for_bit(size):
    runs = [(SCHEDULES[name], config_of(*numbers, steps=30)) for name, *numbers in RUNS[size]]
    ranks = run_ranks(train_all, size, runs, {"model": network, "data": blobs()}, timeout=100)
    for number, (schedule, config) in enumerate(runs):
        together = np.concatenate([rank[number][0] for rank in ranks])
        trainer = trainer_of(schedule, config)
        alone, there = trainer.run().final, ranks[0][number][1][-1]
        assert np.abs(together - by_hand(schedule, config)[0]).max() < 1e-10
        assert np.array_equal(together, final_parameters(trainer))
        for figure in ("bytes_sent_per_node", "bytes_packed_per_node", "messages_per_node"):
            assert there[figure] == alone[figure]
        assert there["contraction"] == pytest.approx(alone["contraction"], rel=1e-9)
        if size == schedule.nodes:  # every message of a node crosses ranks
            assert there["bytes_on_the_wire"] == trainer.nodes.counts.bytes


@pytest.mark.dist
@pytest.mark.parametrize(("first", "second"), [(1, 1), (4, 2), pytest.param(2, 1, marks=pytest.mark.slow)])
def test_a_run_goes_on_bit_for_bit_also_on_other_ranks(tmp_path, first, second):
    parts = {"model": network, "data": blobs()}
    for name in ("sampled", "star") if first == 1 else ("sampled",):
        straight = trainer_of(SCHEDULES[name], config_of(2, 1, steps=20))
        straight.run()
        config = config_of(2, 1, steps=20, checkpoint_every=7, out=tmp_path / name)
        if first == 1:
            break_off(trainer_of(SCHEDULES[name], config), 16)
        else:
            run_ranks(train_on, first, SCHEDULES[name], config, parts, 16)
        if second == 1:
            trainer = trainer_of(SCHEDULES[name], config)
            assert trainer.progress.step == 14
            trainer.run()
            found = final_parameters(trainer)
            assert trainer.nodes.counts == straight.nodes.counts
            for kept in ("right", "left", "half steps"):
                for here, there in zip(
                    trainer.nodes.states[kept].tensors, straight.nodes.states[kept].tensors, strict=True
                ):
                    assert torch.equal(here, there)
        else:
            found = np.concatenate([r[0] for r in run_ranks(train_on, second, SCHEDULES[name], config, parts)])
        assert np.array_equal(found, final_parameters(straight))


@pytest.mark.parametrize("iterations", [1, 2])
def test_where_the_rank_is_full_it_is_dsgd(iterations):
    found = []
    for changes in ({"rank": CLASSES, "iterations": iterations}, {"algorithm": "dsgd"}):
        trainer = trainer_of(SCHEDULES["ring"], config_of(**changes), model=linear)
        trainer.run()
        found.append(final_parameters(trainer))
    assert np.abs(found[0] - found[1]).max() <= 1e-12 * np.abs(found[1]).max()


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_round_keeps_the_mean_and_moves_no_nodes_apart(name):
    trainer = trainer_of(SCHEDULES[name], config_of(2, 1, lr=0.0, momentum=0.0, perturb=1.0))
    mean, apart = final_parameters(trainer).mean(axis=0), []

    def look(number, after):
        X = final_parameters(trainer)
        assert np.abs(X.mean(axis=0) - mean).max() < 1e-14 * (number + 10)
        apart.append(np.linalg.norm(X - mean))

    watch(trainer, look)
    trainer.run()
    assert np.all(np.diff(apart) <= 1e-12 * apart[0])
    assert apart[-1] < 0.05 * apart[0]


def test_gossip_alone_comes_to_consensus_at_rank_one():
    """Slower than whole models by about the number of directions there are: five, and three."""
    apart = {}
    for algorithm in ("dsgd", "power-gossip"):
        config = config_of(algorithm=algorithm, lr=0.0, momentum=0.0, perturb=1.0, steps=150, eval_every=50)
        rows = trainer_of(SCHEDULES["ring"], config).run().metrics
        apart[algorithm] = [row["consensus_distance"] for row in rows]
    ours, theirs = apart["power-gossip"], apart["dsgd"]
    assert ours[-1] < 1e-3 * ours[0]
    rates = [np.log(distances[-1] / distances[0]) for distances in (ours, theirs)]
    assert 1 < rates[1] / rates[0] < 6


def images():
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.Flatten(), nn.Linear(6 * 36, CLASSES))


def test_filters_are_rows_of_a_matrix():
    config = config_of(lr=0.0, momentum=0.0, perturb=1.0, steps=6)
    trainer = trainer_of(SCHEDULES["ring"], config, images, data=image_blobs())
    shapes = [slot.shape for slot in trainer.nodes.stacks.slots]
    X = [parts_of(row.copy(), shapes) for row in final_parameters(trainer)]
    trainer.run()
    links = Links(shapes, 1, 1)
    for t in range(6):
        links.round(X, SCHEDULES["ring"].round(t).to_dense())
    expected = np.array([np.concatenate([part.ravel() for part in row]) for row in X])
    assert np.abs(final_parameters(trainer) - expected).max() < 1e-12
    per_link = 3 * (6 + 9) + 3 * (3 + 216) + 6 * (6 + 3)  # three half steps on each side; biases
    assert trainer.nodes.counts.bytes == 8 * 16 * per_link


def test_parameters_of_several_optimizer_groups_are_treated_alike():
    found = []
    for several in (False, True):

        def optimizer(model, several=several):
            parts = [list(layer.parameters()) for layer in (model[0], model[2])]
            groups = [{"params": part} for part in parts] if several else [{"params": parts[0] + parts[1]}]
            return torch.optim.SGD(groups, lr=0.05, momentum=0.9)

        trainer = trainer_of(SCHEDULES["hypercube"], config_of(perturb=0.0), optimizer=optimizer)
        trainer.run()
        assert len(trainer.nodes.stacks.stacks) == 1 + several
        found.append(final_parameters(trainer))
    assert np.array_equal(*found)


def test_a_run_that_diverges_goes_on():
    final = trainer_of(SCHEDULES["ring"], config_of(2, 2, lr=1e200, steps=10)).run().final
    assert final["loss"] is None


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (design("one-peer-exponential", 8), "needs symmetric mixing matrices"),
        (Schedule.of(Drawn(6, "groups", {"size": 3}, seed=4)), "take a schedule of given graphs"),
        (design("tree-push-pull", 6), "PowerGossip needs doubly stochastic mixing|keeps one state"),
        (
            design_matrix(np.array([[0.6, 0.6, -0.2], [0.6, 0.0, 0.4], [-0.2, 0.4, 0.8]])),
            "PowerGossip needs weights of at least 0 between nodes.* has -0.2",
        ),
    ],
)
def test_it_refuses(schedule, words):
    with pytest.raises(InputError, match=words):
        trainer_of(schedule, config_of())
