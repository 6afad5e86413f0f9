"""How long a round takes on a network for any subset of the edges, and the SLEM that rounds of a length can have."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from topokit.matrix import FloatArray, IntArray
from topokit.network.model import Network
from topokit.optimal.problem import WeightProblem

__all__ = ["BoolArray", "RoundLoads", "least_slems"]

BoolArray: TypeAlias = NDArray[np.bool_]


class RoundLoads:
    """What the messages of each edge, one each way, keep busy: the seconds of a round for any subset of the edges.

    Attributes
    ----------
    busy, delay : ndarray of float64, shape (things, m)
        Seconds that an edge takes of a network card, the fabric or the inside of a host, and the largest latency of
        its messages through it.
    alone : ndarray of float64, shape (m,)
        Seconds of a round of one edge.
    """

    def __init__(self, network: Network, edges: IntArray, size: float) -> None:
        source, target = (np.concatenate((edges[:, k], edges[:, 1 - k])) for k in (0, 1))
        bandwidth, latency = network.link(source, target)
        self.edges, self.nodes, self.overhead = edges, network.nodes, network.overhead
        self.host_of = network.host_of
        edge = np.tile(np.arange(len(edges)), 2)
        leaves, arrives = network.host_of[source], network.host_of[target]
        between, hosts = leaves != arrives, len(network.hosts)
        send, receive, both, inside = (
            np.array([getattr(host, what) for host in network.hosts]) for what in ("send", "receive", "both", "inside")
        )
        busy, delay = np.zeros((5 * hosts, len(edges))), np.zeros((5 * hosts, len(edges)))
        # A message takes from the cards at both of its ends where sending and receiving share one rate.
        for first, thing, rate, which in (
            (0, 0 * leaves, np.full(hosts, network.fabric), between),
            (1, leaves, send, between),
            (2, arrives, receive, between),
            (3, leaves, both, between),
            (3, arrives, both, between),
            (4, leaves, inside, ~between),
        ):
            limited = which & np.isfinite(rate[thing])
            place = first * hosts + thing[limited], edge[limited]
            np.add.at(busy, place, size / rate[thing[limited]])
            np.maximum.at(delay, place, latency[limited])
        used = busy.any(axis=1)
        self.busy, self.delay = busy[used], delay[used]
        links = np.maximum(*np.split(size / bandwidth + latency, 2))
        self.alone = np.maximum(links, (self.busy + self.delay).max(axis=0, initial=0.0)) + self.overhead

    def of_things(self, mask: BoolArray) -> FloatArray:
        """Give the seconds that each thing takes, overhead included."""
        waits = np.where(mask, self.delay, 0.0).max(axis=1, initial=0.0)
        return np.asarray(self.busy @ mask + waits + self.of_nodes(mask).max(), dtype=np.float64)

    def of_nodes(self, mask: BoolArray) -> FloatArray:
        """Give the seconds that each node is busy with its messages beyond the first."""
        degree = np.bincount(self.edges[mask].ravel(), minlength=self.nodes)
        return np.asarray(self.overhead * np.maximum(0.0, 2.0 * degree - 1), dtype=np.float64)

    def seconds(self, mask: BoolArray) -> float:
        """Give the seconds of a round."""
        extra = self.of_nodes(mask).max() - self.overhead
        return max(float((self.alone[mask] + extra).max(initial=0.0)), float(self.of_things(mask).max(initial=0.0)))

    def relief(self, mask: BoolArray, limit: float) -> FloatArray:
        """Count for each edge of the subset the things over the limit that would be less busy without it."""
        over = self.of_things(mask) > limit
        count = (self.busy[over] > 0).sum(axis=0) + (self.alone > limit)
        extra = self.of_nodes(mask)
        if extra.max() > 0:
            count = count + (extra == extra.max())[self.edges].sum(axis=1)
        return np.asarray(np.where(mask, count, 0), dtype=np.float64)


def least_slems(problem: WeightProblem, loads: RoundLoads) -> tuple[FloatArray, FloatArray]:
    """Give limits on the seconds of a round, and the least SLEM that rounds up to the next limit can have.

    A row of W with d entries beside its own has a square sum of at least 1/(d + 1), whatever their signs, and the
    squares of W sum to at most 1 + (n - 1) SLEM^2. Of k nodes on a host, with C edges to others, the vector that is 1
    on them and 0 elsewhere shows that 1 - SLEM <= (weights of the C edges)/(k (1 - k/n)), and a weight is at most
    SLEM + 1/n.

    Examples
    --------
    A round of a triangle takes one second at least, and two where all three edges are used; before that, there is a
    node with one edge:

    >>> from topokit.optimal.problem import weight_problem
    >>> triangle = weight_problem(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), "fmmc")
    >>> loads = RoundLoads(Network.uniform(3, "1Gbit/s"), triangle.edges, 1.25e8)
    >>> limits, slems = least_slems(triangle, loads)
    >>> limits.tolist(), slems.round(6).tolist()
    ([1.0, 2.0], [0.5, 0.0])
    """
    n, (u, v) = problem.nodes, problem.edges.T
    of_node = [_thresholds(loads, np.flatnonzero((u == i) | (v == i)), own=True) for i in range(n)]
    host = loads.host_of
    out = [_thresholds(loads, np.flatnonzero((host[u] == h) != (host[v] == h))) for h in range(host.max() + 1)]
    inside = np.bincount(host[u][host[u] == host[v]], minlength=len(out))
    sizes = np.bincount(host)
    limits = np.unique(np.concatenate((loads.alone, *of_node, *out)))
    limits = limits[limits >= loads.alone.min()]
    degree = np.array([np.searchsorted(t, limits, side="right") for t in of_node])
    leaving = np.array([np.searchsorted(t, limits, side="right") for t in out])
    squares = np.zeros(limits.size)
    slems = np.zeros(limits.size)
    for h, k in enumerate(sizes):
        alone = (1 / (1.0 + degree[host == h])).sum(axis=0)
        together = k**2 / (k + 2.0 * inside[h] + leaving[h])
        squares += np.maximum(alone, together)
        if k < n:
            across = leaving[h] / (k * (1 - k / n))
            slems = np.maximum(slems, (1 - across / n) / (1 + across))
    slems = np.maximum(slems, np.sqrt(np.maximum(0.0, squares - 1) / (n - 1)))
    return limits, slems * (1 - 1e-12)


def _thresholds(loads: RoundLoads, edges: IntArray, own: bool = False) -> FloatArray:
    """Give the least seconds of a round that uses 1, 2, ... of some edges; all at one node, if it is their own."""
    count = np.arange(1, edges.size + 1)
    extra = loads.overhead * (2.0 * count - 1) if own else np.full(edges.size, loads.overhead)
    least = np.sort(loads.alone[edges])
    for busy in loads.busy[:, edges]:
        least = np.maximum(least, np.cumsum(np.sort(busy)) + extra)
    return np.maximum.accumulate(least)
