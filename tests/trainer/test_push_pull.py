"""Push-pull gradient tracking against its equations in plain NumPy, and against the optimum that it promises."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from problems import FEATURES, Softmax, blobs, linear, settings
from ranks import run_ranks
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import TensorDataset
from workers import final_parameters, train_all

from topokit.designer import design
from topokit.errors import InputError
from topokit.matrix import MixingMatrix
from topokit.proofs.push_pull import prove_push_pull
from topokit.schedule import Schedule
from topokit_trainer import Data, Trainer
from topokit_trainer.algorithms.push_pull import PushPull

STEPS = 24
MOMENTUM = {"momentum": 0.9, "weight_decay": 0.01, "lr": 0.05}


def push_pull(*pairs):
    """A schedule of pull and push matrices, given in pairs."""
    zero = np.zeros_like(pairs[0][0])
    rounds = [MixingMatrix.from_matrix(np.block([[R, zero], [zero, C]])) for R, C in pairs]
    return Schedule.cyclic(rounds, copies=2, mixing="push-pull")


def random_pairs(n, count, seed=0):
    """Rows of R and columns of C drawn at random; a third of the entries is 0."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        R, C = (rng.random((n, n)) * (rng.random((n, n)) < 2 / 3) + 0.1 * np.eye(n) for _ in range(2))
        pairs.append((R / R.sum(axis=1, keepdims=True), C / C.sum(axis=0)))
    return pairs


SCHEDULES = {
    "tree of 4": design("tree-push-pull", 4),
    "tree of 7": design("tree-push-pull", 7),
    "tree of 7, arity 3": design("tree-push-pull", 7, arity=3),
    "tree of 10": design("tree-push-pull", 10),
    "tree of 10, arity 3": design("tree-push-pull", 10, arity=3),
    "path of 5": design("tree-push-pull", 5, arity=1),
    "random": push_pull(*random_pairs(4, 1)),
    "three random rounds": push_pull(*random_pairs(6, 3)),
}


def trainer_for(schedule, **changes):
    return Trainer(schedule, settings(**changes), model=linear, data=blobs())


def state(trainer, name):
    return torch.cat(trainer.nodes.states[name].tensors, dim=1).numpy()


def parts(schedule, t):
    n, W = schedule.nodes, schedule.round(t).to_dense()
    return W[:n, :n], W[n:, n:]


def run_by_hand(trainer, start, update):
    """``update(i, x, y, step)`` is the change of node i, with y its estimate of the mean gradient."""
    schedule, n = trainer.schedule, trainer.schedule.nodes
    problem, X, Y, before = Softmax(trainer.data), start.copy(), None, None
    for step in range(trainer.config.steps):
        batches = trainer.nodes.batches.indices(step)
        G = np.array([problem.gradient(X[i], batches[i]) for i in range(n)])
        Y = G if step == 0 else parts(schedule, step - 1)[1] @ Y + G - before
        before = G
        R = parts(schedule, step)[0]
        X = R @ (X + np.array([update(i, X[i], Y[i] / n, step) for i in range(n)]))
    return X


def momentum(config):
    velocity = {}

    def update(i, x, y, step):
        direction = y + config.weight_decay * x
        velocity[i] = config.momentum * velocity[i] + direction if step else direction
        return -config.lr * velocity[i]

    return update


@pytest.mark.parametrize("gradients", ["loop", "vmap"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_it_is_its_equations(name, gradients):
    schedule = SCHEDULES[name]
    trainer = trainer_for(schedule, steps=STEPS, perturb=0.1, gradients=gradients, **MOMENTUM)
    start = final_parameters(trainer).copy()
    final = trainer.run().final
    found = final_parameters(trainer)
    assert np.abs(found - start).max() > 0.1
    assert np.abs(found - found.mean(axis=0)).max() > 1e-3
    assert np.abs(found - run_by_hand(trainer, start, momentum(trainer.config))).max() < 1e-10
    if "tree" in name:
        n = schedule.nodes
        assert final["bytes_sent_per_node"] == round(STEPS * 2 * (n - 1) / n * trainer.nodes.stacks.bytes_per_node)


def runs(size):
    names = {
        2: ["tree of 10, arity 3", "three random rounds"],
        4: ["tree of 4", "random", "tree of 8"],
    }
    schedules = SCHEDULES | {"tree of 8": design("tree-push-pull", 8)}
    return [(schedules[name], settings(steps=STEPS, perturb=0.1, **MOMENTUM)) for name in names[size]]


@pytest.mark.dist
@pytest.mark.parametrize("size", [2, 4])
def test_ranks_follow_the_equations(size):
    ranks = run_ranks(train_all, size, runs(size), {"model": linear, "data": blobs()})
    for case, (schedule, config) in enumerate(runs(size)):
        trainer = Trainer(schedule, config, model=linear, data=blobs())
        expected = run_by_hand(trainer, final_parameters(trainer).copy(), momentum(config))
        alone = trainer.run().final
        assert np.abs(np.concatenate([rank[case][0] for rank in ranks]) - expected).max() < 1e-10
        final = ranks[0][case][1][-1]
        assert final["bytes_sent_per_node"] == alone["bytes_sent_per_node"]
        assert final["loss"] == pytest.approx(alone["loss"], rel=1e-9)


def test_adam_takes_the_tracker_for_its_gradient():
    trainer = trainer_for(SCHEDULES["tree of 7"], steps=STEPS, perturb=0.1, optimizer="adam", lr=0.01)
    start = final_parameters(trainer).copy()
    trainer.run()
    vectors = [nn.Parameter(torch.from_numpy(x.copy())) for x in start]
    optimizers = [torch.optim.Adam([vector], lr=0.01) for vector in vectors]

    def update(i, x, y, step):
        vectors[i].data.copy_(torch.from_numpy(x))
        vectors[i].grad = torch.from_numpy(y.copy())
        optimizers[i].step()
        return vectors[i].detach().numpy() - x

    assert np.abs(final_parameters(trainer) - run_by_hand(trainer, start, update)).max() < 1e-10


@pytest.mark.parametrize("name", SCHEDULES)
def test_trackers_sum_up_to_the_gradients_at_every_step(name):
    trainer = trainer_for(SCHEDULES[name], perturb=0.1, partition="sorted", lr=0.05)
    for step in range(STEPS):
        trainer.algorithm.step(trainer.nodes, step)
        gradients = state(trainer, "gradient before")
        assert np.abs(gradients).max() > 1e-3
        # What is kept is C y, and columns of C sum to one.
        assert np.abs((state(trainer, "tracker") - gradients).sum(axis=0)).max() < 1e-13


def test_trackers_keep_their_sum_in_half_precision():
    trainer = trainer_for(SCHEDULES["tree of 7"], partition="sorted", lr=0.05, dtype="bfloat16")
    for step in range(500):
        trainer.algorithm.step(trainer.nodes, step)
    gradients, sums = state(trainer, "gradient before"), state(trainer, "tracker").sum(axis=0)
    assert np.abs(sums - gradients.sum(axis=0)).max() < 1e-4 * np.abs(gradients).max()


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_averaged_model_moves_by_its_share_of_the_trackers_alone(name):
    trainer = trainer_for(SCHEDULES[name], perturb=0.1, lr=0.05)
    for step in range(STEPS):
        shares = trainer.algorithm.averages(trainer.nodes)[""].numpy()
        before = shares @ final_parameters(trainer)
        trainer.algorithm.step(trainer.nodes, step)
        y = torch.cat(trainer.nodes.stacks.gradients, dim=1).numpy()  # y / n is what the optimizer has seen
        after = trainer.algorithm.averages(trainer.nodes)[""].numpy() @ final_parameters(trainer)
        assert np.abs(after - before + 0.05 * shares @ y).max() < 1e-14


def perron(matrix):
    """The left eigenvector of 1, which sums to one."""
    values, vectors = np.linalg.eig(matrix.T)
    vector = np.real(vectors[:, np.argmin(np.abs(values - 1))])
    return vector / vector.sum()


def product(matrices):
    total = np.eye(len(matrices[0]))
    for matrix in matrices:
        total = matrix @ total
    return total


@pytest.mark.parametrize("name", SCHEDULES)
def test_shares_are_left_perron_vectors_of_the_period_from_each_round_on(name):
    schedule = SCHEDULES[name]
    trainer, period, gains = trainer_for(schedule), schedule.period, []
    for step in range(2 * period):
        shares = trainer.algorithm.averages(trainer.nodes)[""].numpy()
        pulls, pushes = zip(*(parts(schedule, step + t) for t in range(period)), strict=True)
        assert np.abs(shares - perron(product(pulls))).max() < 1e-12
        gains.append(shares @ perron(product(pushes).T))
        trainer.algorithm.step(trainer.nodes, step)
    notes = trainer.algorithm.notes()
    if "random" not in name:
        assert shares.tolist() == [1.0] + [0.0] * (schedule.nodes - 1)
        assert prove_push_pull(schedule.rounds).pull_weights == {0: 1}
        assert notes == []
    else:
        assert f"with {np.mean(gains):.3g} times the learning rate" in notes[0]


def test_complete_graph_from_equal_starts_is_allreduce():
    n, config = 5, {"momentum": 0.9, "steps": STEPS}
    average = np.full((n, n), 1 / n)
    ours = trainer_for(push_pull((average, average)), lr=0.1 * n, **config)
    theirs = trainer_for(design("ring", n), algorithm="allreduce", lr=0.1, **config)
    assert "with 0.2 times the learning rate" in ours.algorithm.notes()[0]
    for trainer in (ours, theirs):
        trainer.run()
    assert np.abs(final_parameters(ours) - final_parameters(theirs)).max() < 1e-12


def line(dtype=torch.float64):
    """Noisy values of a linear function: so few samples a node that nodes disagree."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((100, FEATURES))
    y = x @ rng.standard_normal((FEATURES, 1)) + rng.standard_normal((100, 1))
    held_out = TensorDataset(torch.tensor(x[:16], dtype=dtype), torch.tensor(y[:16], dtype=dtype))
    return Data(TensorDataset(torch.tensor(x[16:], dtype=dtype), torch.tensor(y[16:], dtype=dtype)), held_out)


def least_squares(schedule, **changes):
    """Train on all samples that the nodes have; give the distance of the farthest node from the optimum."""
    config = settings(batch_size=84 // schedule.nodes, gradients="vmap", perturb=0.1, **changes)
    data = line(getattr(torch, config.dtype))
    trainer = Trainer(schedule, config, model=lambda: nn.Linear(FEATURES, 1), data=data, loss=mse_loss)
    trainer.run()
    used = np.concatenate(list(trainer.nodes.batches.shares.values()))
    x, y = (t.numpy()[used].astype(np.float64) for t in line().train.tensors)
    optimum = np.linalg.lstsq(np.hstack([x, np.ones((len(x), 1))]), y, rcond=None)[0].ravel()
    return np.abs(final_parameters(trainer) - optimum).max()


@pytest.mark.parametrize(
    ("name", "changes", "error"),
    [
        pytest.param("tree of 7", {"lr": 0.05, "steps": 3000}, 1e-14, marks=pytest.mark.slow),
        ("tree of 10, arity 3", {"lr": 0.02, "momentum": 0.5, "steps": 700}, 1e-14),
        ("three random rounds", {"lr": 0.2, "steps": 1000}, 1e-13),
        pytest.param("tree of 7", {"lr": 0.05, "dtype": "float32", "steps": 3000}, 3e-6, marks=pytest.mark.slow),
    ],
)
def test_with_unlike_data_all_nodes_arrive_at_the_optimum_and_stay_there(name, changes, error):
    assert least_squares(SCHEDULES[name], **changes) < error


def test_dsgd_does_not_arrive_there():
    assert least_squares(design("ring", 7), lr=0.05, steps=500) > 0.01


@pytest.mark.parametrize("name", ["tree of 7", "three random rounds"])
def test_it_goes_on_from_a_checkpoint_bit_for_bit(tmp_path, name):
    def start(folder):
        usual = {"perturb": 0.1, "checkpoint_every": 4, "eval_every": 5, **MOMENTUM}
        return trainer_for(SCHEDULES[name], out=tmp_path / folder, **usual)

    straight, broken = start("straight"), start("broken")
    expected = straight.run().metrics
    step = broken.algorithm.step

    def watched(nodes, number):
        step(nodes, number)
        broken.interrupted = number == 12

    broken.algorithm.step = watched
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    again = start("broken")
    assert again.progress.step == 13
    shares = [trainer.algorithm.averages(trainer.nodes)[""] for trainer in (again, broken)]
    assert torch.equal(*shares)
    metrics = again.run().metrics
    assert np.array_equal(final_parameters(again), final_parameters(straight))
    assert np.array_equal(state(again, "tracker"), state(straight, "tracker"))
    assert [row | {"seconds": 0} for row in metrics] == [row | {"seconds": 0} for row in expected]


SWAP, FROM_0 = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
# Models come from node 0, gradients end up at node 2.
PULL, PUSH = np.array([[1, 0, 0], [0.5, 0, 0.5], [1, 0, 0]]), np.array([[0, 1, 0], [0, 0, 0], [1, 0, 1.0]])


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (design("ring", 4), "push-pull needs a cyclic push-pull schedule, .*; ring-4 is cyclic and doubly-stochastic"),
        (
            design("ceca-2p", 5),
            "push-pull needs a cyclic push-pull schedule, .*; ceca-2p-5 is cyclic and row-stochastic",
        ),
        (push_pull((SWAP, FROM_0.T)), "pull rounds that bring all nodes to one model.*; those of schedule-2 never do"),
        (
            push_pull((FROM_0, SWAP)),
            "push rounds that share out the sum of all gradients.*; those of schedule-2 never do",
        ),
        (push_pull((PULL, PUSH)), "gradients are pushed and from which models are pulled; schedule-3 has none"),
    ],
)
def test_other_schedules_are_refused(schedule, words):
    with pytest.raises(InputError, match=words):
        trainer_for(schedule, algorithm="push-pull")


def test_too_many_nodes_are_refused():
    with pytest.raises(InputError, match="for at most 2,000 nodes; tree-push-pull-2001 has 2,001"):
        PushPull().check(design("tree-push-pull", 2001), SimpleNamespace(needs_closure=False))


def test_optimizers_with_a_closure_are_refused():
    with pytest.raises(InputError, match="push-pull changes gradients between evaluation and step"):
        Trainer(
            SCHEDULES["tree of 7"],
            settings(),
            model=linear,
            data=blobs(),
            optimizer=lambda m: torch.optim.LBFGS(m.parameters()),
        )
