"""What a run reports, against the same figures by hand."""

import json

import numpy as np
import pytest
import torch
from problems import CLASSES, FEATURES, Softmax, blobs, linear, settings
from torch import nn, optim
from torch.utils.data import Dataset, TensorDataset
from workers import final_parameters

from topokit.designer import design
from topokit_trainer import Trainer, train
from topokit_trainer.evaluation import Evaluator
from topokit_trainer.telemetry import describe, read_metrics


def scores(parameters, x):
    """Outputs of softmax regression for one row of parameters."""
    return x @ parameters[:-CLASSES].reshape(CLASSES, FEATURES).T + parameters[-CLASSES:]


def loss_and_accuracy(parameters, x, y):
    z = scores(parameters, x)
    probabilities = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return -np.log(probabilities[np.arange(len(y)), y]).mean(), (z.argmax(axis=1) == y).mean()


def figures(X, x, y):
    """All figures of an evaluation, from the rows of parameters and the test set."""
    own = np.array([loss_and_accuracy(row, x, y) for row in X])
    loss, accuracy = loss_and_accuracy(X.mean(axis=0), x, y)
    return {
        "loss": loss,
        "accuracy": accuracy,
        "node_loss_mean": own[:, 0].mean(),
        "node_loss_worst": own[:, 0].max(),
        "node_accuracy_mean": own[:, 1].mean(),
        "node_accuracy_worst": own[:, 1].min(),
        "consensus_distance": np.sqrt(np.mean(np.sum((X - X.mean(axis=0)) ** 2, axis=1))),
    }


@pytest.mark.parametrize("gradients", ["loop", "vmap"])
def test_figures_are_those_by_hand(gradients):
    config = settings(steps=8, eval_every=4, lr=0.3, perturb=1.0, gradients=gradients)
    trainer = Trainer(design("ring", 6), config, model=linear, data=blobs())
    x, y = (t.numpy() for t in trainer.data.test.tensors)
    before = figures(final_parameters(trainer), x, y)
    metrics = trainer.run().metrics
    after = figures(final_parameters(trainer), x, y)
    assert [row["step"] for row in metrics] == [0, 4, 8]
    for row, expected in ((metrics[0], before), (metrics[-1], after)):
        assert {key: row[key] for key in expected} == pytest.approx(expected, rel=1e-12)
    assert before["node_accuracy_worst"] < before["node_accuracy_mean"]
    assert before["node_loss_worst"] > before["node_loss_mean"] + 0.1


class Plain(Dataset):
    """A data set of which nothing is known but its samples."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        x, y = self.dataset[index]
        return x.float(), int(y)


@pytest.mark.parametrize("wrap", [lambda d: d, Plain])
@pytest.mark.parametrize("chunk", [1, 7, 31, 512])
def test_samples_count_alike_however_they_are_chunked(wrap, chunk):
    trainer = Trainer(design("ring", 4), settings(perturb=1.0), model=linear, data=blobs(155))
    nodes = trainer.nodes
    test = wrap(trainer.data.test)
    assert len(test) == 31
    evaluator = Evaluator(
        nodes.stacks, nodes.engine, nn.functional.cross_entropy, test, trainer.world, torch.float64, chunk
    )
    x, y = (t.numpy() for t in trainer.data.test.tensors)
    found, expected = evaluator({"": nodes.uniform})[""], figures(final_parameters(trainer), x, y)
    assert vars(found) == pytest.approx(expected, rel=1e-12 if wrap is not Plain else 1e-6)


@pytest.mark.parametrize("gradients", ["loop", "vmap"])
def test_several_averages_each_of_its_own_nodes(gradients):
    trainer = Trainer(design("ring", 6), settings(perturb=1.0, gradients=gradients), model=linear, data=blobs())
    shares = {
        "uneven": [0.3, 0.1, 0.2, 0.15, 0.05, 0.2],
        "two of them": [0, 0.5, 0, 0, 0.5, 0],
        "one": [0, 0, 0, 1, 0, 0],
    }
    found = trainer.evaluator({name: torch.tensor(w, dtype=torch.float64) for name, w in shares.items()})
    assert list(found) == list(shares)
    X = final_parameters(trainer)
    x, y = (t.numpy() for t in trainer.data.test.tensors)
    for name, weights in shares.items():
        w, part = np.array(weights), np.array(weights) > 0
        expected = figures(X[part], x, y)  # of the nodes that count, one by one
        expected["loss"], expected["accuracy"] = loss_and_accuracy(w @ X, x, y)
        expected["consensus_distance"] = np.sqrt(np.mean(np.sum((X[part] - w @ X) ** 2, axis=1)))
        assert vars(found[name]) == pytest.approx(expected, rel=1e-12, abs=1e-15)
    # A single model is that of all nodes, also of those that have no share in it.
    weights = torch.tensor(shares["one"], dtype=torch.float64)
    alone, expected = vars(trainer.evaluator({"": weights})[""]), figures(X, x, y)
    expected["loss"], expected["accuracy"] = loss_and_accuracy(X[3], x, y)
    expected["consensus_distance"] = np.sqrt(np.mean(np.sum((X - X[3]) ** 2, axis=1)))
    assert alone == pytest.approx(expected, rel=1e-12)
    mean = trainer.evaluator.load_average(torch.tensor(shares["uneven"], dtype=torch.float64))
    assert np.abs(np.concatenate([m.numpy() for m in mean]) - np.array(shares["uneven"]) @ X).max() < 1e-15


def test_the_training_loss_is_the_mean_since_the_last_evaluation():
    config = settings(steps=7, eval_every=3, lr=0.1)
    trainer = Trainer(design("ring", 4), config, model=linear, data=blobs())
    problem, X = Softmax(trainer.data), final_parameters(trainer).copy()
    W, losses = trainer.schedule.round(0).to_dense(), []
    metrics = trainer.run().metrics
    for step in range(7):
        batches = trainer.nodes.batches.indices(step)
        losses.append(np.mean([loss_and_accuracy(X[i], problem.x[b], problem.y[b])[0] for i, b in enumerate(batches)]))
        X = W @ np.stack([X[i] - 0.1 * problem.gradient(X[i], b) for i, b in enumerate(batches)])
    expected = [np.mean(losses[:3]), np.mean(losses[3:6]), losses[6]]
    assert metrics[0]["train_loss"] is None
    assert [row["train_loss"] for row in metrics[1:]] == pytest.approx(expected, rel=1e-12)
    assert [row["epoch"] for row in metrics] == [step / 8 for step in (0, 3, 6, 7)]  # 32 samples a node, in fours


@pytest.mark.parametrize(
    ("name", "nodes", "local_steps", "messages"),
    [
        ("ring", 8, 1, 12 * 2),
        ("ring", 2, 1, 12 * 1),
        ("ring", 8, 4, 3 * 2),
        ("exponential", 8, 1, 12 * 3),
        ("one-peer-exponential", 8, 1, 12 * 1),
        ("one-peer-exponential", 8, 3, 4 * 1),
        ("star", 5, 1, 12 * 2 * 4 / 5),  # on average: the centre sends four, the others one
        ("complete", 5, 1, 12 * 4),
    ],
)
@pytest.mark.parametrize("order", ["atc", "awc"])
def test_bytes_are_degree_times_size_times_rounds(name, nodes, local_steps, messages, order):
    config = settings(steps=12, local_steps=local_steps, order=order, dtype="float32")
    final = train(design(name, nodes), config, model=linear, data=blobs()).final
    size = 4 * (FEATURES * CLASSES + CLASSES)
    assert final["bytes_sent_per_node"] == pytest.approx(messages * size, abs=0.5)
    assert final["round"] == 12 // local_steps
    assert final["bytes_on_the_wire"] == 0  # all nodes live in this process


def test_bytes_of_allreduce_are_those_of_a_ring_allreduce():
    final = train(design("ring", 8), settings(steps=12, algorithm="allreduce"), model=linear, data=blobs()).final
    assert final["bytes_sent_per_node"] == pytest.approx(12 * 2 * 7 / 8 * 8 * 18, abs=0.5)
    assert final["round"] == 0
    assert final["contraction"] is None
    assert final["consensus_distance"] < 1e-15


def test_clipping_is_by_the_norm_of_a_node_over_all_its_stacks():
    def two_groups(model):
        return optim.SGD([{"params": [model.weight]}, {"params": [model.bias]}], lr=1.0)

    trainer = Trainer(design("ring", 4), settings(clip=2.0), model=linear, data=blobs(), optimizer=two_groups)
    nodes = trainer.nodes
    assert len(nodes.stacks.gradients) == 2
    generator = torch.Generator().manual_seed(0)
    for gradient in nodes.stacks.gradients:
        gradient.normal_(generator=generator)
        gradient.mul_(torch.tensor([[0.1], [1.0], [10.0], [0.0]]))
    before, start = torch.cat(nodes.stacks.gradients, dim=1).numpy().copy(), final_parameters(trainer).copy()
    nodes.apply_gradients()
    step = start - final_parameters(trainer)
    norms = np.linalg.norm(before, axis=1)
    assert norms[0] < 2.0 < norms[1]
    expected = before * np.minimum(1.0, 2.0 / (norms + 1e-6))[:, None]
    assert np.abs(step - expected).max() < 1e-12
    assert np.linalg.norm(step, axis=1) == pytest.approx([norms[0], 2.0, 2.0, 0.0], rel=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_clipping_does_not_overflow(dtype):
    trainer = Trainer(design("ring", 4), settings(clip=1.0, dtype=dtype), model=linear, data=blobs())
    (gradient,) = trainer.nodes.stacks.gradients
    gradient.fill_(1e18)
    trainer.nodes.apply_gradients()
    assert torch.linalg.vector_norm(gradient.double(), dim=1).tolist() == pytest.approx([1.0] * 4, rel=0.01)


def test_targets_that_are_no_classes_have_no_accuracy(tmp_path):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((80, FEATURES)))
    y = x.sum(dim=1, keepdim=True)
    data = (TensorDataset(x[:60], y[:60]), TensorDataset(x[60:], y[60:]))
    config = settings(steps=60, lr=0.1, eval_every=30, out=tmp_path, batch_size=8)
    lines = []
    result = train(
        design("ring", 4),
        config,
        model=lambda: nn.Linear(FEATURES, 1),
        data=data,
        loss=nn.functional.mse_loss,
        report=lines.append,
    )
    assert result.final["loss"] < 1e-3
    for key in ("accuracy", "node_accuracy_mean", "node_accuracy_worst"):
        assert result.final[key] is None
    assert read_metrics(tmp_path) == result.metrics
    assert "accuracy nan" in lines[-1]


def test_a_loss_of_ones_own_is_used_everywhere():
    def scaled(outputs, targets):
        return 10 * nn.functional.cross_entropy(outputs, targets)

    own = train(design("ring", 4), settings(steps=5, lr=0.01), model=linear, data=blobs(), loss=scaled).final
    usual = train(design("ring", 4), settings(steps=5, lr=0.1), model=linear, data=blobs()).final
    assert own["accuracy"] == usual["accuracy"]
    for key in ("loss", "train_loss", "node_loss_mean", "node_loss_worst"):
        assert own[key] == pytest.approx(10 * usual[key], rel=1e-9)


def test_a_run_that_diverges_leaves_readable_metrics(tmp_path):
    config = settings(steps=40, lr=1e10, weight_decay=1.0, eval_every=10, out=tmp_path, checkpoint_every=10)
    lines = []
    metrics = train(design("ring", 4), config, model=linear, data=blobs(), report=lines.append).metrics

    def refuse(word):
        raise AssertionError(word)

    rows = [json.loads(line, parse_constant=refuse) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == metrics
    assert json.loads((tmp_path / "summary.json").read_text(), parse_constant=refuse)["finished"]
    assert rows[-1]["loss"] is None
    assert rows[-1]["consensus_distance"] is None
    assert "nan" in lines[-2]
    assert "has diverged" in lines[-1]


def test_lines_for_people_say_the_main_figures():
    result = train(design("ring", 4), settings(steps=3), model=linear, data=blobs())
    line = describe(result.final | {"seconds": 12.34})
    for text in ("step      3", f"accuracy {result.final['accuracy']:.4f}", "consensus", "12.3 s"):
        assert text in line


def test_the_result_carries_the_averaged_model():
    config = settings(steps=5, perturb=0.5)
    trainer = Trainer(design("ring", 4), config, model=linear, data=blobs())
    model = trainer.run().model
    mean = final_parameters(trainer).mean(axis=0)
    found = np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])
    assert np.abs(found - mean).max() < 1e-15
