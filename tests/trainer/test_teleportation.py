"""TELEPORTATION against its equations, in every mode; hand-overs, idle ranks, and what travels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import Softmax, blobs, linear, settings
from ranks import run_ranks
from torch import nn
from workers import fail_in_round, final_parameters, idle_while_others_work, tokens_of_all, train_all

from topokit.designer import design
from topokit.errors import InputError
from topokit.kinds import Teleport
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer import Trainer, train
from topokit_trainer.relocation import block_diagonal, messages_between

STEPS = 24


def directed(k):
    """A doubly stochastic matrix that is not symmetric."""
    rng = np.random.default_rng(1)
    return MixingMatrix.from_matrix(0.4 * np.eye(k) + 0.6 * np.eye(k)[rng.permutation(k)])


SCHEDULES = {
    "k=1 of 8": design("teleportation", 8, active=[1], seed=3),
    "k=3 of 8, ring": design("teleportation", 8, active=[3], inner="ring"),
    "k=4 of 8, one-peer": design("teleportation", 8, active=[4], inner="one-peer-exponential", seed=5),
    "k=8 of 8, base-2": design("teleportation", 8, active=[8], inner="base-2", seed=1),
    "k=5 of 8, directed": Schedule.of(Teleport(8, [[directed(5)]], seed=9)),
    "teams of 1, 2 and 4": design("teleportation", 8, active=[1, 2, 4], inner="base-2", seed=2),
}
SETTINGS = {
    "plain": settings(steps=STEPS, lr=0.1),
    "momentum travels": settings(steps=STEPS, lr=0.1, momentum=0.9, weight_decay=0.01),
    "momentum is reset": settings(steps=STEPS, lr=0.1, momentum=0.9, handover="reset", local_steps=2, perturb=0.1),
    "three local steps": settings(steps=STEPS, lr=0.1, momentum=0.5, local_steps=3, lr_schedule="step", perturb=0.1),
}
CASES = [(schedule, config) for schedule in SCHEDULES.values() for config in SETTINGS.values()]
NAMES = [f"{schedule}, {config}" for schedule in SCHEDULES for config in SETTINGS]


def by_hand(trainer, start):
    """The equations, token by token; the batch of a node is the one after those it has used."""
    config, kind = trainer.config, trainer.schedule.rule
    problem = Softmax(trainer.data)
    X, velocity = start.copy(), np.zeros_like(start)
    used = np.zeros(kind.nodes, dtype=int)
    W = [np.zeros((len(X), len(X))) for _ in range(12)]  # of all teams together; 12 is a multiple of all periods
    for t, matrix in enumerate(W):
        first = 0
        for team in kind.teams:
            matrix[first : first + team.active, first : first + team.active] = team.round(t).to_dense()
            first += team.active
    for step in range(config.steps):
        t = step // config.local_steps
        holders = np.concatenate(kind.holders(t))
        first_of_round = step % config.local_steps == 0
        lr = config.lr * (1, 0.1, 0.01)[(step >= STEPS // 2) + (step >= 3 * STEPS // 4)] if (
            config.lr_schedule == "step"
        ) else config.lr  # fmt: skip
        for j, node in enumerate(holders):
            gradient = problem.gradient(X[j], trainer.nodes.batches.samples(node, used[node]))
            gradient = gradient + config.weight_decay * X[j]
            used[node] += 1
            forget = config.handover == "reset" and first_of_round
            velocity[j] = gradient + (0 if forget else config.momentum * velocity[j])
            X[j] -= lr * velocity[j]
        if (step + 1) % config.local_steps == 0:
            X = W[t % len(W)] @ X
    return X


def start_of(trainer):
    return final_parameters(trainer).copy()


@pytest.fixture(scope="module")
def virtual():
    results = []
    for schedule, config in CASES:
        trainer = Trainer(schedule, config, model=linear, data=blobs())
        start = start_of(trainer)
        metrics = trainer.run().metrics
        results.append((final_parameters(trainer), metrics, by_hand(trainer, start)))
    return results


@pytest.mark.parametrize("number", range(len(CASES)), ids=NAMES)
def test_it_is_its_equations(virtual, number):
    found, _, expected = virtual[number]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-10


@pytest.mark.dist
@pytest.mark.parametrize("size", [8, 2], ids=["distributed", "hybrid"])
def test_modes_agree(virtual, size):
    chosen = list(range(0, len(CASES), 5))  # most schedules, and every setting
    ranks = run_ranks(tokens_of_all, size, [CASES[c] for c in chosen], {"model": linear, "data": blobs()}, timeout=100)
    for number, (alone, metrics, _) in enumerate(virtual[c] for c in chosen):
        rows = {}
        for rank in ranks:
            rows |= rank[number][0]
        together = np.stack([rows[token] for token in range(len(alone))])
        assert np.abs(together - alone).max() < 1e-12, NAMES[chosen[number]]
        for here, there in zip(metrics, ranks[0][number][1], strict=True):
            assert there["bytes_sent_per_node"] == here["bytes_sent_per_node"]
            for key in ("loss", "train_loss", "consensus_distance", "node_accuracy_worst"):
                if here[key] is not None:
                    assert there[key] == pytest.approx(here[key], rel=1e-9, abs=1e-14), (NAMES[chosen[number]], key)


def test_one_of_sixty_four_is_sgd_on_a_random_walk():
    schedule = design("teleportation", 64, active=[1], seed=7)
    config = settings(steps=200, lr=0.1, batch_size=2)
    trainer = Trainer(schedule, config, model=linear, data=blobs(320))
    assert trainer.nodes.stacks.stacks[0].shape[0] == 1  # only the active node is there at all
    x = start_of(trainer)[0]
    problem, used = Softmax(trainer.data), np.zeros(64, dtype=int)
    trainer.run()
    for t in range(200):
        (node,) = schedule.rule.holders(t)[0]
        x = x - 0.1 * problem.gradient(x, trainer.nodes.batches.samples(node, used[node]))
        used[node] += 1
    assert np.count_nonzero(used) > 50
    assert np.abs(final_parameters(trainer)[0] - x).max() < 1e-12


@pytest.mark.dist
def test_one_of_sixty_four_over_ranks():
    run = (design("teleportation", 64, active=[1], seed=7), settings(steps=60, lr=0.1, batch_size=2, momentum=0.9))
    trainer = Trainer(*run, model=linear, data=blobs(320))
    trainer.run()
    ranks = run_ranks(tokens_of_all, 4, [run], {"model": linear, "data": blobs(320)})
    holding = [rank[0][0] for rank in ranks if rank[0][0]]
    assert len(holding) == 1  # one rank ends with the model, the others with none
    assert np.abs(holding[0][0] - final_parameters(trainer)[0]).max() < 1e-12


def test_complete_mixing_of_all_nodes_is_allreduce():
    schedule = design("teleportation", 6, active=[6], inner="complete")
    runs = []
    for algorithm in ("teleportation", "allreduce"):
        config = settings(steps=STEPS, algorithm=algorithm, lr=0.1, momentum=0.9)
        trainer = Trainer(schedule, config, model=linear, data=blobs())
        trainer.run()
        runs.append(final_parameters(trainer).mean(axis=0))
    # Momentum is linear, so its mean over the tokens is the momentum of the mean, whoever holds them.
    assert np.abs(runs[0] - runs[1]).max() < 1e-12


@pytest.mark.parametrize("name", SCHEDULES)
def test_hand_over_and_mixing_keep_the_mean_of_each_team(name):
    config = settings(steps=40, lr=0.0, perturb=1.0)
    trainer = Trainer(SCHEDULES[name], config, model=linear, data=blobs())
    sizes = [team.active for team in trainer.schedule.rule.teams]

    def means():
        return np.stack([part.mean(axis=0) for part in np.split(final_parameters(trainer), np.cumsum(sizes)[:-1])])

    start, step, drifts = means(), trainer.algorithm.step, []

    def watched(nodes, number):
        step(nodes, number)
        drifts.append(np.abs(means() - start).max())

    trainer.algorithm.step = watched
    trainer.run()
    assert len(drifts) == 40
    assert max(drifts) < 1e-14


@pytest.mark.slow
def test_tokens_stay_together_for_three_thousand_steps():
    schedule = design("teleportation", 16, active=[4], inner="ring")
    config = settings(
        steps=3000, gradients="vmap", lr=0.05, batch_size=8, dtype="float32", eval_every=500, partition="dirichlet"
    )
    metrics = train(schedule, config, model=linear, data=blobs(dtype=torch.float32)).metrics
    assert all(row["consensus_distance"] < 0.5 for row in metrics)
    assert metrics[-1]["loss"] < metrics[0]["loss"]


def test_messages_are_counted_node_by_node():
    schedule = SCHEDULES["k=3 of 8, ring"]
    trainer = Trainer(schedule, settings(steps=30, lr=0.1), model=linear, data=blobs())
    trainer.run()
    expected = 0
    for t in range(30):
        before, after = schedule.rule.holders(t)[0], schedule.rule.holders(t + 1)[0]
        expected += sum(before[j] != after[i] for i in range(3) for j in range(3))  # a ring of three is complete
    size = trainer.nodes.stacks.bytes_per_node
    assert trainer.nodes.bytes_per_node == pytest.approx(expected * size / 8, rel=1e-12)
    assert messages_between(schedule.rule.teams[0].round(0), np.arange(3), np.arange(3)) == 6


def test_momentum_doubles_the_hand_over_only():
    schedule = SCHEDULES["k=1 of 8"]
    sent = {}
    for momentum, handover in ((0.0, "travel"), (0.9, "travel"), (0.9, "reset")):
        config = settings(steps=30, lr=0.1, momentum=momentum, handover=handover)
        trainer = Trainer(schedule, config, model=linear, data=blobs())
        trainer.run()
        sent[momentum, handover] = trainer.nodes.bytes_per_node
    assert sent[0.9, "travel"] == 2 * sent[0.0, "travel"] > 0
    assert sent[0.9, "reset"] == sent[0.0, "travel"]


def test_teams_do_not_mix():
    pair, three = MixingMatrix.from_matrix(np.full((2, 2), 0.5)), directed(3)
    together = block_diagonal([pair, three]).to_dense()
    assert np.array_equal(together[:2, :2], pair.to_dense())
    assert np.array_equal(together[2:, 2:], three.to_dense())
    assert not together[:2, 2:].any()
    assert not together[2:, :2].any()


def test_every_team_is_evaluated():
    trainer = Trainer(SCHEDULES["teams of 1, 2 and 4"], settings(steps=40, lr=0.1), model=linear, data=blobs())
    final = trainer.run().final
    assert list(final["teams"]) == ["k=1", "k=2", "k=4"]
    best = min(final["teams"], key=lambda name: final["teams"][name]["loss"])
    assert final["best"] == best
    assert final["loss"] == final["teams"][best]["loss"]
    X = final_parameters(trainer)
    parts = {"k=1": X[:1], "k=2": X[1:3], "k=4": X[3:]}
    for name, part in parts.items():
        distance = np.sqrt(((part - part.mean(axis=0)) ** 2).sum(axis=1).mean())
        assert final["teams"][name]["consensus_distance"] == pytest.approx(distance, rel=1e-9, abs=1e-15)
    flat = np.concatenate([p.detach().numpy().ravel() for p in trainer.evaluator.average.parameters()])
    assert np.abs(flat - parts[best].mean(axis=0)).max() < 1e-14


@pytest.mark.slow
@pytest.mark.dist
def test_idle_ranks_sleep_beyond_the_time_out_and_cost_nothing():
    # One token on four ranks, steps of 0.6 s, a time-out of 2.4: a rank that is not visited for six steps would be long
    # dead if it waited in the network.
    schedule = design("teleportation", 4, active=[1], seed=4)
    holders = [int(schedule.rule.holders(t)[0][0]) for t in range(12)]
    visits = [[-1, *(t for t, h in enumerate(holders) if h == node), 12] for node in range(4)]
    assert max(int(np.diff(times).max()) for times in visits) > 6
    config = settings(steps=12, lr=0.1, timeout=2.4)
    ranks = run_ranks(idle_while_others_work, 4, schedule, config, 0.6, timeout=90)
    for rank, (wall, busy) in enumerate(ranks):
        assert wall > 11 * 0.6
        assert busy < 0.25 * wall, f"rank {rank} was busy for {busy:.1f} of {wall:.1f} s of others' sleep"


@pytest.mark.dist
def test_a_rank_that_fails_is_the_end_of_those_that_sleep():
    schedule = design("teleportation", 4, active=[1], seed=4)
    messages = run_ranks(fail_in_round, 4, schedule, settings(steps=40, lr=0.1, timeout=4.0), 6, timeout=60)
    failing = int(schedule.rule.holders(6)[0][0])
    assert messages.pop(failing) == "ValueError: out of order"
    assert set(messages) == {
        f"TopokitError: another rank has failed (rank {failing}: out of order); start the same command again to go on "
        "from the last checkpoint"
    }


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_half_precision_travels(momentum):
    config = settings(steps=30, lr=0.1, momentum=momentum, dtype="bfloat16")
    metrics = train(SCHEDULES["k=3 of 8, ring"], config, model=linear, data=blobs()).metrics
    assert metrics[-1]["loss"] < metrics[0]["loss"]


def test_momentum_that_cannot_act_is_noted():
    lines = []
    for local_steps in (1, 2):
        config = settings(steps=2, momentum=0.9, handover="reset", local_steps=local_steps)
        Trainer(SCHEDULES["k=1 of 8"], config, model=linear, data=blobs(), report=lines.append)
    assert sum("momentum has no effect" in line for line in lines) == 1


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.dist
def test_adams_averages_travel_too(optimizer):
    run = (
        SCHEDULES["k=3 of 8, ring"],
        settings(steps=STEPS, lr=0.01, optimizer=optimizer, weight_decay=0.01, lr_schedule="cosine"),
    )
    trainer = Trainer(*run, model=linear, data=blobs())
    trainer.run()
    rows = {}
    for rank in run_ranks(tokens_of_all, 4, [run], {"model": linear, "data": blobs()}):
        rows |= rank[0][0]
    together = np.stack([rows[token] for token in range(3)])
    assert np.abs(together - final_parameters(trainer)).max() < 1e-12


class Normalised(nn.Module):
    """A model whose BatchNorm keeps statistics."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.2), nn.Linear(6, 3))

    def forward(self, x):
        return self.layers(x)


@pytest.mark.dist
def test_batch_norm_statistics_and_dropout_go_with_the_token():
    run = (SCHEDULES["k=3 of 8, ring"], settings(steps=20, lr=0.1, batch_size=8, eval_every=10))
    trainer = Trainer(*run, model=Normalised, data=blobs())
    metrics = trainer.run().metrics
    ranks = run_ranks(tokens_of_all, 4, [run], {"model": Normalised, "data": blobs()})
    rows = {}
    for rank in ranks:
        rows |= rank[0][0]
    assert np.abs(np.stack([rows[token] for token in range(3)]) - final_parameters(trainer)).max() < 1e-12
    for here, there in zip(metrics, ranks[0][0][1], strict=True):
        assert there["loss"] == pytest.approx(here["loss"], rel=1e-9)


@pytest.mark.dist
@pytest.mark.parametrize(("first", "then"), [(1, 1), (4, 2), (1, 4)])
def test_a_run_goes_on_with_the_same_or_another_number_of_ranks(tmp_path, first, then):
    schedule = SCHEDULES["k=4 of 8, one-peer"]
    config = settings(
        steps=30, lr=0.05, optimizer="adam", checkpoint_every=7, eval_every=10, out=tmp_path / "run", local_steps=2
    )
    whole = Trainer(schedule, replace(config, out=None, checkpoint_every=0), model=linear, data=blobs())
    expected = whole.run().metrics
    parts = {"model": linear, "data": blobs()}
    run_ranks(train_all, first, [(schedule, config)], parts, 16)
    ranks = run_ranks(tokens_of_all, then, [(schedule, config)], parts)
    rows = {}
    for rank in ranks:
        rows |= rank[0][0]
    together = np.stack([rows[token] for token in range(4)])
    assert np.abs(together - final_parameters(whole)).max() <= (0 if (first, then) == (1, 1) else 1e-13)
    for here, there in zip(expected, ranks[0][0][1], strict=True):
        for key in ("loss", "train_loss", "bytes_sent_per_node"):
            assert there[key] == (None if here[key] is None else pytest.approx(here[key], rel=1e-12))


def test_other_schedules_and_optimizers_are_refused():
    with pytest.raises(InputError, match="TELEPORTATION runs teleport schedules; ring-4 is a cyclic schedule"):
        Trainer(design("ring", 4), settings(algorithm="teleportation"), model=linear, data=blobs())
    with pytest.raises(InputError, match="cannot be done with LBFGS for each node; use SGD"):
        Trainer(
            SCHEDULES["k=1 of 8"],
            settings(),
            model=linear,
            data=blobs(),
            optimizer=lambda m: torch.optim.LBFGS(m.parameters()),
        )


@pytest.mark.slow
@pytest.mark.dist
def test_one_of_sixty_four_real_ranks():
    run = (design("teleportation", 64, active=[1], seed=7), settings(steps=40, lr=0.1, batch_size=2, timeout=120))
    trainer = Trainer(*run, model=linear, data=blobs(320))
    trainer.run()
    ranks = run_ranks(tokens_of_all, 64, [run], {"model": linear, "data": blobs(320)}, timeout=300)
    (holding,) = [rank[0][0] for rank in ranks if rank[0][0]]
    assert np.abs(holding[0] - final_parameters(trainer)[0]).max() < 1e-12
