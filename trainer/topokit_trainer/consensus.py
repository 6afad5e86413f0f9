"""The mean of the nodes and their distance from it, across all ranks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from topokit_trainer.world import World

__all__ = ["consensus_distance", "node_mean"]


@torch.no_grad()
def node_mean(stacks: Sequence[Tensor], nodes: int, world: World) -> list[Tensor]:
    """Average each stack over all nodes of the run.

    Parameters
    ----------
    stacks : sequence of Tensor, each of shape (rows, columns)
    nodes : int
        Number of nodes of the whole run.
    world : World

    Returns
    -------
    list of Tensor of float64, each of shape (columns,)
    """
    return [world.sum(stack.sum(0, dtype=torch.float64)) / nodes for stack in stacks]


@torch.no_grad()
def consensus_distance(
    stacks: Sequence[Tensor], nodes: int, world: World, means: Sequence[Tensor] | None = None
) -> float:
    """Root mean square distance of the nodes from their mean, sqrt((1/n) sum_i ||x_i - mean||^2).

    Examples
    --------
    >>> consensus_distance([torch.tensor([[1.0], [3.0]])], nodes=2, world=World())
    1.0
    """
    means = node_mean(stacks, nodes, world) if means is None else means
    total = torch.zeros((), dtype=torch.float64, device=stacks[0].device)
    for stack, mean in zip(stacks, means, strict=True):
        for row in stack:  # row by row: a float64 copy of the whole stack could be larger than the stack itself
            total += (row.double() - mean).square().sum()
    return float((world.sum(total) / nodes).sqrt())
