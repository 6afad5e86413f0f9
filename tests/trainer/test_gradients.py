"""Gradients of many nodes: together, one after the other, and of separate models."""

import copy

import numpy as np
import pytest
import torch
from problems import CLASSES, FEATURES, blobs, image_blobs, linear, settings
from torch import nn
from torch.nn.functional import cross_entropy
from workers import final_parameters

from topokit.designer import design
from topokit.errors import InputError
from topokit_trainer import Trainer
from topokit_trainer.gradients import LoopGradients, VmapGradients, choose_engine
from topokit_trainer.models import cnn, mlp
from topokit_trainer.nodes import Nodes
from topokit_trainer.stacks import NodeStacks, model_traits

ROWS = 3


class Partial(nn.Module):
    """A frozen layer, a parameter that the loss does not depend on, and a buffer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(FEATURES, 6)
        self.first.weight.requires_grad_(False)
        self.second = nn.Linear(6, CLASSES)
        self.unused = nn.Parameter(torch.ones(4))
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, x):
        return self.second(torch.relu(self.first(x))) * self.scale


class InList(nn.Module):
    """Takes its parameter from a plain list, where torch.func does not look for it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(FEATURES, CLASSES))
        self.weights = [self.weight]

    def forward(self, x):
        return x @ self.weights[0]


class Branching(nn.Module):
    """Control flow that depends on the data."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(FEATURES, CLASSES)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else self.layer(-x)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = nn.GRU(FEATURES, 4, batch_first=True)
        self.out = nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.out(self.cells(x.unsqueeze(1).expand(-1, 3, -1))[0][:, -1])


def dropout():
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, CLASSES))


def batch_norm():
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))


MODELS = {
    "mlp": (lambda: mlp((FEATURES,), CLASSES, hidden=7), (FEATURES,)),
    "cnn": (lambda: cnn((1, 8, 8), CLASSES, width=4), (1, 8, 8)),
    "partial": (Partial, (FEATURES,)),
}


def problem(make, shape=(FEATURES,), rows=ROWS, dtype=torch.float64):
    """Stacks of unlike rows, and a batch for each of them."""
    torch.manual_seed(1)
    model = make().to(dtype)
    stacks = NodeStacks(model, rows, [[name for name, p in model.named_parameters() if p.requires_grad]])
    for stack in stacks.stacks:
        stack.data.add_(0.1 * torch.randn_like(stack))
    batch = torch.randn((rows, 6, *shape), dtype=dtype), torch.randint(CLASSES, (rows, 6))
    return stacks, batch


def separate_models(stacks):
    models = []
    for row in range(stacks.rows):
        model = copy.deepcopy(stacks.template)
        for name, view in stacks.views(stacks.stacks).items():
            dict(model.named_parameters())[name].data.copy_(view[row])
        models.append(model)
    return models


def choose(wanted, stacks, batch, loss=cross_entropy, **options):
    traits = model_traits(stacks.template, batch[0][0])
    return choose_engine(wanted, stacks, loss, traits, batch, seed=0, keys=lambda: range(100), **options)


@pytest.mark.parametrize("engine", [LoopGradients, VmapGradients])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_separate_models(name, engine):
    stacks, (x, y) = problem(*MODELS[name])
    stacks.gradients[0].fill_(7.0)  # what was there before does not matter
    losses = engine(stacks, cross_entropy)(x, y, 0)
    for row, model in enumerate(separate_models(stacks)):
        loss = cross_entropy(model(x[row]), y[row])
        loss.backward()
        assert losses[row].item() == pytest.approx(loss.item(), abs=1e-12)
        for parameter, view in stacks.views(stacks.gradients).items():
            expected = dict(model.named_parameters())[parameter].grad
            expected = torch.zeros_like(view[row]) if expected is None else expected
            assert (view[row] - expected).abs().max() < 1e-12
    assert not losses.requires_grad
    assert all(p.grad is None for p in stacks.template.parameters())


@pytest.mark.parametrize("engine", [LoopGradients, VmapGradients])
@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_of_separate_models(name, engine):
    stacks, (x, _) = problem(*MODELS[name])
    outputs = engine(stacks, cross_entropy).forward(x[0])
    for row, model in enumerate(separate_models(stacks)):
        assert (outputs[row] - model.eval()(x[0])).abs().max() < 1e-12
    assert not outputs.requires_grad


@pytest.mark.parametrize("name", MODELS)
def test_whole_runs_agree(name):
    make, shape = MODELS[name]
    data = blobs() if shape == (FEATURES,) else image_blobs()
    finals = []
    for gradients in ("vmap", "loop"):
        config = settings(steps=10, gradients=gradients, momentum=0.9, weight_decay=0.01, clip=0.5)
        trainer = Trainer(design("ring", 4), config, model=make, data=data)
        frozen = {n: p.clone() for n, p in trainer.nodes.stacks.template.named_parameters() if not p.requires_grad}
        result = trainer.run()
        finals.append(final_parameters(trainer))
        assert result.engine == f"{gradients} (asked for)"
        for n, before in frozen.items():
            assert torch.equal(dict(result.model.named_parameters())[n], before)
    assert np.abs(finals[0] - finals[0][0]).max() > 1e-4
    assert np.abs(finals[0] - finals[1]).max() < 1e-12


# The choice


@pytest.mark.parametrize("name", MODELS)
def test_auto_takes_the_faster_and_says_so(name, monkeypatch):
    stacks, batch = problem(*MODELS[name])
    for faster in ("vmap", "loop"):
        seconds = {"vmap": 0.002, "loop": 0.002} | {faster: 0.001}
        monkeypatch.setattr("topokit_trainer.gradients._measure", lambda *_, given=seconds: given)
        before = [s.detach().clone() for s in stacks.stacks]
        engine, why = choose("auto", stacks, batch)
        times = {"vmap": 2.0, "loop": 2.0} | {faster: 1.0}
        assert engine.name == faster
        assert why == f"measured: vmap {times['vmap']} ms, loop {times['loop']} ms a step"
        assert all(torch.equal(a, b) for a, b in zip(before, stacks.stacks, strict=True))
        assert not any(g.any() for g in stacks.gradients)


def test_the_time_of_both_engines_is_measured():
    stacks, batch = problem(*MODELS["mlp"])
    engine, why = choose("auto", stacks, batch)
    assert engine.name in ("vmap", "loop")
    assert why.startswith("measured: vmap ")
    assert not any(g.any() for g in stacks.gradients)


def test_a_single_node_is_looped():
    stacks, batch = problem(*MODELS["mlp"], rows=1)
    engine, why = choose("auto", stacks, batch)
    assert (engine.name, why) == ("loop", "one node on this rank")
    assert choose("vmap", stacks, batch)[0].name == "vmap"


def loss_of_a_number(outputs, targets):
    return cross_entropy(outputs, targets) * (1.0 if outputs.sum().item() > 0 else 2.0)


@pytest.mark.parametrize(
    ("make", "loss", "reason"),
    [
        (dropout, cross_entropy, "its forward pass draws random numbers"),
        (batch_norm, cross_entropy, r"its forward pass changes the buffer 1\.running_mean"),
        (Branching, cross_entropy, "vmap does not support it"),
        (Recurrent, cross_entropy, "vmap does not support it"),
        (linear, loss_of_a_number, "vmap does not support it"),
        (InList, cross_entropy, "vmap gives other gradients than the model alone"),
    ],
)
def test_what_vmap_cannot_carry_is_looped_or_refused_with_a_reason(make, loss, reason):
    stacks, batch = problem(make)
    engine, why = choose("auto", stacks, batch, loss)
    assert engine.name == "loop"
    with pytest.raises(InputError, match=f"--gradients vmap cannot be had for this model: {reason}"):
        choose("vmap", stacks, batch, loss)
    assert why.startswith(reason.replace("\\", ""))
    assert choose("loop", stacks, batch, loss)[1] == "asked for"


@pytest.mark.parametrize("make", [Branching, Recurrent, InList])
def test_what_is_looped_has_the_gradients_of_separate_models(make):
    stacks, (x, y) = problem(make)
    engine, _ = choose("auto", stacks, (x, y))
    engine(x, y, 0)
    for row, model in enumerate(separate_models(stacks)):
        if make is InList:
            model.weights = [model.weight]
        cross_entropy(model(x[row]), y[row]).backward()
        for name, p in model.named_parameters():
            assert p.grad.any()
            assert (stacks.views(stacks.gradients)[name][row] - p.grad).abs().max() < 1e-12


def test_batch_norm_without_running_statistics_needs_no_loop():
    stacks, batch = problem(lambda: nn.Sequential(nn.Linear(FEATURES, 3), nn.BatchNorm1d(3, track_running_stats=False)))
    assert choose("vmap", stacks, batch)[0].name == "vmap"


def test_an_optimizer_with_closures_is_looped():
    stacks, batch = problem(*MODELS["mlp"])
    engine, why = choose("auto", stacks, batch, closures=True)
    assert (engine.name, why) == ("loop", "its optimizer evaluates the loss itself, node by node")
    with pytest.raises(InputError, match="its optimizer evaluates the loss itself"):
        choose("vmap", stacks, batch, closures=True)


def test_the_choice_is_recorded():
    config = settings(steps=1, gradients="auto")
    lines = []
    trainer = Trainer(design("ring", 4), config, model=dropout, data=blobs(), report=lines.append)
    result = trainer.run()
    reason = "loop (its forward pass draws random numbers, which must be each node's own)"
    assert result.engine == reason
    assert f"gradients: {reason}" in lines
    assert trainer.progress.engine == "loop"


# Models with a state or with random numbers of their own


def test_batch_norm_keeps_the_statistics_of_separate_models():
    config = settings(steps=12, gradients="auto", lr=0.05, perturb=0.1)
    lines = []
    trainer = Trainer(design("ring", 4), config, model=batch_norm, data=blobs(), report=lines.append)
    models = separate_models(trainer.nodes.stacks)
    W = torch.from_numpy(trainer.schedule.round(0).to_dense())
    result = trainer.run()
    for step in range(config.steps):
        inputs, targets = trainer.nodes.batches(step)
        for model, x, y in zip(models, inputs, targets, strict=True):
            model.zero_grad()
            cross_entropy(model(x), y).backward()
            for p in model.parameters():
                p.data -= config.lr * p.grad
        for same in zip(*(model.parameters() for model in models), strict=True):
            mixed = torch.einsum("ij,j...->i...", W, torch.stack([p.data for p in same]))
            for p, value in zip(same, mixed, strict=True):
                p.data.copy_(value)
    for row, model in enumerate(models):
        for name, buffer in model.named_buffers():
            assert torch.allclose(trainer.nodes.stacks.buffers[name][row], buffer, rtol=0, atol=1e-12)
        for name, p in model.named_parameters():
            assert (trainer.nodes.stacks.views(trainer.nodes.stacks.stacks)[name][row] - p).abs().max() < 1e-12
    average = dict(result.model.named_buffers())
    for name in ("1.running_mean", "1.running_var"):
        mean = torch.stack([dict(m.named_buffers())[name] for m in models]).mean(0)
        assert torch.allclose(average[name], mean, rtol=0, atol=1e-12)
    assert average["1.num_batches_tracked"] == 12
    assert any("1.running_mean" in line and "mean" in line for line in lines)


def nodes_of(trainer, local):
    """The nodes of one rank among several: their rows alone."""
    whole = trainer.nodes
    stacks = NodeStacks(whole.stacks.template, len(local), [[slot.name for slot in whole.stacks.slots]])
    stacks.stacks[0].data.copy_(whole.stacks.stacks[0][local.start : local.stop])
    config = trainer.config
    traits = model_traits(stacks.template, whole.batches(0)[0][0])
    batches = type(whole.batches)(
        trainer.data.train, trainer.schedule.nodes, local, config, torch.device("cpu"), torch.float64
    )
    engine, _ = choose_engine("auto", stacks, cross_entropy, traits, batches(0), seed=config.seed, keys=lambda: local)
    return Nodes(stacks, engine, whole.optimizer, batches, trainer.schedule, trainer.world)


def test_dropout_is_the_same_wherever_a_node_lives():
    trainer = Trainer(design("ring", 4), settings(perturb=0.1), model=dropout, data=blobs())
    parts = [nodes_of(trainer, local) for local in (range(1), range(1, 3), range(3, 4))]
    seen = []
    for step in (3, 0, 3, 17):
        torch.rand(7)  # what else draws random numbers does not matter
        trainer.nodes.compute_gradients(step)
        for nodes in parts:
            nodes.compute_gradients(step)
        together = torch.cat([nodes.stacks.gradients[0] for nodes in parts])
        assert torch.equal(trainer.nodes.stacks.gradients[0], together)
        seen.append(together)
    assert torch.equal(seen[0], seen[2])


def test_dropout_differs_between_nodes_and_steps():
    trainer = Trainer(design("ring", 4), settings(), model=dropout, data=blobs())
    inputs = torch.ones(4, 4, FEATURES, dtype=torch.float64)
    targets = torch.zeros(4, 4, dtype=torch.int64)
    losses = torch.stack([trainer.nodes.engine(inputs, targets, step) for step in range(3)])
    assert losses.unique().numel() == 12
    torch.manual_seed(5)
    state = torch.get_rng_state()
    trainer.nodes.engine(inputs, targets, 0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_mode_in_which_a_model_is_made_does_not_matter(mode):
    made = dropout if mode == "train" else lambda: dropout().eval()
    trainer = Trainer(design("ring", 4), settings(steps=3), model=made, data=blobs())
    assert all(module.training for module in trainer.nodes.stacks.template.modules())
    usual = Trainer(design("ring", 4), settings(steps=3), model=dropout, data=blobs())
    trainer.run()
    usual.run()
    assert np.array_equal(final_parameters(trainer), final_parameters(usual))
