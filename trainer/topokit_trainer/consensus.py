"""The weighted mean of the nodes and their distance from it, across all ranks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from topokit_trainer.world import World

__all__ = ["consensus_distance", "node_mean"]


@torch.no_grad()
def node_mean(stacks: Sequence[Tensor], weights: Tensor, world: World) -> list[Tensor]:
    """Average each stack over all nodes of the run.

    Parameters
    ----------
    stacks : sequence of Tensor, each of shape (rows, columns)
    weights : Tensor of float64, shape (rows,)
        Share of each local node in the mean; over all ranks they sum to one.
    world : World

    Returns
    -------
    list of Tensor of float64, each of shape (columns,)
    """
    return [world.sum(_weighted_sum(stack, weights)) for stack in stacks]


def _weighted_sum(stack: Tensor, weights: Tensor) -> Tensor:
    if len(stack) and bool((weights == weights[0]).all()):
        return stack.sum(0, dtype=torch.float64) * float(weights[0])
    total = torch.zeros(stack.shape[1:], dtype=torch.float64, device=stack.device)
    for row, weight in zip(stack, weights.tolist(), strict=True):  # no float64 copy of the whole stack
        if weight:
            total.add_(row, alpha=weight)
    return total


@torch.no_grad()
def consensus_distance(
    stacks: Sequence[Tensor], weights: Tensor, world: World, means: Sequence[Tensor] | None = None
) -> float:
    """Weighted root mean square distance of the nodes from their mean, sqrt(sum_i w_i ||x_i - mean||^2).

    Examples
    --------
    >>> half = torch.full((2,), 0.5, dtype=torch.float64)
    >>> consensus_distance([torch.tensor([[1.0], [3.0]])], half, world=World())
    1.0
    """
    means = node_mean(stacks, weights, world) if means is None else means
    total = torch.zeros((), dtype=torch.float64, device=world.device)
    for stack, mean in zip(stacks, means, strict=True):
        for row, weight in zip(stack, weights.tolist(), strict=True):
            if weight:
                total += weight * (row.double() - mean).square().sum()
    return float(world.sum(total).sqrt())
