"""Gradient tracking: every node steps along a running estimate of the mean gradient.

x_i is the model of node i, g_i its gradient, y_i its tracker, u(x, y) the step of its optimizer from x with y in the
place of the gradient (eta y for SGD), W the round's matrix. At step t, with y_0 = g_0:

    y_t = W y_{t-1} + g_t - g_{t-1},    x_{t+1} = W (x_t - u(x_t, y_t))

W keeps sums, so the mean of the trackers is the mean of the gradients at every step, and no node rests before that mean
is zero: unlike data does not move the point that constant steps lead to, as it does with D-SGD.

References
----------
P. Di Lorenzo, G. Scutari, NEXT: in-network nonconvex optimization, IEEE TSIPN 2(2), 2016.
S. Pu, A. Nedic, Distributed stochastic gradient tracking methods, Mathematical Programming 187, 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor

from topokit.schedule import Schedule
from topokit_trainer.algorithms.base import Algorithm, refuse_closures, require_mean_preserving
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import NodeOptimizer

__all__ = ["GradientTracking"]


class GradientTracking(Algorithm):
    """Gradient tracking, as ATC: both the model and the tracker are mixed after the step, in the same messages.

    Momentum, weight decay and Adam act on the tracker as they would on a gradient. So does clipping, which bounds the
    step of a node: the tracker itself stays as it is, and with it the mean. (Clipped gradients would not sum to zero
    where the gradients do.)

    Attributes
    ----------
    correction : list of Tensor
        What the tracker adds to the gradient, c = y - g. Written with it the tracker is y_t = g_t + c_t and
        c_{t+1} = c_t + (W - I) y_t: one tensor to keep instead of W y and the last gradient. It sums to zero over the
        nodes, and stays so to rounding errors of its own size.
    tracker : list of Tensor
        y of the last step.
    """

    name = "gradient tracking"

    def __init__(self) -> None:
        self.correction: list[Tensor] = []
        self.tracker: list[Tensor] = []

    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Refuse schedules that would move the mean, and optimizers that compute gradients themselves."""
        require_mean_preserving(schedule, self.name)
        refuse_closures(optimizer, self.name)

    def prepare(self, nodes: Nodes, step: int) -> None:
        """Start from c = 0, that is y_0 = g_0; sums of half-precision values are kept in float32."""
        stacks = nodes.parameters
        wide = [torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32)) for x in stacks]
        self.correction = nodes.keep("correction", wide)
        self.tracker = [torch.zeros_like(x) for x in stacks]

    def step(self, nodes: Nodes, step: int) -> None:
        """Track, descend along the tracker, mix both."""
        nodes.compute_gradients(step)
        for g, c, y in zip(nodes.stacks.gradients, self.correction, self.tracker, strict=True):
            torch.add(g, c, out=y)
            g.copy_(y)  # a copy for the optimizer, which may clip it or work in it
        nodes.apply_gradients()

        with nodes.measured():
            mixed = [*nodes.parameters, *self.tracker]
            changes = iter(nodes.changes(nodes.plans(step), mixed))
            for kept in (*nodes.parameters, *self.correction):
                kept.add_(next(changes))
