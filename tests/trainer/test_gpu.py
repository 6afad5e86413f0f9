"""All nodes on one CUDA device: the same run as on the CPU, up to rounding."""

import numpy as np
import pytest
import torch
from own_schedules import own_schedules
from problems import CLASSES, FEATURES, blobs, image_blobs, settings
from torch import nn, optim
from workers import final_parameters

from topokit.designer import design, design_matrix
from topokit_trainer import Trainer
from topokit_trainer.catalog import ALGORITHMS
from topokit_trainer.exchange import plan_round
from topokit_trainer.models import cnn, mlp

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

MODELS = {
    "mlp": (lambda: mlp((FEATURES,), CLASSES, hidden=16), blobs),
    "cnn": (lambda: cnn((1, 8, 8), CLASSES, width=4), image_blobs),
    "batch norm": (lambda: nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.Linear(8, CLASSES)), blobs),
}


def dropout():
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, CLASSES))


def run(device, schedule, make, data, optimizer=None, **changes):
    trainer = Trainer(
        schedule, settings(device=device, **changes), world_on(device), model=make, data=data(), optimizer=optimizer
    )
    return trainer, trainer.run().metrics


def world_on(device):
    from topokit_trainer.world import World

    return World(device=torch.device(device))


def agree(runs, tolerance):
    (first, here), (second, there) = runs
    expected = final_parameters(first)
    same = first.config.algorithm == "allreduce"
    assert same or np.abs(expected - expected[0]).max() > 1e-4, (
        "nodes should differ for the comparison to say something"
    )
    assert np.abs(final_parameters(second) - expected).max() <= tolerance * np.abs(expected).max()
    for a, b in zip(here, there, strict=True):
        for key in ("loss", "node_loss_worst", "consensus_distance", "contraction", "bytes_sent_per_node"):
            assert (a[key] is None) == (b[key] is None)
            if a[key] is not None:
                assert b[key] == pytest.approx(a[key], rel=1e3 * tolerance, abs=tolerance)


@pytest.mark.parametrize("order", ["atc", "awc"])
@pytest.mark.parametrize("topology", ["ring", "one-peer-exponential"])
@pytest.mark.parametrize("gradients", ["vmap", "loop"])
@pytest.mark.parametrize("name", MODELS)
def test_runs_agree_with_the_cpu(name, gradients, topology, order):
    if name == "batch norm" and gradients == "vmap":
        pytest.skip("BatchNorm is looped")
    changes = {
        "steps": 30,
        "eval_every": 10,
        "order": order,
        "gradients": gradients,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "clip": 1.0,
        "partition": "dirichlet",
        "lr_schedule": "step",
    }
    agree([run(device, design(topology, 4), *MODELS[name], **changes) for device in ("cpu", "cuda")], 1e-9)


OWN = own_schedules(8, active=4)
VARIANTS = {
    **{name: {"algorithm": name} for name in ALGORITHMS},
    "cta": {"algorithm": "dsgd", "order": "cta"},
    "mixed momentum": {"algorithm": "dsgd", "momentum_mixing": "mixed"},
    "quasi-global momentum": {"algorithm": "dsgd", "momentum_mixing": "quasi-global", "local_steps": 2},
    "outer steps": {"algorithm": "dsgd", "outer_every": 4, "outer_momentum": 0.7},
    "outer steps of push-sum": {"algorithm": "push-sum", "outer_every": 4},
    "relay, local steps": {"algorithm": "relay-sgd", "local_steps": 3},
    "teleportation, reset": {"algorithm": "teleportation", "handover": "reset", "local_steps": 2},
}


@pytest.mark.parametrize("gradients", ["vmap", "loop"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_algorithm_agrees_with_the_cpu(variant, gradients):
    changes = {
        "steps": 50,
        "eval_every": 10,
        "gradients": gradients,
        "lr": 0.05,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "partition": "sorted",
        **VARIANTS[variant],
    }
    schedule = OWN[changes["algorithm"]]
    agree([run(device, schedule, *MODELS["mlp"], **changes) for device in ("cpu", "cuda")], 1e-9)


@pytest.mark.parametrize("inner", ["ring", "one-peer-exponential"])
def test_four_tokens_travel_among_sixteen_nodes_as_on_the_cpu(inner):
    schedule = design("teleportation", 16, active=[4], inner=inner, seed=2)
    changes = {"steps": 60, "eval_every": 20, "momentum": 0.9, "batch_size": 2, "gradients": "vmap"}
    runs = [run(device, schedule, *MODELS["mlp"], **changes) for device in ("cpu", "cuda")]
    agree(runs, 1e-9)
    nodes = runs[1][0].nodes
    assert nodes.stacks.rows == 4
    assert all(stack.shape[0] == 4 and stack.is_cuda for stack in nodes.stacks.wide), "memory for the active ones only"


@pytest.mark.parametrize("algorithm", ["dsgd", "gradient-tracking", "teleportation"])
def test_hundreds_of_nodes_take_their_steps_at_once(algorithm):
    schedules = {
        "dsgd": design("exponential", 256),
        "gradient-tracking": design("one-peer-exponential", 256),
        "teleportation": design("teleportation", 256, active=[64], inner="one-peer-exponential"),
    }
    changes = {"algorithm": algorithm, "steps": 10, "batch_size": 2, "gradients": "vmap", "momentum": 0.9, "lr": 0.05}
    parts = (schedules[algorithm], MODELS["mlp"][0], lambda: blobs(1000))
    runs = [run(device, *parts, **changes) for device in ("cpu", "cuda")]
    agree(runs, 1e-9)
    assert runs[1][0].nodes.engine.name == "vmap"


@pytest.mark.parametrize("round_too", [False, True])
def test_as_many_operations_for_256_nodes_as_for_16(round_too):
    counts = []
    for n in (16, 256):
        changes = {"steps": 3, "batch_size": 2, "gradients": "vmap", "momentum": 0.9}
        trainer, _ = run("cuda", design("one-peer-exponential", n), MODELS["mlp"][0], lambda: blobs(1000), **changes)
        trainer.nodes.measure = False  # rounds that end at an evaluation look at every node
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as watched:
            trainer.nodes.descend(3)
            if round_too:
                trainer.nodes.mix(3)
            torch.cuda.synchronize()
        counts.append(sum(event.count for event in watched.key_averages()))
    assert 0 < counts[1] <= 1.2 * counts[0]


OPTIMIZERS = {
    "adamw": lambda m: optim.AdamW(m.parameters(), lr=0.01),
    "rmsprop": lambda m: optim.RMSprop(m.parameters(), lr=0.01),
    "adagrad": lambda m: optim.Adagrad(m.parameters(), lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_agree_with_the_cpu(name):
    runs = [
        run(device, design("ring", 4), *MODELS["mlp"], optimizer=OPTIMIZERS[name], steps=15)
        for device in ("cpu", "cuda")
    ]
    agree(runs, 1e-8)


@pytest.mark.parametrize("gradients", ["vmap", "loop"])
@pytest.mark.parametrize("optimizer", ["adamw", "adagrad"])
def test_interrupted_runs_go_on(tmp_path, gradients, optimizer):
    changes = {"steps": 20, "eval_every": 5, "checkpoint_every": 4, "gradients": gradients}
    parts = {"optimizer": OPTIMIZERS[optimizer]}
    straight, expected = run("cuda", design("ring", 4), *MODELS["mlp"], out=tmp_path / "straight", **parts, **changes)
    broken = Trainer(
        straight.schedule,
        settings(device="cuda", out=tmp_path / "broken", **changes),
        world_on("cuda"),
        model=MODELS["mlp"][0],
        data=blobs(),
        **parts,
    )
    take_step = broken.algorithm.step

    def watched(nodes, step):
        take_step(nodes, step)
        broken.interrupted = step == 12

    broken.algorithm.step = watched
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    again, found = run("cuda", straight.schedule, *MODELS["mlp"], out=tmp_path / "broken", **parts, **changes)
    assert np.abs(final_parameters(again) - final_parameters(straight)).max() < 1e-12
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    assert [row["loss"] for row in found] == pytest.approx([row["loss"] for row in expected], rel=1e-12)


def test_dropout_is_drawn_anew_for_each_node_and_step_and_can_be_repeated():
    trainers = [run("cuda", design("ring", 4), dropout, blobs, steps=10)[0] for _ in range(2)]
    first, second = map(final_parameters, trainers)
    assert np.abs(first - second).max() < 1e-12
    engine = trainers[0].nodes.engine
    inputs = torch.ones(4, 4, FEATURES, dtype=torch.float64, device="cuda")
    targets = torch.zeros(4, 4, dtype=torch.int64, device="cuda")
    for stack in trainers[0].nodes.stacks.stacks:
        stack.data[1:] = stack.data[0]
    state = torch.cuda.get_rng_state()
    losses = torch.stack([engine(inputs, targets, step) for step in (0, 1, 0)])
    assert losses[:2].unique().numel() == 8
    assert torch.equal(losses[0], losses[2])
    assert torch.equal(torch.cuda.get_rng_state(), state)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 2e-6), ("bfloat16", 1e-2)])
def test_mixing_is_a_product_with_the_matrix(dtype, tolerance):
    rng = np.random.default_rng(0)
    dense = np.mean([np.eye(16)[rng.permutation(16)] for _ in range(4)], axis=0)
    named = [design(name, 16) for name in ("ring", "star", "exponential", "complete", "one-peer-exponential")]
    matrices = [m for schedule in (*named, design_matrix((dense + np.eye(16)) / 2)) for m in schedule.rounds]
    values = torch.from_numpy(rng.standard_normal((16, 10_007))).to(getattr(torch, dtype)).to("cuda")
    before = values.double().cpu().numpy()
    for matrix in matrices:
        plan = plan_round(matrix, rank=0, size=1)
        mixed, changed = values.clone(), values.clone()
        plan.operator.mix_(mixed)
        changed.add_(plan.operator.correction(values))
        expected = matrix.to_dense() @ before
        assert np.abs(mixed.double().cpu().numpy() - expected).max() <= tolerance * np.abs(before).max()
        assert np.abs(changed.double().cpu().numpy() - expected).max() <= tolerance * np.abs(before).max()


def test_bfloat16_trains_and_keeps_the_mean():
    trainer, metrics = run("cuda", design("ring", 8), *MODELS["mlp"], dtype="bfloat16", steps=60, lr=0.1, eval_every=30)
    assert all(stack.dtype == torch.bfloat16 for stack in trainer.nodes.stacks.stacks)
    assert metrics[-1]["loss"] < 0.9 * metrics[0]["loss"]
    still, _ = run("cuda", design("ring", 8), *MODELS["mlp"], dtype="bfloat16", steps=1, lr=0.0, perturb=1.0)
    mean = final_parameters(still).mean(axis=0)
    for number in range(300):
        still.nodes.mix(number)
    drift = np.abs(final_parameters(still).mean(axis=0) - mean).mean()
    assert drift < 0.01 * np.abs(mean).mean()
