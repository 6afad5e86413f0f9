"""Push-pull gradient tracking: models are pulled by R, whose rows sum to one, gradients pushed by C, whose columns do.

y_i tracks the sum of all gradients, g_i is the gradient at x_i, u the update direction of the optimizer:

    y(t) = C y(t-1) + g(t) - g(t-1),    y(0) = g(0)
    x(t+1) = R (x(t) - eta u(y(t) / n))

On a tree, node 0 pulls from nobody and gets all that is pushed: y_0 is, in the end, the sum of all gradients, so that
the division by n makes eta what it is for SGD on all batches together. The optimizer of each node takes y_i / n for its
gradient: momentum and Adam act on that, clipping cuts it. Weight decay is each node's own, and not tracked: from the
second level below the root on it shrinks models by a factor 1 - eta lambda a level; where the exact optimum is wanted,
it belongs into the loss.

At every step, sum_i y_i = sum_i g_i. What R leaves alone is u^T x, with u^T R = u^T (of the tree: the model of node 0);
it is what the method optimizes, and what is evaluated as the averaged model.

References
----------
S. Pu, W. Shi, J. Xu, A. Nedic, Push-pull gradient methods for distributed optimization in networks, IEEE Transactions
on Automatic Control 66, 2021.
R. You, S. Pu, B-ary tree push-pull method is provably efficient for distributed learning on heterogeneous data, 2024.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse

from topokit.errors import InputError
from topokit.matrix import FloatArray, MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer.algorithms.base import Algorithm, refuse_closures
from topokit_trainer.evaluation import Averages
from topokit_trainer.exchange import Plans
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import NodeOptimizer

__all__ = ["PushPull", "lasting_shares"]

MOST_NODES = 2000  # whose period is multiplied out
SQUARINGS = 40  # of the period: what has not settled after a trillion rounds counts as never settling
SETTLED = 1e-12
TOLERANCE = 1e-9  # of sums of weights, as for schedules


class PushPull(Algorithm):
    """y = C y + g - g_before; x = R (x - eta u(y / n))."""

    name = "push-pull"

    def __init__(self) -> None:
        self._pulled: list[FloatArray] = []
        self._gain = 1.0

    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Refuse schedules without pull and push rounds, and those in which the sum of gradients is not what counts."""
        refuse_closures(optimizer, self.name)
        if (schedule.kind, schedule.mixing) != ("cyclic", "push-pull"):
            raise InputError(
                f"{self.name} needs a cyclic push-pull schedule, such as topology tree-push-pull; "
                f"{schedule.name} is {schedule.kind} and {schedule.mixing}"
            )
        if schedule.nodes > MOST_NODES:
            raise InputError(
                f"{self.name} finds out who is listened to from a dense matrix, for at most {MOST_NODES:,} nodes; "
                f"{schedule.name} has {schedule.nodes:,}"
            )
        pulls, pushes = zip(*(_parts(matrix) for matrix in schedule.rounds), strict=True)
        pulled = lasting_shares([pull.to_csr() for pull in pulls])
        if pulled is None:
            raise InputError(
                f"{self.name} needs pull rounds that bring all nodes to one model, whatever the start; "
                f"those of {schedule.name} never do"
            )
        # What columns are to pushing, rows are to pulling, backwards in time.
        pushed = lasting_shares([push.to_csr().T.tocsr() for push in reversed(pushes)])
        if pushed is None:
            raise InputError(
                f"{self.name} needs push rounds that share out the sum of all gradients in one way, wherever they come "
                f"from; those of {schedule.name} never do"
            )
        self._gain = float(np.mean([u @ pushed[-t % len(pushed)] for t, u in enumerate(pulled)]))
        if self._gain < SETTLED:
            raise InputError(
                f"{self.name} needs nodes to which gradients are pushed and from which models are pulled; "
                f"{schedule.name} has none"
            )
        self._pulled = pulled

    def prepare(self, nodes: Nodes, step: int) -> None:
        """Keep C y, the gradient of the step before, and the plans of both kinds of rounds."""
        schedule = nodes.schedule
        self._pull = Plans(lambda t: _parts(schedule.round(t))[0], schedule.period, nodes.world)
        self._push = Plans(lambda t: _parts(schedule.round(t))[1], schedule.period, nodes.world)
        # In half precision y + g - g_before would be rounded anew in every step, and the sum would drift away.
        wide = [(x, torch.promote_types(x.dtype, torch.float32)) for x in nodes.parameters]
        self._tracker = nodes.keep("tracker", [torch.zeros_like(x, dtype=kind) for x, kind in wide])
        self._before = nodes.keep("gradient before", [torch.zeros_like(x, dtype=kind) for x, kind in wide])
        self._next = step

    def notes(self) -> list[str]:
        """Say where eta is not what it is for SGD."""
        if abs(self._gain - 1) < TOLERANCE:
            return []
        return [
            f"push-pull on this schedule steps as SGD does with {self._gain:.3g} times the learning rate: so much of "
            "the gradients arrives where models are pulled from"
        ]

    def step(self, nodes: Nodes, step: int) -> None:
        """Track, step along the tracker, pull models and push trackers in one phase of messages."""
        nodes.compute_gradients(step)
        for gradient, before, y in zip(nodes.stacks.gradients, self._before, self._tracker, strict=True):
            y.add_(gradient).sub_(before)
            before.copy_(gradient)
            gradient.copy_(y / nodes.schedule.nodes)
        nodes.apply_gradients()
        nodes.combine((self._pull(step), nodes.parameters), (self._push(step), self._tracker))
        self._next = step + 1

    def averages(self, nodes: Nodes) -> Averages:
        """Give u^T x: the nodes count as much as they are listened to."""
        shares = self._pulled[self._next % len(self._pulled)][list(nodes.keys)]
        return {"": torch.from_numpy(shares).to(nodes.world.device)}


def _parts(matrix: MixingMatrix) -> tuple[MixingMatrix, MixingMatrix]:
    """Cut a round on 2 n rows into R and C, of n rows each."""
    n = matrix.nodes // 2
    pull = matrix.target < n
    R, C = (
        MixingMatrix.from_entries(n, matrix.target[part] % n, matrix.source[part] % n, matrix.weight[part])
        for part in (pull, ~pull)
    )
    return R, C


def lasting_shares(rounds: Sequence[sparse.csr_array]) -> list[FloatArray] | None:
    """Find what is left, after many rounds of weighted means, of the values that nodes had before each round.

    Parameters
    ----------
    rounds : sequence of SciPy CSR arrays, each of shape (n, n)
        One period of row-stochastic matrices, round 0 first.

    Returns
    -------
    list of ndarray of float64, each of shape (n,), or None
        For each round, the shares of the nodes in the value at which all arrive in the end: the left Perron vector of
        the period that begins with this round. None if they need not arrive at one value.

    Examples
    --------
    Node 1 pulls from node 0, which listens to nobody:

    >>> [shares] = lasting_shares([sparse.csr_array(np.array([[1.0, 0.0], [0.5, 0.5]]))])
    >>> shares.tolist()
    [1.0, 0.0]
    """
    period = np.eye(rounds[0].shape[0])
    for matrix in rounds:
        period = matrix @ period
    for _ in range(SQUARINGS):
        largest = np.abs(period).max()
        if np.ptp(period, axis=0).max() < SETTLED or largest > 1 / SETTLED:  # negative weights may let it grow
            break
        period = period @ period
        period /= period.sum(axis=1, keepdims=True)
    if np.ptp(period, axis=0).max() >= SETTLED:
        return None
    last = np.where(np.abs(period[0]) < SETTLED, 0.0, period[0])
    start = shares = last / last.sum()
    later = []
    for matrix in rounds[:0:-1]:  # back from the end of the period, where the shares are those of its start
        shares = matrix.T @ shares
        later.append(shares)
    return [start, *reversed(later)]
