"""How good the nodes are: the averaged model, and each node's own, on the test set."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from topokit_trainer.consensus import consensus_distance, node_mean
from topokit_trainer.gradients import GradientEngine
from topokit_trainer.stacks import LossFunction, NodeStacks
from topokit_trainer.world import World

__all__ = ["Averages", "Evaluation", "Evaluator"]

Averages = dict[str, Tensor]


@dataclass(frozen=True)
class Evaluation:
    """Quality of the nodes at one moment.

    Attributes
    ----------
    loss, accuracy : float
        Of the averaged model, the (weighted) mean of the nodes' parameters. Accuracies are NaN without classes.
    node_loss_mean, node_loss_worst, node_accuracy_mean, node_accuracy_worst : float
        Over the nodes' own models.
    consensus_distance : float
        Root mean square distance of the nodes' parameters from the averaged model.
    """

    loss: float
    accuracy: float
    node_loss_mean: float
    node_loss_worst: float
    node_accuracy_mean: float
    node_accuracy_worst: float
    consensus_distance: float


class Evaluator:
    """Evaluates the nodes on a test set.

    Parameters
    ----------
    stacks, engine, loss, world
        As in training.
    dataset : Dataset
        The test set, map-style.
    dtype : torch.dtype
        Number type of the inputs.
    chunk : int
        Samples evaluated at once.
    """

    def __init__(
        self,
        stacks: NodeStacks,
        engine: GradientEngine,
        loss: LossFunction,
        dataset: Dataset[Any],
        world: World,
        dtype: torch.dtype,
        chunk: int = 1024,
    ) -> None:
        self.stacks, self.engine, self.loss = stacks, engine, loss
        self.dataset, self.world, self.dtype, self.chunk = dataset, world, dtype, chunk
        self.average = copy.deepcopy(stacks.template)

    @torch.no_grad()
    def __call__(self, averages: Averages) -> dict[str, Evaluation]:
        """Evaluate each averaged model and the nodes that it is the mean of; all ranks get the result.

        Parameters
        ----------
        averages : dict of str to Tensor of float64, shape (rows,)
            For each model, the shares of the local nodes in it. Where there are several, a node belongs to those that
            it has a share in; a single one is that of all nodes.
        """
        own = self.measure(self.engine.forward, rows=self.stacks.rows)
        found = {}
        for name, weights in averages.items():
            # In a single model all have a part, also those without a share (all but the root of a push-pull tree).
            members = weights != 0 if len(averages) > 1 else torch.ones_like(weights, dtype=torch.bool)
            found[name] = self._evaluate(weights, members, own)
        return found

    def _evaluate(self, weights: Tensor, members: Tensor, own: Tensor) -> Evaluation:
        means = self.load_average(weights)
        self.average.eval()
        averaged = self.measure(lambda x: self.average(x).unsqueeze(0), rows=1)
        every = torch.cat(self.world.gather(own[members.cpu()]))
        return Evaluation(
            loss=float(averaged[0, 0]),
            accuracy=float(averaged[0, 1]),
            node_loss_mean=float(every[:, 0].mean()),
            node_loss_worst=float(every[:, 0].max()),
            node_accuracy_mean=float(every[:, 1].mean()),
            node_accuracy_worst=float(every[:, 1].min()),
            consensus_distance=consensus_distance(self.stacks.stacks, members.double() / len(every), self.world, means),
        )

    def load_average(self, weights: Tensor) -> list[Tensor]:
        """Put the weighted mean of all nodes into the averaged model; give the means of the stacks.

        Changing buffers (BatchNorm's statistics) are averaged as well; of counters, which cannot be, the largest
        is taken.
        """
        means = node_mean(self.stacks.stacks, weights, self.world)
        buffers = {}
        for name, every in self.stacks.buffers.items():
            stack = every[: self.stacks.rows]
            if stack.is_floating_point():
                flat = stack.reshape(len(stack), stack.shape[1:].numel())
                mean = node_mean([flat], weights, self.world)[0]
                buffers[name] = mean.view(stack.shape[1:])
            else:
                largest = [t for t in self.world.gather(stack.cpu()) if len(t)]
                buffers[name] = torch.cat(largest).amax(0).to(stack.device)
        self.stacks.load_average(self.average, means, buffers)
        return means

    @torch.no_grad()
    def measure(self, forward: Callable[[Tensor], Tensor], rows: int) -> Tensor:
        """Give loss and accuracy on the test set of each of several models, shape (rows, 2).

        Parameters
        ----------
        forward : callable
            Gives the outputs of all models for the same inputs, shape (rows, batch, ...).
        rows : int
            How many models there are.
        """
        totals = torch.zeros((rows, 2), dtype=torch.float64)
        count = 0
        for inputs, targets in self._batches():
            count += len(targets)
            if not rows:
                continue
            outputs = forward(inputs)
            for row in range(rows):
                totals[row, 0] += float(self.loss(outputs[row], targets)) * len(targets)
                totals[row, 1] += _hits(outputs[row], targets) * len(targets)
        return totals / count

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        device = self.world.device
        if isinstance(self.dataset, TensorDataset):
            x, y = (t.to(device) for t in self.dataset.tensors)
            pairs: Any = zip(torch.split(x, self.chunk), torch.split(y, self.chunk), strict=True)
        else:
            pairs = DataLoader(self.dataset, batch_size=self.chunk)
        for inputs, targets in pairs:
            inputs = inputs.to(device)
            yield (inputs.to(self.dtype) if inputs.is_floating_point() else inputs), targets.to(device)


def _hits(outputs: Tensor, targets: Tensor) -> float:
    """Give the share of right classes, NaN where targets are none."""
    if targets.is_floating_point() or outputs.ndim != targets.ndim + 1:
        return math.nan
    return float((outputs.argmax(1) == targets).double().mean())


def averaged_state(model: nn.Module) -> dict[str, Tensor]:
    """Give the state dict of the averaged model on the CPU, for saving."""
    return {name: cast(Tensor, value).detach().cpu() for name, value in model.state_dict().items()}
