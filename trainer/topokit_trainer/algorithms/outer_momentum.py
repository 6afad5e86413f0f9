"""SlowMo: now and then an exact average of all nodes, and a step with momentum along the way since the last one."""

from __future__ import annotations

import torch
from torch import Tensor

from topokit.errors import InputError
from topokit.schedule import Schedule
from topokit_trainer.algorithms.base import Algorithm
from topokit_trainer.algorithms.momentum import learning_rates
from topokit_trainer.algorithms.wrapper import Wrapper
from topokit_trainer.consensus import node_mean
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import NodeOptimizer

__all__ = ["OuterMomentum"]


class OuterMomentum(Wrapper):
    """Outer steps around another algorithm (SlowMo).

    After every so many steps of the algorithm inside, with xbar the exact mean of all nodes, gamma the learning rate of
    the last of these steps, and x_0 the model that all nodes had after the outer step before:

        u+ = beta u + (x_0 - xbar) / gamma,  from u = 0
        x+ = x_0 - alpha gamma u+, on every node

    x_0 begins as the exact mean of the starting points. The nodes' own optimizers keep their states. With beta = 0 and
    alpha = 1 these are exact averages at times. Where gamma is zero, u stays as it was and x+ is xbar.

    Parameters
    ----------
    base : Algorithm
    every : int
        Steps from one outer step to the next.
    momentum, lr : float
        beta and alpha.

    References
    ----------
    J. Wang et al., SlowMo: improving communication-efficient distributed SGD with slow momentum, ICLR 2020.
    """

    def __init__(self, base: Algorithm, every: int, momentum: float, lr: float) -> None:
        super().__init__(base)
        self.every, self.momentum, self.lr = every, momentum, lr
        self.anchor: list[Tensor] = []
        self.slow: list[Tensor] = []

    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Refuse outer steps within the local steps of a round, whose messages may be under way."""
        super().check(schedule, optimizer)
        if self.every % self.local_steps:
            raise InputError(
                f"an outer step ends a round: --outer-every must be a multiple of --local-steps {self.local_steps}, "
                f"got {self.every}"
            )

    def prepare(self, nodes: Nodes, step: int) -> None:
        """Begin with no momentum."""
        super().prepare(nodes, step)
        self.anchor = nodes.keep_zeros("outer model")
        self.slow = nodes.keep_zeros("outer momentum")

    def step(self, nodes: Nodes, step: int) -> None:
        """Take a step inside, and the outer step where it is due."""
        if step == 0:
            means = node_mean(nodes.parameters, self.averages(nodes)[""], nodes.world)
            for x0, mean in zip(self.anchor, means, strict=True):
                x0.copy_(mean.expand_as(x0))
            nodes.count_all_reduce(sum(mean.numel() * mean.element_size() for mean in means))
        rates = learning_rates(nodes)  # a schedule changes them within the step
        super().step(nodes, step)
        if (step + 1) % self.every == 0:
            self._outer_step(nodes, rates)

    def _outer_step(self, nodes: Nodes, rates: list[float]) -> None:
        weights = self.averages(nodes)[""].unsqueeze(1)
        for x0, u, x, gamma in zip(self.anchor, self.slow, nodes.parameters, rates, strict=True):
            # As differences from what all nodes have in common: these are small, and little is lost in rounding.
            apart = (x0 - x).to(torch.promote_types(x.dtype, torch.float32))
            way = nodes.world.sum(apart.mul_(weights).sum(0).to(x.dtype))
            # One row for all: kernels may round the same operation differently from place to place.
            if gamma > 0:
                momentum = u[0].mul(self.momentum).add_(way, alpha=1 / gamma)
                model = x0[0].sub(momentum, alpha=self.lr * gamma)
            else:
                momentum, model = u[0].clone(), x0[0] - way
            for rows, one in ((u, momentum), (x0, model), (x, model)):
                rows.copy_(one.expand_as(rows))
        nodes.count_all_reduce()
