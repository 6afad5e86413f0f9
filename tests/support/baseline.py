"""Models on which the all-reduce baseline is tried, and what its ranks do; here, so that ranks can import them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from breaking import break_off
from problems import CLASSES, FEATURES, blobs, linear
from torch import Tensor, nn, optim
from workers import final_parameters

from topokit.schedule import Schedule
from topokit_trainer import TrainConfig, Trainer
from topokit_trainer.algorithms.allreduce import AllReduce
from topokit_trainer.world import open_world

__all__ = ["MODELS", "OPTIMIZERS", "reduce_all"]


class Unused(nn.Module):
    """Has a layer that no sample passes, and one that is tied to another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.spare = nn.Linear(FEATURES, FEATURES), nn.Linear(4, 4)
        self.second = nn.Linear(FEATURES, FEATURES)
        self.second.weight = self.first.weight
        self.scale = nn.Parameter(torch.ones(CLASSES))
        self.last = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Pass the others."""
        scores: Tensor = self.last(torch.tanh(self.second(torch.tanh(self.first(x)))))
        return scores * self.scale


class Branching(nn.Module):
    """Takes another way from batch to batch, so that parameters go unused on some ranks in some steps."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(FEATURES, CLASSES), nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Look at the batch."""
        way = self.left if x.sum() > 0 else self.right
        scores: Tensor = way(x)
        return scores


class Chance(nn.Module):
    """Leaves its middle layer out at random while it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = (nn.Linear(FEATURES, d) for d in (FEATURES, FEATURES, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """Draw whether to pass the middle layer."""
        x = torch.tanh(self.first(x))
        passes = not self.training or torch.rand(()) > 0.5
        scores: Tensor = self.last(torch.tanh(self.middle(x)) if passes else x)
        return scores


class Embedded(nn.Module):
    """Looks up rows of a table whose gradient is sparse."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.Embedding(4, 3, sparse=True), nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Take signs of the features for places in the table."""
        scores: Tensor = self.last(self.table((x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()))
        return scores


def network(*between: nn.Module) -> nn.Module:
    """Two layers with something between them."""
    return nn.Sequential(nn.Linear(FEATURES, 6), *between, nn.ReLU(), nn.Linear(6, CLASSES))


def frozen() -> nn.Module:
    """A network whose first layer is not trained."""
    model = network()
    model[0].weight.requires_grad_(False)  # type: ignore[index]
    return model


def last_layer(model: nn.Module) -> optim.Optimizer:
    """Train the last layer only, though the first would have gradients."""
    return optim.SGD(list(model.parameters())[-2:], lr=0.1, momentum=0.9)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "linear": linear,
    "adam": network,
    "dropout": lambda: network(nn.Dropout(0.3)),
    "batch norm": lambda: network(nn.BatchNorm1d(6)),
    "unused": Unused,
    "branching": Branching,
    "chance": Chance,
    "frozen": frozen,
    "last layer": network,
    "sparse": Embedded,
}
OPTIMIZERS = {"last layer": last_layer}


def reduce_all(runs: list[tuple[str, Schedule, TrainConfig, int | None]]) -> list[Any]:
    """Train models by name in one world; give parameters, last evaluation, buffers, and how gradients were averaged.

    A run for which there is a number breaks off before the step of that number, and gives nothing.
    """
    results = []
    with open_world(runs[0][2]) as world:
        for name, schedule, config, killed_before in runs:
            parts = {"model": MODELS[name], "optimizer": OPTIMIZERS.get(name), "data": blobs()}
            trainer = Trainer(schedule, config, world, **parts)
            if killed_before is not None:
                break_off(trainer, killed_before)
                continue
            rows = trainer.run().metrics
            assert isinstance(trainer.algorithm, AllReduce)
            reduced = trainer.algorithm.reduced
            how = None if reduced is None else reduced.reducing.find_unused_parameters
            buffers = {key: value.numpy() for key, value in trainer.nodes.stacks.buffers.items()}
            results.append((final_parameters(trainer), rows[-1:], buffers, how, in_place(trainer)))
    return results


def in_place(trainer: Trainer) -> bool:
    """Whether the gradients of the modules still are views of the stacks."""
    stacks = trainer.nodes.stacks
    return all(
        module.get_parameter(name).grad.data_ptr() == rows[row].data_ptr()  # type: ignore[union-attr]
        for name, rows in stacks.views(stacks.gradients).items()
        for row, module in enumerate(stacks.modules)
    )
