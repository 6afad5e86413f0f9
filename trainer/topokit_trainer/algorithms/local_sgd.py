"""Local SGD, a baseline: every node on its own for a number of steps, then the exact mean of all.

x_i is the model of node i, u its optimizer's update direction, gamma the learning rate:

- x_i  <-  x_i - gamma u(x_i), `local_steps` times on each node's own data
- x_i  <-  mean of all x_j, as an all-reduce does

What the optimizers keep (momentum, Adam's averages) is each node's own and is not averaged.

References
----------
S. U. Stich, Local SGD converges fast and communicates little, ICLR 2019.
"""

from __future__ import annotations

import torch

from topokit.schedule import Schedule
from topokit_trainer.algorithms.base import Algorithm
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import NodeOptimizer

__all__ = ["LocalSgd"]


class LocalSgd(Algorithm):
    """Local SGD; the schedule gives the number of nodes only.

    Parameters
    ----------
    local_steps : int
        Optimizer steps between two averagings.
    """

    name = "local SGD"

    def __init__(self, local_steps: int = 1) -> None:
        self.local_steps = local_steps

    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Accept every schedule and every optimizer."""

    def step(self, nodes: Nodes, step: int) -> None:
        """Descend; take the mean when the local steps are done."""
        nodes.descend(step)
        if (step + 1) % self.local_steps == 0:
            for stack in nodes.parameters:
                mean = nodes.world.sum(stack.sum(0, dtype=torch.float64)) / nodes.schedule.nodes
                stack.copy_(mean.expand_as(stack))
            nodes.count_all_reduce()
