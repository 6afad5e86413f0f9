"""Local SGD against plain NumPy, on one rank and on several, and interrupted."""

import numpy as np
import pytest
from breaking import break_off
from problems import Softmax, blobs, linear, settings
from ranks import run_ranks
from workers import final_parameters, train_all

from topokit.designer import design
from topokit_trainer import Trainer

NODES = 4


def config_of(local_steps, **changes):
    usual = {"algorithm": "local-sgd", "steps": 14, "lr": 0.2, "momentum": 0.9, "weight_decay": 0.01}
    return settings(**(usual | {"local_steps": local_steps, "perturb": 0.1} | changes))


def made(config, name="ring", **parameters):
    return Trainer(design(name, NODES, **parameters), config, model=linear, data=blobs())


def run_by_hand(trainer, start):
    config, problem = trainer.config, Softmax(blobs())
    X, velocity = start.copy(), np.zeros_like(start)
    for step in range(config.steps):
        for i, batch in enumerate(trainer.nodes.batches.indices(step)):
            slope = problem.gradient(X[i], batch) + config.weight_decay * X[i]
            velocity[i] = config.momentum * velocity[i] + slope
            X[i] -= config.lr * velocity[i]
        if (step + 1) % config.local_steps == 0:
            X[:] = X.mean(axis=0)
    return X


@pytest.mark.parametrize("local_steps", [1, 4, 20])
def test_local_sgd_is_its_equations(local_steps):
    trainer = made(config_of(local_steps))
    start = final_parameters(trainer).copy()
    final = trainer.run().final
    found, means = final_parameters(trainer), 14 // local_steps
    assert np.abs(found - run_by_hand(trainer, start)).max() < 1e-10
    assert (final["consensus_distance"] < 1e-12) is (local_steps == 1)
    assert (final["round"], final["contraction"]) == (means, None)
    expected = means * 2 * (NODES - 1) / NODES * trainer.nodes.stacks.bytes_per_node
    assert final["bytes_sent_per_node"] == round(expected)


def test_all_nodes_hold_the_same_bits_after_a_mean():
    trainer = made(config_of(7))
    trainer.run()
    assert (final_parameters(trainer) == final_parameters(trainer)[0]).all()


@pytest.mark.parametrize("name", ["pairwise", "ceca-2p", "tree-push-pull"])
def test_the_schedule_gives_the_number_of_nodes_alone(name):
    trainer, other = made(config_of(4), name), made(config_of(4))
    trainer.run()
    other.run()
    assert np.array_equal(final_parameters(trainer), final_parameters(other))


@pytest.mark.dist
def test_nodes_on_several_ranks_take_the_same_way():
    runs = [(design("ring", NODES), config_of(local_steps)) for local_steps in (1, 4)]
    ranks = run_ranks(train_all, 2, runs, {"model": linear, "data": blobs()})
    for number, (_, config) in enumerate(runs):
        trainer = made(config)
        final = trainer.run().final
        rows = np.concatenate([rank[number][0] for rank in ranks])
        assert np.abs(rows - final_parameters(trainer)).max() < 1e-10
        theirs = ranks[0][number][1][-1]
        assert theirs["bytes_sent_per_node"] == final["bytes_sent_per_node"]
        assert theirs["bytes_on_the_wire"] > 0


def test_a_run_that_breaks_off_goes_on_to_the_same_bits(tmp_path):
    whole = made(config_of(4))
    whole.run()
    config = config_of(4, checkpoint_every=3, out=tmp_path)
    break_off(made(config), 11)
    again = made(config)
    assert again.progress.step == 9  # within the local steps
    again.run()
    assert np.array_equal(final_parameters(again), final_parameters(whole))
