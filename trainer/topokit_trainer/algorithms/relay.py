"""RelaySGD: on a tree, nodes relay sums of models, so that every node has the exact mean of all, some of them delayed.

x_i is the model of node i, u the update direction of its optimizer, N(i) its neighbours in a tree of n nodes. After its
local steps, x_i(t + 1/2) = x_i(t) - eta u(x_i(t)) for one, node i sends to each neighbour j the sum of the models on
its own side of the edge, as far as it has heard of them, and takes the mean of what it then knows:

    m_ij(t)    = x_i(t + 1/2) + sum_{k in N(i), k != j} m_ki(t - 1)
    x_i(t + 1) = (x_i(t + 1/2) + sum_{j in N(i)} m_ji(t)) / n

Put together, x_i(t + 1) = 1/n sum_j x_j(t + 1/2 - delay), where the delay is the distance between i and j less one (0
for neighbours, and for i itself). Before the first round the messages are those of a tree at rest: each node takes all
others to stand where it stands itself. All start equal, so that this is true; where they do not (--perturb), a node
that has not been heard of yet counts with the start of the last node on the way to it that has.

The mean of the nodes alone is not kept, because part of the past is still under way in messages. What is kept, and
moves by n times the sum of the changes of all nodes in a round, is n sum_i x_i plus the sum over all received messages
m_ji of (number of nodes on i's side of the edge, less one) m_ji: those nodes have still to hear of it.

Here a message carries m_ij divided by the number of nodes on i's side, a mean, and the equations are written in
differences from x_i: nodes that agree stay as they are to the last bit, and rounding errors are as small as
disagreements.

References
----------
T. Vogels, L. He, A. Koloskova, T. Lin, S. P. Karimireddy, S. U. Stich, M. Jaggi, RelaySum for decentralized deep
learning on heterogeneous data, NeurIPS 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy import sparse
from scipy.sparse import csgraph
from torch import Tensor

from topokit.errors import InputError
from topokit.matrix import IntArray, MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer.algorithms.base import Algorithm, require_mean_preserving
from topokit_trainer.exchange import Route
from topokit_trainer.mixing import MixingOperator
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import NodeOptimizer

__all__ = ["Edges", "Relay", "tree_edges"]

TOLERANCE = 1e-9  # of weights, as for schedules


@dataclass(frozen=True)
class Edges:
    """The edges of a tree, each in both directions, sorted by owner and then by neighbour.

    Attributes
    ----------
    owner, neighbour : ndarray of int64
        The owner receives from the neighbour.
    behind : ndarray of int64
        Number of nodes on the neighbour's side of the edge.
    back : ndarray of int64
        Place of the same edge as the neighbour owns it.
    """

    owner: IntArray
    neighbour: IntArray
    behind: IntArray
    back: IntArray


def tree_edges(matrix: MixingMatrix, name: str) -> Edges:
    """Read the tree off a matrix; ``name`` names it in messages.

    Raises
    ------
    InputError
        If the matrix is not symmetric, or its graph is no tree.

    Examples
    --------
    >>> from topokit.designer import design
    >>> tree_edges(design("path", 4).round(0), "path-4").behind.tolist()
    [3, 1, 2, 2, 1, 3]
    """
    n = matrix.nodes
    apart = (matrix.target != matrix.source) & (matrix.weight != 0)
    owner, neighbour, weight = matrix.target[apart], matrix.source[apart], matrix.weight[apart]
    there = neighbour * n + owner
    back = np.searchsorted(owner * n + neighbour, there)
    found = np.append(owner * n + neighbour, -1)[back] == there
    if not found.all() or np.abs(weight - weight[back]).max(initial=0.0) > TOLERANCE:
        raise InputError(f"RelaySGD needs symmetric weights, because messages go both ways; those of {name} are not")
    if owner.size != 2 * (n - 1):
        raise InputError(f"RelaySGD needs a tree: {name} has {owner.size // 2} edges, a tree on {n} nodes has {n - 1}")
    adjacency = sparse.csr_array((np.ones(owner.size), (owner, neighbour)), shape=(n, n))
    order, parent = csgraph.breadth_first_order(adjacency, 0, directed=False)
    if order.size != n:
        raise InputError(f"RelaySGD needs a tree: in the graph of {name}, node 0 does not reach {n - order.size} nodes")
    size = np.ones(n, dtype=np.int64)  # of the subtree that hangs on each node
    for node in order[:0:-1].tolist():
        size[parent[node]] += size[node]
    behind = np.where(parent[neighbour] == owner, size[neighbour], n - size[owner])
    return Edges(owner, neighbour, behind, back)


class Relay(Algorithm):
    """x_i+ = 1/n sum_j x_j(t + 1/2 - delay of j at i), by messages along the edges of a tree.

    Parameters
    ----------
    local_steps : int
        Optimizer steps between two rounds.
    """

    name = "RelaySGD"

    def __init__(self, local_steps: int = 1) -> None:
        self.local_steps = local_steps
        self._graph = ""

    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Refuse schedules that are not one symmetric matrix on a tree."""
        require_mean_preserving(schedule, self.name)
        if schedule.kind != "cyclic" or schedule.period != 1:
            found = f"{schedule.period} rounds" if schedule.kind == "cyclic" else f"{schedule.kind} rounds"
            raise InputError(
                f"{self.name} needs one round on a tree, used again and again; {schedule.name} has {found}"
            )
        tree_edges(schedule.round(0), schedule.name)

    def prepare(self, nodes: Nodes, step: int) -> None:
        """Keep what was last received along each edge, at first the node's own start."""
        schedule, world, device = nodes.schedule, nodes.world, nodes.world.device
        edges = tree_edges(schedule.round(0), schedule.name)
        local = world.nodes_of(world.rank, schedule.nodes)
        first, last = np.searchsorted(edges.owner, [local.start, local.stop]).tolist()
        mine = slice(first, last)
        owner, behind, back = edges.owner[mine] - local.start, edges.behind[mine], edges.back[mine]
        degrees = np.bincount(owner, minlength=len(local))

        indptr = np.concatenate(([0], np.cumsum(degrees)))
        share, scale = behind / schedule.nodes, schedule.nodes / (schedule.nodes - behind)
        self._operator = MixingOperator(len(local), indptr, len(local) + np.arange(owner.size), share)
        self._owner = torch.from_numpy(owner).to(device)
        self._share = torch.from_numpy(share).unsqueeze(1).to(device)
        self._scale = torch.from_numpy(scale).unsqueeze(1).to(device)

        # Rows of messages are ordered by edge, as its sender owns it, on both ends of a route.
        here = (back >= first) & (back < last)
        self._here, self._from = (torch.from_numpy(i).to(device) for i in (np.flatnonzero(here), back[here] - first))
        there = np.flatnonzero(~here)
        self._there = torch.from_numpy(there[np.argsort(back[there])]).to(device)
        rank_of = edges.neighbour[mine] // len(local)
        sends, receives = {}, {}
        for peer in np.unique(rank_of[there]).tolist():
            sends[peer] = np.flatnonzero(rank_of == peer)
            receives[peer] = np.sort(back[rank_of == peer]) - np.searchsorted(edges.owner, peer * len(local))
        self._route = Route(sends, receives)

        start = [x.index_select(0, self._owner) for x in nodes.parameters]
        rows = [slice(first, last) for first, last in pairwise(indptr.tolist())]
        self._received = nodes.keep("received", start, rows)
        self._graph = schedule.name

    def notes(self) -> list[str]:
        """Say that weights play no part."""
        return [f"RelaySGD uses the tree of {self._graph}, not its weights: all nodes count alike"]

    def step(self, nodes: Nodes, step: int) -> None:
        """Descend; relay when the local steps are done."""
        nodes.descend(step)
        if (step + 1) % self.local_steps == 0:
            self._relay(nodes)

    def _relay(self, nodes: Nodes) -> None:
        sent = [self._outgoing(x, old) for x, old in zip(nodes.parameters, self._received, strict=True)]
        messages = nodes.exchange.start([(self._route, sent)])
        for received, rows in zip(self._received, sent, strict=True):
            received.index_copy_(0, self._here, rows.index_select(0, self._from))
        for x, received, arrived in zip(nodes.parameters, self._received, messages.wait(), strict=True):
            if arrived is not None:
                received.index_copy_(0, self._there, arrived)
            self._operator.mix_(x, received)
        nodes.count_messages(2 * (nodes.schedule.nodes - 1), nodes.parameters)

    def _outgoing(self, x: Tensor, received: Tensor) -> Tensor:
        """For each edge, the mean over the owner's side: over all that it knows of, less what came along the edge."""
        total = self._operator.correction(x, received)
        own = x.index_select(0, self._owner).to(total.dtype)
        rows = (received.to(total.dtype) - own).mul_(self._share.to(total.dtype))
        torch.sub(total.index_select(0, self._owner), rows, out=rows)
        return rows.mul_(self._scale.to(total.dtype)).add_(own).to(x.dtype)
