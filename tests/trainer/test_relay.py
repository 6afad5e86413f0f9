"""RelaySGD against its messages and against what they add up to: the mean of delayed models, on trees of all shapes."""

import networkx as nx
import numpy as np
import pytest
import torch
from exact import adam_by_hand
from problems import Softmax, blobs, linear, settings
from ranks import run_ranks
from workers import final_parameters, train_all

from topokit.designer import design, design_graph, design_matrix
from topokit.errors import InputError
from topokit.matrix import MixingMatrix
from topokit_trainer import Trainer
from topokit_trainer.algorithms.relay import tree_edges

STEPS = 24
MOMENTUM = {"momentum": 0.9, "weight_decay": 0.01}


def random_tree(n, seed):
    """Every node joins one that is there already; then all are renumbered."""
    rng = np.random.default_rng(seed)
    number = rng.permutation(n)
    return nx.Graph([(number[k], number[rng.integers(k)]) for k in range(1, n)])


TREES = {
    "path": nx.path_graph(5),
    "star": nx.star_graph(5),
    "binary": nx.balanced_tree(2, 2),
    "random 4": random_tree(4, 0),
    "random 8": random_tree(8, 1),
    "random 9": random_tree(9, 2),
    "random 12": random_tree(12, 3),
    "path of 12": nx.relabel_nodes(nx.path_graph(12), {k: 5 * k % 12 for k in range(12)}),
    "star of 12": nx.relabel_nodes(nx.star_graph(11), {0: 7, 7: 0}),
}
SCHEDULES = {name: design_graph(tree) for name, tree in TREES.items()}


def trainer_for(schedule, data=None, **changes):
    config = settings(**({"algorithm": "relay-sgd"} | changes))
    return Trainer(schedule, config, model=linear, data=data or blobs())


def received(trainer):
    """What was last received along each edge, (owner, neighbour) in order: means of the neighbour's side."""
    return torch.cat(trainer.nodes.states["received"].tensors, dim=1).double().numpy().copy()


def momentum(trainer):
    """SGD with momentum and weight decay, a velocity for each node."""
    config, problem = trainer.config, Softmax(trainer.data)
    velocity = {}

    def update(i, x, batch, step):
        gradient = problem.gradient(x, batch) + config.weight_decay * x
        velocity[i] = config.momentum * velocity[i] + gradient if step else gradient
        return -config.lr * velocity[i]

    return update


def run_by_hand(trainer, start, update, combine):
    """Local steps, and ``combine(t, X)`` after each ``local_steps`` of them."""
    X, config = start.copy(), trainer.config
    for step in range(config.steps):
        batches = trainer.nodes.batches.indices(step)
        X += np.array([update(i, X[i], batches[i], step) for i in range(len(X))])
        if (step + 1) % config.local_steps == 0:
            X = combine(step // config.local_steps, X)
    return X


def delayed_means(tree, start):
    """The mean of all models, each as late as the messages that carry it."""
    n, history = len(tree), []
    paths = dict(nx.all_pairs_shortest_path(tree))

    def known(i, j, t):
        delay = max(len(paths[i][j]) - 2, 0)
        # What has not been heard of yet counts with the start of the last node on the way that has.
        return history[t - delay][j] if t >= delay else start[paths[i][j][t + 1]]

    def combine(t, X):
        history.append(X.copy())
        return np.array([np.mean([known(i, j, t) for j in range(n)], axis=0) for i in range(n)])

    return combine


def messages(tree, start):
    """The equations of the paper: sums are sent, and replaced in every round."""
    n = len(tree)
    last = {}
    for i, j in tree.edges:
        for a, b in ((i, j), (j, i)):
            cut = nx.restricted_view(tree, [], [(i, j)])
            last[a, b] = len(nx.node_connected_component(cut, a)) * start[b]

    def combine(t, X):
        sent = {
            (a, b): X[a] + sum((last[k, a] for k in tree.neighbors(a) if k != b), np.zeros(X.shape[1])) for a, b in last
        }
        last.update(sent)
        return np.array([(X[i] + sum(last[j, i] for j in tree.neighbors(i))) / n for i in range(n)])

    return combine


@pytest.mark.parametrize("local_steps", [1, 3])
@pytest.mark.parametrize("name", TREES)
def test_it_is_its_equations(name, local_steps):
    changes = {"steps": STEPS, "perturb": 0.1, "local_steps": local_steps, "gradients": "vmap", **MOMENTUM}
    trainer = trainer_for(SCHEDULES[name], **changes)
    n, start = len(TREES[name]), final_parameters(trainer).copy()
    final = trainer.run().final
    found = final_parameters(trainer)
    assert np.abs(found - start).max() > 0.1
    assert np.abs(found - found.mean(axis=0)).max() > 1e-3
    for oracle in (delayed_means, messages):
        expected = run_by_hand(trainer, start, momentum(trainer), oracle(TREES[name], start))
        assert np.abs(found - expected).max() < 1e-10, oracle.__name__
    rounds = STEPS // local_steps
    assert final["round"] == rounds
    assert final["bytes_sent_per_node"] == round(rounds * 2 * (n - 1) / n * trainer.nodes.stacks.bytes_per_node)


def runs(size):
    names = {2: ["path of 12", "random 12"], 4: ["random 4", "random 8", "star of 12"]}
    changes = {"algorithm": "relay-sgd", "steps": STEPS, "perturb": 0.1, "local_steps": size // 2, **MOMENTUM}
    return [(name, SCHEDULES[name], settings(**changes)) for name in names[size]]


@pytest.mark.dist
@pytest.mark.parametrize("size", [2, 4])
def test_ranks_follow_the_equations(size):
    ranks = run_ranks(train_all, size, [run[1:] for run in runs(size)], {"model": linear, "data": blobs()})
    for case, (name, schedule, config) in enumerate(runs(size)):
        trainer = Trainer(schedule, config, model=linear, data=blobs())
        start = final_parameters(trainer).copy()
        expected = run_by_hand(trainer, start, momentum(trainer), delayed_means(TREES[name], start))
        found = np.concatenate([rank[case][0] for rank in ranks])
        assert np.abs(found - expected).max() < 1e-10
        alone, together = trainer.run().final, ranks[0][case][1][-1]
        assert np.array_equal(found, final_parameters(trainer))  # the order of sums does not depend on ranks
        assert together["bytes_sent_per_node"] == alone["bytes_sent_per_node"]
        crossing = sum(i * size // len(start) != j * size // len(start) for i, j in TREES[name].edges)
        rounds, row = STEPS // config.local_steps, trainer.nodes.stacks.bytes_per_node
        assert together["bytes_on_the_wire"] == rounds * 2 * crossing * row


def test_adam_is_one_optimizer_a_node():
    trainer = trainer_for(SCHEDULES["random 8"], steps=STEPS, perturb=0.1, optimizer="adam", lr=0.01, weight_decay=0.01)
    start = final_parameters(trainer).copy()
    trainer.run()
    update = adam_by_hand(trainer, len(start), lr=0.01, weight_decay=0.01)
    expected = run_by_hand(trainer, start, update, messages(TREES["random 8"], start))
    assert np.abs(final_parameters(trainer) - expected).max() < 1e-10


def test_two_nodes_from_equal_starts_are_allreduce():
    found = []
    for algorithm in ("relay-sgd", "allreduce"):
        trainer = trainer_for(design_graph(nx.path_graph(2)), algorithm=algorithm, steps=STEPS, lr=0.2, **MOMENTUM)
        trainer.run()
        found.append(final_parameters(trainer))
    assert np.abs(found[0] - found[1]).max() < 1e-12


def kept(trainer):
    """n sum_i x_i, and what received messages hold times the number of nodes that have still to hear of it."""
    n = trainer.schedule.nodes
    behind = tree_edges(trainer.schedule.round(0), "").behind[:, np.newaxis]
    weight = behind * (n - behind - 1)  # a message is a mean over the nodes behind it
    total = n * final_parameters(trainer).sum(axis=0) + (weight * received(trainer)).sum(axis=0)
    return total, n * n + weight.sum()


@pytest.mark.parametrize("name", TREES)
def test_models_and_messages_together_move_by_the_changes_alone(name):
    trainer = trainer_for(SCHEDULES[name], lr=0.1, perturb=1.0, partition="sorted")
    for step in range(STEPS):
        before, weight = kept(trainer)
        trainer.algorithm.step(trainer.nodes, step)
        change = -0.1 * torch.cat(trainer.nodes.stacks.gradients, dim=1).sum(dim=0).numpy()
        moved = kept(trainer)[0] - before - trainer.schedule.nodes * change
        assert np.abs(moved).max() < 1e-14 * weight


@pytest.mark.parametrize("name", TREES)
def test_without_gradients_all_arrive_at_what_is_kept(name):
    trainer = trainer_for(SCHEDULES[name], perturb=1.0)
    total, weight = kept(trainer)
    for _round in range(1000):
        trainer.algorithm._relay(trainer.nodes)
    assert np.abs(final_parameters(trainer) - total / weight).max() < 1e-13


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_nodes_that_agree_stay_as_they_are_to_the_last_bit(dtype):
    trainer = trainer_for(SCHEDULES["random 9"], dtype=dtype)
    start = final_parameters(trainer).copy()
    for _round in range(3000 if dtype == "float32" else 100):
        trainer.algorithm._relay(trainer.nodes)
    assert np.array_equal(final_parameters(trainer), start)


@pytest.mark.slow
def test_3000_steps_in_float32_stay_with_those_in_float64():
    found = []
    for dtype in ("float64", "float32"):
        data = blobs(dtype=getattr(torch, dtype))
        changes = {"steps": 3000, "lr": 0.02, "weight_decay": 0.1, "partition": "sorted", "gradients": "vmap"}
        trainer = trainer_for(SCHEDULES["path"], data, dtype=dtype, **changes)
        trainer.run()
        found.append(final_parameters(trainer))
    assert np.abs(found[1] - found[0]).max() < 1e-5


def test_it_goes_on_from_a_checkpoint_bit_for_bit(tmp_path):
    def start(folder):
        usual = {"perturb": 0.1, "checkpoint_every": 4, "eval_every": 5, "local_steps": 2, **MOMENTUM}
        return trainer_for(SCHEDULES["random 9"], out=tmp_path / folder, **usual)

    straight, broken = start("straight"), start("broken")
    expected = straight.run().metrics
    step = broken.algorithm.step

    def watched(nodes, number):
        step(nodes, number)
        broken.interrupted = number == 12  # between two rounds

    broken.algorithm.step = watched
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    again = start("broken")
    assert again.progress.step == 13
    metrics = again.run().metrics
    assert np.array_equal(final_parameters(again), final_parameters(straight))
    assert np.array_equal(received(again), received(straight))
    assert [row | {"seconds": 0} for row in metrics] == [row | {"seconds": 0} for row in expected]


@pytest.mark.parametrize("seed", range(20))
def test_edges_know_how_many_nodes_are_behind_them(seed):
    tree = random_tree(2 + 3 * seed, seed)
    edges = tree_edges(design_graph(tree).round(0), "")
    assert list(zip(edges.owner.tolist(), edges.neighbour.tolist(), strict=True)) == sorted(tree.to_directed().edges)
    assert np.array_equal(edges.owner[edges.back], edges.neighbour)
    assert np.array_equal(edges.neighbour[edges.back], edges.owner)
    for i, j, behind in zip(edges.owner.tolist(), edges.neighbour.tolist(), edges.behind.tolist(), strict=True):
        cut = nx.restricted_view(tree, [], [(i, j)])
        assert behind == len(nx.node_connected_component(cut, j))


def test_a_note_says_that_weights_are_not_used():
    (note,) = trainer_for(SCHEDULES["path"]).algorithm.notes()
    assert note == f"RelaySGD uses the tree of {SCHEDULES['path'].name}, not its weights: all nodes count alike"


def directed_ring():
    return design_matrix((np.eye(4) + np.roll(np.eye(4), 1, axis=0)) / 2)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (design("ring", 12), "needs a tree: ring-12 has 12 edges, a tree on 12 nodes has 11"),
        (design("base-2", 5), "needs one round on a tree, used again and again; base-2-5 has . rounds"),
        (design("od-equidyn", 5, seed=0), "needs one round on a tree, .*; od-equidyn-5 has sampled rounds"),
        (directed_ring(), "needs symmetric weights, because messages go both ways; those of .*-4 are not"),
        (design("ceca-2p", 4), "keeps one state a node, ceca-2p-4 asks for 2 copies"),
        (design("tree-push-pull", 4), "keeps one state a node, tree-push-pull-4 asks for 2 copies"),
    ],
)
def test_other_schedules_are_refused(schedule, words):
    with pytest.raises(InputError, match=f"RelaySGD {words}"):
        trainer_for(schedule)


def test_a_graph_in_two_parts_is_no_tree():
    triangle = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 3]]) / 3
    with pytest.raises(InputError, match="in the graph of this, node 0 does not reach 1 nodes"):
        tree_edges(MixingMatrix.from_matrix(triangle), "this")
