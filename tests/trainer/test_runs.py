"""A run as a whole: decided by its seed alone, and refused in words where its parts do not fit."""

import sys
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from problems import CLASSES, FEATURES, blobs, linear, settings
from torch import nn
from workers import final_parameters

from topokit.designer import design
from topokit.errors import InputError
from topokit_trainer import TrainConfig, Trainer, train
from topokit_trainer.world import World, open_world

RING = design("ring", 4)


def without_time(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


@pytest.mark.parametrize("changes", [{}, {"partition": "dirichlet"}, {"model": "cnn"}, {"gradients": "vmap"}])
def test_the_seed_decides_the_run(changes):
    runs = []
    for seed, disturbance in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(disturbance)  # the state of the global generators must not matter
        np.random.seed(disturbance)  # noqa: NPY002
        state = torch.get_rng_state()
        config = TrainConfig(
            **({"steps": 5, "device": "cpu", "gradients": "loop", "perturb": 0.01} | changes), seed=seed
        )
        trainer = Trainer(RING, config)
        metrics = without_time(trainer.run().metrics)
        assert torch.equal(torch.get_rng_state(), state)
        runs.append((final_parameters(trainer), metrics))
    assert np.array_equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert np.abs(runs[0][0] - runs[2][0]).max() > 1e-3


def test_nodes_start_alike_unless_perturbed():
    trainer = Trainer(RING, settings(), model=linear, data=blobs())
    start = final_parameters(trainer)
    assert np.array_equal(start, np.tile(start[0], (4, 1)))
    wide = Trainer(
        RING,
        settings(perturb=0.3),
        model=lambda: nn.Linear(FEATURES, CLASSES * 400),
        data=blobs(),
        loss=lambda o, y: o.mean(),
    )
    centre = torch.cat([p.detach().ravel() for p in wide.nodes.stacks.template.parameters()]).numpy()
    noise = final_parameters(wide) - centre
    assert noise.std(axis=1) == pytest.approx([0.3] * 4, rel=0.05)
    assert np.abs(np.corrcoef(noise) - np.eye(4)).max() < 0.1


class Share(World):
    """One rank of several, without the others."""

    def nodes_of(self, rank, nodes):
        return range(2, 4)


def test_noise_of_a_node_is_the_same_wherever_it_lives():
    everywhere = Trainer(RING, settings(perturb=0.3), model=linear, data=blobs())
    half = Trainer(RING, settings(perturb=0.3), Share(), model=linear, data=blobs())
    assert np.array_equal(final_parameters(half), final_parameters(everywhere)[2:])


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("algorithm", ["dsgd", "allreduce"])
def test_built_in_models_learn_digits(model, algorithm):
    steps = 60
    config = TrainConfig(
        steps=steps,
        model=model,
        algorithm=algorithm,
        lr=0.2,
        momentum=0.8,
        batch_size=16,
        eval_every=steps,
        device="cpu",
    )
    metrics = train(design("one-peer-exponential", 4), config).metrics
    assert metrics[0]["accuracy"] < 0.3
    assert metrics[-1]["accuracy"] > 0.85
    assert metrics[-1]["node_accuracy_worst"] > 0.8


def test_progress_is_reported_line_by_line():
    lines = []
    train(RING, settings(steps=4, eval_every=2), model=linear, data=blobs(), report=lines.append)
    assert lines[0] == "gradients: loop (asked for)"
    assert [line.split("  train")[0] for line in lines[1:]] == ["step      0", "step      2", "step      4"]


@pytest.mark.parametrize(
    ("changes", "parts", "message"),
    [
        ({}, {"model": lambda: "mlp"}, "the model factory gave str, not a torch module"),
        ({"model": "cnn"}, {}, r"--model cnn needs images \(channels, height, width\); the data has shape \(5,\)"),
        ({"model": "no_such_package.models:vit"}, {}, "--model no_such_package.models:vit cannot be imported"),
        ({}, {"model": nn.ReLU}, "the model has no parameters to train"),
        ({"batch_size": 64}, {}, "each of 4 nodes has 32 of 128 samples, fewer than --batch-size 64"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, parts, message):
    with pytest.raises(InputError, match=message):
        Trainer(RING, settings(**changes), data=blobs(), **parts)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "--device 'gpu' is no device; use cpu, cuda or cuda:N"),
        ("meta", "--device meta is not supported; use cpu or cuda"),
        pytest.param(
            "cuda",
            "--device cuda: this machine or this PyTorch has no CUDA; use cpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
    ],
)
def test_devices_that_are_not_there_are_refused(device, message):
    with pytest.raises(InputError, match=message), open_world(settings(device=device)):
        pass


def test_a_launcher_is_not_needed(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    with open_world(settings()) as world:
        assert (world.rank, world.size, world.backend) == (0, 1, None)
        assert not torch.distributed.is_initialized()
        assert world.gather(3) == [3]
        with pytest.raises(ZeroDivisionError), world.agreed():
            _ = 1 / 0


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own_parts.py").write_text(
        "import torch\n"
        "def pair():\n"
        "    data = torch.utils.data.TensorDataset(torch.randn(80, 5), torch.randint(0, 3, (80,)))\n"
        "    return data, data\n"
        "def single():\n"
        "    return pair()[0]\n"
        "def fitting():\n"
        "    return torch.nn.Linear(5, 3)\n"
        "def other():\n"
        "    return torch.nn.Linear(7, 3)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_parts", raising=False)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])


def test_own_parts_are_found_in_the_current_folder(own_module):
    config = TrainConfig(steps=2, batch_size=4, data="own_parts:pair", model="own_parts:fitting", device="cpu")
    assert train(RING, config).final["step"] == 2


@pytest.mark.parametrize(
    ("data", "model", "message"),
    [
        ("single", "fitting", r"--data own_parts:single must return \(training set, test set\), not TensorDataset"),
        ("pair", "other", r"the model cannot take a batch of shape \(4, 5\): mat1 and mat2"),
    ],
)
def test_own_parts_that_do_not_fit_are_explained(own_module, data, model, message):
    config = TrainConfig(batch_size=4, data=f"own_parts:{data}", model=f"own_parts:{model}", device="cpu")
    with pytest.raises(InputError, match=message):
        Trainer(RING, config)


def test_a_diverged_run_says_so():
    lines = []
    config = settings(steps=20, eval_every=10, lr=1e308)
    train(RING, config, data=blobs(), model=linear, report=lines.append)
    assert sum("has diverged" in line for line in lines) == 1


def test_a_finished_run_says_so(tmp_path):
    config = settings(steps=4, out=tmp_path / "run", checkpoint_every=2)
    train(RING, config, data=blobs(), model=linear)
    lines = []
    train(RING, config, data=blobs(), model=linear, report=lines.append)
    assert "the run is finished already, with 4 steps" in lines


def test_a_schedule_may_be_given_as_a_path(tmp_path):
    design("ring", 4).save(tmp_path / "ring.json")
    config = settings(steps=2)
    assert train(tmp_path / "ring.json", config).final == {**train(design("ring", 4), config).final, "seconds": ANY}
