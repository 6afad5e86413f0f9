"""Any torch optimizer: every node gets what an optimizer of its own would give it."""

import copy

import numpy as np
import pytest
import torch
from problems import CLASSES, FEATURES, blobs, settings
from torch import nn, optim
from torch.nn.functional import cross_entropy
from torch.optim import lr_scheduler
from workers import final_parameters

from topokit.designer import design
from topokit.errors import InputError
from topokit_trainer import Trainer
from topokit_trainer.optimizers import PerNodeOptimizer, StackedOptimizer, group_names, is_elementwise
from topokit_trainer.stacks import NodeStacks

NODES, STEPS = 4, 5


def model():
    return nn.Sequential(nn.Linear(FEATURES, 6), nn.Tanh(), nn.Linear(6, CLASSES))


def without_biases():
    return nn.Sequential(nn.Linear(FEATURES, 6, bias=False), nn.Tanh(), nn.Linear(6, CLASSES, bias=False))


class RowCoupled(optim.Optimizer):
    """SGD by the norm of a whole parameter (LARS without its details)."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.add_(p.grad / p.grad.norm(), alpha=-group["lr"])


def decay_but_biases(m):
    weights = [p for p in m.parameters() if p.ndim > 1]
    biases = [p for p in m.parameters() if p.ndim == 1]
    groups = [{"params": weights, "weight_decay": 0.1}, {"params": biases, "weight_decay": 0.0, "lr": 0.02}]
    return optim.AdamW(groups, lr=0.01)


ELEMENTWISE = {
    "sgd": lambda m: optim.SGD(m.parameters(), lr=0.1),
    "momentum": lambda m: optim.SGD(m.parameters(), lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01),
    "nesterov": lambda m: optim.SGD(m.parameters(), lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda m: optim.Adam(m.parameters(), lr=0.01),
    "amsgrad": lambda m: optim.Adam(m.parameters(), lr=0.01, amsgrad=True),
    "adamw": lambda m: optim.AdamW(m.parameters(), lr=0.01, weight_decay=0.1),
    "rmsprop": lambda m: optim.RMSprop(m.parameters(), lr=0.01, momentum=0.5, centered=True),
    "adamax": lambda m: optim.Adamax(m.parameters(), lr=0.01),
    "nadam": lambda m: optim.NAdam(m.parameters(), lr=0.01),
    "radam": lambda m: optim.RAdam(m.parameters(), lr=0.01),
    "rprop": lambda m: optim.Rprop(m.parameters(), lr=0.01),
    "adadelta": lambda m: optim.Adadelta(m.parameters()),
    "groups": decay_but_biases,
    "named": lambda m: optim.SGD(m.named_parameters(), lr=0.1, momentum=0.9),
    "not foreach": lambda m: optim.Adam(m.parameters(), lr=0.01, foreach=False),
}
PER_NODE = {
    "adagrad": lambda m: optim.Adagrad(m.parameters(), lr=0.1),  # makes its state when it is made
    "coupled": lambda m: RowCoupled(m.parameters()),
    "lbfgs": lambda m: optim.LBFGS(m.parameters(), lr=0.1, max_iter=4),
}
if hasattr(optim, "Adafactor"):
    PER_NODE["adafactor"] = lambda m: optim.Adafactor(m.parameters(), lr=0.05)
if hasattr(optim, "Muon"):
    PER_NODE["muon"] = lambda m: optim.Muon(m.parameters(), lr=0.01)
ALL = ELEMENTWISE | PER_NODE
# Relative. Differences of gradients, by which LBFGS divides, enlarge rounding errors; Muon computes in bfloat16.
TOLERANCE = {"lbfgs": 1e-5, "muon": 1e-3}


def model_for(name):
    return without_biases if name == "muon" else model


def fresh_stacks(name, dtype=torch.float64):
    template = model_for(name)().to(dtype)
    return NodeStacks(template, 1, group_names(template, ALL[name](template)))


@pytest.mark.parametrize("name", ALL)
def test_it_is_found_out_which_optimizers_are_elementwise(name):
    stacks = fresh_stacks(name)
    before, state = stacks.stacks[0].detach().clone(), torch.get_rng_state()
    assert is_elementwise(stacks, ALL[name]) is (name in ELEMENTWISE)
    assert torch.equal(stacks.stacks[0].detach(), before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "lbfgs"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_type_of_the_parameters_does_not_matter_for_that(name, dtype):
    assert is_elementwise(fresh_stacks(name, dtype), ALL[name]) is (name in ELEMENTWISE)


def by_hand(trainer, factory, start, scheduler=None):
    """Separate models with separate optimizers, mixed by a product with W."""
    models = [copy.deepcopy(trainer.nodes.stacks.template) for _ in range(NODES)]
    order = [slot.name for slot in trainer.nodes.stacks.slots]

    def tensors(m):
        return [dict(m.named_parameters())[name] for name in order]

    def write(m, values):
        for p, part in zip(tensors(m), values.split([p.numel() for p in tensors(m)]), strict=True):
            p.data.copy_(part.view(p.shape))

    for m, values in zip(models, torch.from_numpy(start), strict=True):
        write(m, values)
    optimizers = [factory(m) for m in models]
    schedulers = [scheduler(o) for o in optimizers] if scheduler else []
    W = torch.from_numpy(trainer.schedule.round(0).to_dense())
    clip = trainer.config.clip
    for step in range(trainer.config.steps):
        inputs, targets = trainer.nodes.batches(step)
        for m, o, x, y in zip(models, optimizers, inputs, targets, strict=True):

            def closure(m=m, o=o, x=x, y=y):
                o.zero_grad()
                loss = cross_entropy(m(x), y)
                loss.backward()
                if clip:
                    nn.utils.clip_grad_norm_(m.parameters(), clip)
                return loss

            if not isinstance(o, optim.LBFGS):
                closure()
                o.step()
            else:
                o.step(closure)
        for s in schedulers:
            s.step()
        X = W @ torch.stack([torch.cat([p.detach().ravel() for p in tensors(m)]) for m in models])
        for m, values in zip(models, X, strict=True):
            write(m, values)
    return X.numpy()


@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("name", ALL)
def test_runs_are_those_of_separate_models(name, clip):
    config = settings(steps=STEPS, perturb=0.1, clip=clip)
    trainer = Trainer(design("ring", NODES), config, model=model_for(name), data=blobs(), optimizer=ALL[name])
    assert isinstance(trainer.nodes.optimizer, StackedOptimizer if name in ELEMENTWISE else PerNodeOptimizer)
    start = final_parameters(trainer).copy()
    result = trainer.run()
    found = final_parameters(trainer)
    assert np.abs(found - start).max() > 1e-3
    expected = by_hand(trainer, ALL[name], start)
    assert np.abs(found - expected).max() < TOLERANCE.get(name, 1e-12) * max(1.0, np.abs(expected).max())
    assert result.final["train_loss"] > 0


def test_lbfgs_trains():
    config = settings(steps=2, batch_size=72, gradients="auto")
    trainer = Trainer(
        design("one-peer-exponential", 4),
        config,
        model=model,
        data=blobs(400),
        optimizer=lambda m: optim.LBFGS(m.parameters(), lr=0.5, max_iter=4, line_search_fn="strong_wolfe"),
    )
    metrics = trainer.run().metrics
    assert trainer.engine_reason.startswith("loop (its optimizer evaluates the loss itself")
    assert metrics[-1]["loss"] < 0.8 * metrics[0]["loss"]
    assert metrics[-1]["accuracy"] > metrics[0]["accuracy"] + 0.2


def test_parameters_outside_the_optimizer_stay_as_they_are():
    config = settings(steps=STEPS)
    trainer = Trainer(
        design("ring", NODES), config, model=model, data=blobs(), optimizer=lambda m: optim.SGD(m[2].parameters(), 0.1)
    )
    assert [slot.name for slot in trainer.nodes.stacks.slots] == ["2.weight", "2.bias"]
    before = trainer.nodes.stacks.template[0].weight.detach().clone()
    result = trainer.run()
    assert torch.equal(result.model[0].weight, before)
    assert result.final["bytes_sent_per_node"] == 2 * STEPS * 8 * (6 * CLASSES + CLASSES)


class Replacing(optim.Optimizer):
    """SGD that gives every parameter new memory."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data = p - group["lr"] * p.grad


def test_an_optimizer_that_replaces_parameters_is_refused():
    with pytest.raises(InputError, match="Replacing gives parameters new memory"):
        Trainer(
            design("ring", NODES),
            settings(),
            model=model,
            data=blobs(),
            optimizer=lambda m: Replacing(m.parameters()),
        )


def test_an_optimizer_of_another_model_is_refused():
    other = model()
    with pytest.raises(InputError, match="parameters that are not the model's; build it from the model it is given"):
        Trainer(
            design("ring", NODES),
            settings(),
            model=model,
            data=blobs(),
            optimizer=lambda m: optim.SGD(other.parameters(), 0.1),
        )


# Learning-rate schedules


SCHEDULES = {
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS),
    "step": lambda o: lr_scheduler.StepLR(o, step_size=2, gamma=0.5),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.5, total_steps=STEPS + 1, cycle_momentum=False),
    "warm-up": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=2), lr_scheduler.ConstantLR(o, 1.0)], milestones=[2]
    ),
}


@pytest.mark.parametrize("optimizer", ["momentum", "groups", "adagrad", "lbfgs"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_learning_rate_schedules(name, optimizer):
    config = settings(steps=STEPS, eval_every=1)
    trainer = Trainer(
        design("ring", NODES),
        config,
        model=model,
        data=blobs(),
        optimizer=ALL[optimizer],
        scheduler=SCHEDULES[name],
    )
    start = final_parameters(trainer).copy()
    metrics = trainer.run().metrics
    alone = ALL[optimizer](model())
    scheduler = SCHEDULES[name](alone)
    rates = [alone.param_groups[0]["lr"]]
    for _ in range(STEPS):
        alone.step(lambda: torch.zeros(()))
        scheduler.step()
        rates.append(alone.param_groups[0]["lr"])
    assert [row["lr"] for row in metrics] == pytest.approx(rates, rel=1e-12)
    expected = by_hand(trainer, ALL[optimizer], start, SCHEDULES[name])
    difference = np.abs(final_parameters(trainer) - expected).max()
    assert difference < TOLERANCE.get(optimizer, 1e-12) * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("constant", lambda step: 1.0),
        ("cosine", lambda step: (1 + np.cos(np.pi * step / 20)) / 2),
        ("step", lambda step: 1.0 if step < 10 else 0.1 if step < 15 else 0.01),
    ],
)
def test_schedules_of_the_configuration(name, shape):
    config = settings(steps=20, lr=0.3, lr_schedule=name, eval_every=1)
    metrics = Trainer(design("ring", NODES), config, model=model, data=blobs()).run().metrics
    assert [row["lr"] for row in metrics] == pytest.approx([0.3 * shape(step) for step in range(21)], abs=1e-12)


def test_a_schedule_that_wants_a_measured_value_is_refused():
    for optimizer in ("sgd", "lbfgs"):
        with pytest.raises(InputError, match=r"ReduceLROnPlateau wants a value \(metrics\) at every step"):
            Trainer(
                design("ring", NODES),
                settings(),
                model=model,
                data=blobs(),
                optimizer=ALL[optimizer],
                scheduler=lr_scheduler.ReduceLROnPlateau,
            )
