"""DSGD-CECA: exact averages in ceil(log2 n) rounds of one message a node, for any n, with two copies of the model.

Node i keeps x_i (copy 0) and x^_i (copy 1). A round takes the gradients at the copy that is sent in it, z = x or
z = x^, steps both copies along them, and mixes the 2 n rows by the round's matrix W:

    (x, x^)+ = W (x - eta u(z), x^ - eta u(z))

u is the update direction of the optimizer, whose state (momentum) a node has once, for both copies; weight decay is
that of z. x^ starts as a copy of x.

Rows of W sum to one, columns need not: what is kept is the mean over the nodes of each copy. Both means are the same at
every step, and move by the mean of the changes -eta u alone. Without gradients, copy 0 of every node is the mean of the
start after every period.

References
----------
L. Ding, K. Jin, B. Ying, K. Yuan, W. Yin, DSGD-CECA: Decentralized SGD with communication-optimal exact consensus
algorithm, ICML 2023.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from topokit.errors import InputError
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer.algorithms.base import Algorithm
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import NodeOptimizer

__all__ = ["Ceca", "sent_copy"]

TOLERANCE = 1e-9  # of sums of weights, as for schedules


class Ceca(Algorithm):
    """(x, x^)+ = W (x - eta u(z), x^ - eta u(z)), with z the copy that the round sends."""

    name = "DSGD-CECA"

    def __init__(self) -> None:
        self._below: list[Tensor] = []
        self._sent: list[int] = []

    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Refuse schedules of another kind, and those that would move the mean of a copy."""
        found = (schedule.kind, schedule.copies, schedule.mixing)
        if found != ("cyclic", 2, "row-stochastic"):
            copies = "one state" if schedule.copies == 1 else f"{schedule.copies} copies"
            raise InputError(
                f"{self.name} needs a cyclic, row-stochastic schedule of two copies a node, such as topology ceca-2p; "
                f"{schedule.name} is {schedule.kind} and {schedule.mixing}, with {copies} a node"
            )
        for t, matrix in enumerate(schedule.rounds):
            if (fault := _uneven(matrix)) is not None:
                raise InputError(
                    f"{self.name} needs rounds in which all nodes count alike; in round {t} of {schedule.name}, {fault}"
                )

    def copies(self, schedule: Schedule) -> int:
        """Give the two copies of a node."""
        return 2

    def prepare(self, nodes: Nodes, step: int) -> None:
        """Start copy 1 where copy 0 starts; keep it, and find out what each round sends."""
        self._below = nodes.keep("copy 1", [wide[nodes.stacks.rows :] for wide in nodes.stacks.wide])
        for x, below in zip(nodes.parameters, self._below, strict=True):
            below.copy_(x)
        self._sent = [sent_copy(matrix) for matrix in nodes.schedule.rounds]

    def step(self, nodes: Nodes, step: int) -> None:
        """Step both copies along the gradient of the one that is sent; mix both."""
        self._descend(nodes, step, self._sent[step % len(self._sent)])
        nodes.combine((nodes.plans(step), nodes.stacks.wide))

    def _descend(self, nodes: Nodes, step: int, sent: int) -> None:
        """Let the optimizer step one copy, where it finds the parameters; add what that changed to the other copy."""
        pairs = list(zip(nodes.parameters, self._below, strict=True))
        kept = [x.clone() for x, _ in pairs]
        if sent == 1:
            for x, below in pairs:
                x.copy_(below)
        nodes.descend(step)
        for (x, below), before in zip(pairs, kept, strict=True):
            if sent == 0:
                below.add_(torch.sub(x, before, out=before))
            else:
                change = x.sub_(below)
                below.add_(change)
                x.add_(before)


def sent_copy(matrix: MixingMatrix) -> int:
    """Tell which copy nodes send in a round of 2 n rows; 0 where they send both, or nothing.

    Examples
    --------
    >>> from topokit.topologies.ceca import ceca_2p
    >>> [sent_copy(matrix) for matrix in ceca_2p(6).rounds]  # 6 - 1 is 101 in binary
    [0, 1, 0]
    """
    n = matrix.nodes // 2
    travels = (matrix.target % n != matrix.source % n) & (matrix.weight != 0)
    return int(set((matrix.source[travels] // n).tolist()) == {1})


def _uneven(matrix: MixingMatrix) -> str | None:
    """Say where a node counts more, or less, than node 0 in the mean of a copy."""
    n = matrix.nodes // 2
    place = matrix.target // n * matrix.nodes + matrix.source
    counts = np.bincount(place, weights=matrix.weight, minlength=4 * n).reshape(2, 2, n) / n
    off = np.argwhere(np.abs(counts - counts[:, :, :1]) > TOLERANCE / n)
    if not off.size:
        return None
    into, copy, node = off[0].tolist()
    here, first = counts[into, copy, node], counts[into, copy, 0]
    return (
        f"copy {copy} of node {node} has a share of {here:.3g} in the mean of copies {into}, that of node 0 {first:.3g}"
    )
