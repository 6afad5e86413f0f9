"""Push-sum, or stochastic gradient push (SGP): D-SGD on directed graphs, where columns alone sum to one.

Node i keeps x_i and a weight w_i, 1 at the start. It computes gradients at z_i = x_i / w_i; z' is what its optimizer
makes of z, and A the column-stochastic matrix of the round:

    x_half = x + (z' - z),    x+ = A x_half,    w+ = A w,    z+ = x+ / w+

For SGD x_half = x - eta g(z). A step without a round is a round with A = I: this is what local steps are. A keeps the
sums of x and of w, so sum_i w_i z_i / n is the model that the run is about; without gradients all z tend to it.

The stacks hold z. The weights of all nodes follow from the schedule alone, so every rank knows them and only models
travel: w+ z+ = A (w z_half) is z+ = P z_half, where P_ij = a_ij w_j / w+_i has row sums one, and z_half = z + (z' - z)
/ w. Steps of a node whose weight is small are long ones; weights stay positive where self weights are.

References
----------
M. Assran, N. Loizou, N. Ballas, M. Rabbat, Stochastic gradient push for distributed deep learning, ICML 2019.
D. Kempe, A. Dobra, J. Gehrke, Gossip-based computation of aggregate information, FOCS 2003.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from topokit.errors import InputError
from topokit.matrix import FloatArray, MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer.algorithms.base import Algorithm, require_one_state
from topokit_trainer.evaluation import Averages
from topokit_trainer.exchange import RoundPlan, plan_round
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import NodeOptimizer

__all__ = ["PushSum", "pushed", "ratio_matrix"]

AHEAD = 300  # rounds in which the weights are looked at before training; on graphs that mix they settle in fewer
SMALL = 0.1  # weights below this are worth a word
KEPT = 4  # plans for each round of a period


@dataclass(frozen=True)
class Push:
    """A round from given weights.

    Attributes
    ----------
    plan : RoundPlan
        Mixes ratios.
    after : ndarray, shape (n,)
        The weights of all nodes after the round.
    own : Tensor of float64, shape (rows, 1)
        Those of this rank's nodes, where its stacks are.
    """

    plan: RoundPlan
    after: FloatArray
    own: Tensor


class PushSum(Algorithm):
    """Push-sum, the stack holding the ratios z; with doubly stochastic rounds it is D-SGD as ATC.

    Parameters
    ----------
    local_steps : int
        Optimizer steps between two rounds.

    Attributes
    ----------
    uneven : bool
        Whether rows need not sum to one; where they do, all weights stay 1, and none are kept.
    weights : ndarray, shape (n,), or None
        w of all nodes; None before the first round.
    own : Tensor of float64, shape (rows, 1)
        w of this rank's nodes.
    start : list of Tensor
        z at the start of a step.
    """

    name = "push-sum"

    def __init__(self, local_steps: int = 1) -> None:
        self.local_steps = local_steps
        self.uneven = False
        self.weights: FloatArray | None = None
        self.start: list[Tensor] = []
        self._notes: list[str] = []
        self._kept: dict[tuple[int, bytes], Push] = {}

    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Refuse schedules that do not keep sums, or leave a node without weight.

        Raises
        ------
        InputError
        """
        require_one_state(schedule, self.name)
        if schedule.mixing not in ("column-stochastic", "doubly-stochastic"):
            raise InputError(
                f"{self.name} needs rounds whose columns sum to one (column-stochastic or doubly stochastic), "
                f"{schedule.name} is {schedule.mixing}"
            )
        w = lowest = np.ones(schedule.nodes)
        for t in range(AHEAD if schedule.mixing == "column-stochastic" else 0):
            w = pushed(schedule.round(t), w, t)
            lowest = np.minimum(lowest, w)
        node = int(lowest.argmin())
        if lowest[node] < SMALL:
            self._notes = [
                f"the weight of node {node} falls to {lowest[node]:.2g}, which makes its steps up to "
                f"{1 / lowest[node]:.0f} times as long; should it diverge, lower --lr or take doubly stochastic weights"
            ]

    def prepare(self, nodes: Nodes, step: int) -> None:
        """Start from w = 1."""
        self.uneven = nodes.schedule.mixing == "column-stochastic"
        if self.uneven:
            ones = torch.ones((nodes.stacks.rows, 1), dtype=torch.float64, device=nodes.world.device)
            (self.own,) = nodes.keep("weight", [ones])
            self.start = [torch.empty_like(x) for x in nodes.parameters]

    def notes(self) -> list[str]:
        """Warn of small weights."""
        return self._notes

    def step(self, nodes: Nodes, step: int) -> None:
        """Descend; mix when the local steps are done."""
        if self.uneven:
            self._descend(nodes, step)
        else:
            nodes.descend(step)
        if (step + 1) % self.local_steps == 0:
            self._mix(nodes, step // self.local_steps)

    def _descend(self, nodes: Nodes, step: int) -> None:
        """Take the step of the biased x: z_half = z + (z' - z) / w."""
        for start, z in zip(self.start, nodes.parameters, strict=True):
            start.copy_(z)
        nodes.descend(step)
        for start, z in zip(self.start, nodes.parameters, strict=True):
            w = self.own.to(torch.promote_types(z.dtype, torch.float32))
            z.sub_(start).div_(w).add_(start)

    def _mix(self, nodes: Nodes, round_number: int) -> None:
        if not self.uneven:
            nodes.mix(round_number)
            return
        if self.weights is None:  # a run that goes on has loaded those of its own nodes only
            parts = nodes.world.gather(self.own.flatten().tolist())
            self.weights = np.array([w for part in parts for w in part])
        push = self._push(nodes, self.weights, round_number)
        nodes.combine((push.plan, nodes.parameters))
        self.weights = push.after
        self.own.copy_(push.own)

    def _push(self, nodes: Nodes, weights: FloatArray, round_number: int) -> Push:
        """Give the round from these weights; once they repeat, to the bit, it is one that has been planned."""
        schedule, world = nodes.schedule, nodes.world
        key = round_number % (schedule.period or 1), weights.tobytes()
        if schedule.period is None or key not in self._kept:
            A = schedule.round(round_number)
            after = pushed(A, weights, round_number)
            plan = plan_round(ratio_matrix(A, weights, after), world.rank, world.size)
            local = world.nodes_of(world.rank, schedule.nodes)
            own = torch.from_numpy(after[local.start : local.stop]).unsqueeze(1).to(world.device)
            self._kept[key] = Push(plan, after, own)
            while len(self._kept) > KEPT * (schedule.period or 1):
                del self._kept[next(iter(self._kept))]  # the oldest
        return self._kept[key]

    def averages(self, nodes: Nodes) -> Averages:
        """Give the model whose value mixing keeps, sum_i w_i z_i / n."""
        if not self.uneven:
            return super().averages(nodes)
        return {"": self.own.flatten() / nodes.schedule.nodes}


def pushed(matrix: MixingMatrix, weights: FloatArray, round_number: int = 0) -> FloatArray:
    """Give the weights after a round, A w.

    Raises
    ------
    InputError
        If a node is left without weight: its ratio would be none.

    Examples
    --------
    >>> A = MixingMatrix.from_entries(2, [0, 1, 0], [0, 0, 1], [0.5, 0.5, 1.0])
    >>> pushed(A, np.ones(2)).tolist()
    [1.5, 0.5]
    """
    sent = matrix.weight * weights[matrix.source]
    after = np.bincount(matrix.target, weights=sent, minlength=matrix.nodes).astype(np.float64)
    if bad := np.flatnonzero(~(after > 0)).tolist():
        raise InputError(
            f"push-sum: the weight of node {bad[0]} is {after[bad[0]]:.3g} after round {round_number}, and models are "
            "divided by it; give every node a positive self weight"
        )
    return after


def ratio_matrix(matrix: MixingMatrix, before: FloatArray, after: FloatArray) -> MixingMatrix:
    """Give the matrix P that mixes ratios x / w as A mixes x: P_ij = a_ij w_j / w+_i, with row sums one.

    Examples
    --------
    >>> A = MixingMatrix.from_entries(2, [0, 1, 0], [0, 0, 1], [0.5, 0.5, 1.0])
    >>> ratio_matrix(A, np.ones(2), np.array([1.5, 0.5])).to_dense().round(3).tolist()
    [[0.333, 0.667], [1.0, 0.0]]
    """
    share = matrix.weight * before[matrix.source] / after[matrix.target]
    return MixingMatrix.from_entries(matrix.nodes, matrix.target, matrix.source, share)
