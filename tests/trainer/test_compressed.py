"""CHOCO-SGD, SPARQ-SGD and SQuARM-SGD against their equations, as they stand in the papers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from breaking import break_off
from compressed import config_of, numbering, trainer_of
from compressed_cases import CASES, RING, SCHEDULES, by_hand, by_name, check_counts, message_size
from torch.optim import SGD, AdamW
from workers import final_parameters

from topokit.designer import design, design_matrix
from topokit.errors import InputError
from topokit.kinds import Drawn, Pairwise, Teleport
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule


@pytest.mark.parametrize("name", CASES)
def test_it_is_its_equations(name):
    place, config = CASES[name]
    schedule = SCHEDULES[place]
    trainer = trainer_of(schedule, config)
    start = final_parameters(trainer).copy()
    final = trainer.run().final
    found, run = final_parameters(trainer), by_name(name)
    assert np.abs(found - start).max() > 0.1
    assert np.abs(found - found.mean(axis=0)).max() > 1e-3
    assert np.abs(found - run.X).max() < 1e-10
    replicas, channel = trainer.algorithm.replicas, numbering(schedule)
    rows = {replicas.plans.node_of(row): row for row in range(replicas.plans.rows)}
    for i, j in run.met:
        known = torch.cat([tensor[rows[j, channel(i, j)]] for tensor in replicas.own]).numpy()
        assert np.abs(known - run.hats[j, i]).max() < 1e-10
    check_counts(run, config, final, message_size(trainer), schedule.nodes)
    assert final["consensus_step"] == run.gamma
    assert final["round"] == 50 // config.local_steps
    if config.trigger == "none":
        assert run.silent == 0
    else:  # in some rounds some are silent and some are not
        most = max(run.spoke)
        assert run.messages > 10
        assert run.silent > 10
        assert sum(0 < several < most for several in run.spoke) >= 3


@pytest.mark.parametrize("lr_schedule", ["cosine", "step"])
def test_thresholds_are_of_the_learning_rate_of_the_step(lr_schedule):
    config = config_of(
        "squarm-sgd",
        compressor="top-k:0.3+sign",
        trigger="constant:600",
        lr_schedule=lr_schedule,
        steps=24,
        local_steps=2,
    )
    trainer = trainer_of(RING, config)
    trainer.run()

    def eta(t):
        if lr_schedule == "cosine":
            return 0.05 * (1 + np.cos(np.pi * t / 24)) / 2
        return 0.05 * 0.1 ** ((t >= 12) + (t >= 18))

    run = by_hand(RING, config, etas=eta)
    assert np.abs(final_parameters(trainer) - run.X).max() < 1e-10
    assert trainer.nodes.counts.silent == run.silent
    assert 5 < run.silent < run.messages


# What must hold whatever the compressor

EVERY = (
    "identity",
    "top-k:0.3",
    "sign",
    "top-k:0.3+sign",
    "qsgd:4",
    "rand-k:0.3",
    "low-rank:1",
    "bf16",
    "fp16",
    "top-k:0.5+qsgd:2",
)


@pytest.mark.parametrize(
    ("name", "algorithm", "momentum", "nesterov"),
    [("ring", "choco-sgd", 0.0, False), ("sampled", "choco-sgd", 0.9, False)]
    + [(name, "squarm-sgd", 0.9, True) for name in SCHEDULES],
)
def test_with_everything_said_it_is_dsgd(name, algorithm, momentum, nesterov):
    usual = {"steps": 20, "momentum": momentum, "weight_decay": 0.01}
    compressed = trainer_of(SCHEDULES[name], config_of(algorithm, compressor="identity", consensus_step="1", **usual))
    start = final_parameters(compressed).copy()
    compressed.run()
    plain = config_of("dsgd", consensus_step="tuned", nesterov=nesterov, **usual)
    exact = trainer_of(SCHEDULES[name], plain)
    exact.run()
    assert np.abs(final_parameters(compressed) - final_parameters(exact)).max() < 1e-12
    assert np.abs(final_parameters(exact) - start).max() > 0.1


def test_with_everything_said_after_local_steps_it_is_dsgd_with_local_steps():
    config = config_of("sparq-sgd", compressor="identity", consensus_step="1", local_steps=3)
    compressed = trainer_of(SCHEDULES["torus"], config)
    exact = trainer_of(SCHEDULES["torus"], config_of("dsgd", consensus_step="tuned", local_steps=3))
    compressed.run()
    exact.run()
    assert np.abs(final_parameters(compressed) - final_parameters(exact)).max() < 1e-12


@pytest.mark.parametrize("compressor", EVERY)
def test_gossip_keeps_the_mean(compressor):
    place = list(SCHEDULES)[EVERY.index(compressor) % len(SCHEDULES)]
    trainer = trainer_of(SCHEDULES[place], config_of(lr=0.0, perturb=1.0, steps=25, compressor=compressor))
    start, means = final_parameters(trainer).copy(), []
    step = trainer.algorithm.step

    def watched(nodes, number):
        step(nodes, number)
        means.append(final_parameters(trainer).mean(axis=0))

    trainer.algorithm.step = watched
    trainer.run()
    assert len(means) == 25
    assert np.abs(means - start.mean(axis=0)).max() < 1e-13 * np.abs(start).max()
    left = final_parameters(trainer) - means[-1]
    assert np.linalg.norm(left) < 0.5 * np.linalg.norm(start - start.mean(axis=0))


@pytest.mark.parametrize("name", ["choco qsgd", "sparq on matchings", "squarm step", "squarm constant"])
def test_mixing_keeps_the_mean_that_gradients_have_made(name):
    place, config = CASES[name]
    trainer = trainer_of(SCHEDULES[place], config)
    mix, errors, moved = trainer.algorithm._mix, [], []

    def watched(nodes, number, threshold):
        before = final_parameters(trainer).copy()
        mix(nodes, number, threshold)
        after = final_parameters(trainer)
        errors.append(np.abs(after.mean(axis=0) - before.mean(axis=0)).max() / np.abs(before).max())
        moved.append(np.abs(after - before).max())

    trainer.algorithm._mix = watched
    trainer.run()
    assert len(errors) == 50 // config.local_steps
    assert max(errors) < 1e-14
    assert max(moved) > 1e-3


# Triggers


def test_a_trigger_that_never_fires_sends_a_byte_a_message():
    schedule = SCHEDULES["one-peer-hypercube"]
    trainer = trainer_of(schedule, config_of("sparq-sgd", compressor="qsgd:4", trigger="constant:1e30"))
    final = trainer.run().final
    assert (final["messages_per_node"], final["silent_per_node"]) == (0, 50)
    assert (final["bytes_sent_per_node"], final["bytes_packed_per_node"]) == (50, 50)
    plain = trainer_of(schedule, config_of("choco-sgd", perturb=0)).nodes.stacks.start()[0]
    assert torch.equal(trainer.algorithm.replicas.own[0], plain.expand(8, -1))


def test_what_is_known_is_mixed_though_nobody_speaks():
    # All speak in the first ten rounds, and none later.
    config = config_of("sparq-sgd", compressor="top-k:0.3", trigger="step:0,1e12,10", lr=1e-3, perturb=1.0)
    trainer = trainer_of(RING, config)
    messages, changes = [], []
    mix, W = trainer.algorithm._mix, RING.round(0).to_dense()

    def watched(nodes, number, threshold):
        before = final_parameters(trainer).copy()
        mix(nodes, number, threshold)
        messages.append(nodes.counts.messages)
        changes.append(final_parameters(trainer) - before)

    trainer.algorithm._mix = watched
    trainer.run()
    assert messages[:12] == [8 * k for k in range(1, 11)] + [80, 80]
    hats = trainer.algorithm.replicas.own[0].numpy()
    assert np.abs(changes[10:] - 0.3 * (W @ hats - hats)).max() < 1e-12
    assert np.abs(changes[10]).max() > 1e-3


def test_who_has_not_moved_has_nothing_to_say():
    # Not above the threshold of zero.
    still = trainer_of(RING, config_of("sparq-sgd", trigger="constant:0", lr=0.0, perturb=0.0, steps=5))
    still.run()
    assert (still.nodes.counts.messages, still.nodes.counts.silent) == (0, 40)
    moving = trainer_of(RING, config_of("sparq-sgd", trigger="constant:0", steps=5))
    moving.run()
    assert (moving.nodes.counts.messages, moving.nodes.counts.silent) == (40, 0)


def test_a_model_that_has_diverged_is_not_kept_quiet():
    trainer = trainer_of(RING, config_of("sparq-sgd", trigger="constant:1", compressor="identity", steps=1))
    trainer.nodes.parameters[0][2] = torch.nan
    trainer.algorithm._mix(trainer.nodes, 0, 1e9)
    assert (trainer.nodes.counts.messages, trainer.nodes.counts.silent) == (2, 6)
    assert np.isnan(final_parameters(trainer)).any(axis=1).tolist() == [False, True, True, True]


# Going on, and what is refused


@pytest.mark.parametrize("name", ["choco low rank", "sparq step", "sparq on matchings"])
def test_an_interrupted_run_ends_where_a_straight_one_does(tmp_path, name):
    place, config = CASES[name]

    def trainer_at(folder):
        return trainer_of(SCHEDULES[place], replace(config, steps=30, checkpoint_every=10, out=folder))

    straight = trainer_at(tmp_path / "straight")
    wanted = straight.run().final
    broken = trainer_at(tmp_path / "broken")
    break_off(broken, 27)
    again = trainer_at(tmp_path / "broken")
    assert again.progress.step == 20
    found = again.run().final
    assert final_parameters(again).tobytes() == final_parameters(straight).tobytes()
    for mine, theirs in zip(again.algorithm.replicas.own, straight.algorithm.replicas.own, strict=True):
        assert torch.equal(mine, theirs)
    assert found | {"seconds": 0} == wanted | {"seconds": 0}


DIRECTED = design("one-peer-exponential", 8)
COLUMNS = Schedule.cyclic([MixingMatrix.from_matrix(np.array([[0.5, 0.25], [0.5, 0.75]]))], mixing="column-stochastic")


@pytest.mark.parametrize(
    ("schedule", "changes", "words"),
    [
        (DIRECTED, {}, "^CHOCO-SGD needs symmetric mixing matrices, and those of one-peer-exponential-8 are not$"),
        (
            design_matrix(np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.3, 0.2, 0.5]])),
            {"algorithm": "sparq-sgd"},
            "^SPARQ-SGD needs symmetric mixing matrices, and those of .* are not$",
        ),
        (Schedule.of(Drawn(6, "matching", {}, seed=4)), {}, "^CHOCO-SGD: every node keeps track of those it may hear"),
        (Schedule.of(Teleport(4, [RING.rounds], seed=0)), {}, "CHOCO-SGD runs .*; schedule-4 is a teleport schedule"),
        (
            Schedule.of(Pairwise(3, [(0, 1), (1, 2)], [1, 1], seed=0)),
            {"algorithm": "squarm-sgd"},
            "SQuARM-SGD runs .*; schedule-3 is a pairwise schedule",
        ),
        (COLUMNS, {}, "CHOCO-SGD needs doubly stochastic mixing, schedule-2 is column-stochastic"),
        (design("ceca-2p", 4), {}, "CHOCO-SGD keeps one state a node, .* asks for 2 copies"),
        (
            RING,
            {"compressor": "low-rank:2", "compress_by": "model"},
            "^--compressor low-rank works on the matrices of a model: it needs --compress-by tensor$",
        ),
        (
            SCHEDULES["one-peer-hypercube"],
            {"consensus_step": "theory"},
            "^--consensus-step theory is for one matrix in all rounds, and one-peer-hypercube-4 has several; "
            "take tuned or a number$",
        ),
        (
            SCHEDULES["matchings"],
            {"consensus_step": "theory"},
            "^--consensus-step theory is for one matrix in all rounds",
        ),
    ],
)
def test_what_cannot_be_is_refused(schedule, changes, words):
    with pytest.raises(InputError, match=words):
        trainer_of(schedule, config_of(**changes))


@pytest.mark.parametrize(
    "make", [None, lambda model: SGD(model.parameters(), lr=0.1, momentum=0.9), lambda model: AdamW(model.parameters())]
)
def test_squarm_has_nesterov_momentum_or_says_so(make):
    with pytest.raises(InputError, match=r"^squarm-sgd needs Nesterov momentum: .*; sparq-sgd takes any optimizer"):
        trainer_of(RING, config_of("squarm-sgd", momentum=0.0 if make is None else 0.9), optimizer=make)


def test_squarm_takes_an_optimizer_with_nesterov_momentum():
    runs = []
    for make, momentum in (
        (None, 0.9),
        (lambda model: SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True), 0.0),
    ):
        trainer = trainer_of(RING, config_of("squarm-sgd", momentum=momentum), optimizer=make)
        trainer.run()
        runs.append(final_parameters(trainer))
    assert np.array_equal(*runs)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"local_steps": 2}, "^--local-steps belongs to .*; choco-sgd would ignore it$"),
        ({"trigger": "constant:1"}, "^--trigger belongs to sparq-sgd and squarm-sgd; choco-sgd would ignore it$"),
        ({"consensus_step": "1.5"}, "^--consensus-step must be above 0 and at most 1, got 1.5$"),
        ({"consensus_step": "best"}, "^--consensus-step must be tuned, theory or a number; got 'best'$"),
        ({"algorithm": "sparq-sgd", "trigger": "power:1,1"}, "^--trigger: power takes an exponent below 1"),
        ({"compressor": "top-k:0"}, "^--compressor: top-k takes a fraction above 0, at most 1; got 0$"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        config_of(**changes)
