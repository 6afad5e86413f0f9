"""Links of a network, and the seconds of a round on a set of edges, with one message each way for every edge."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from topokit.matrix import FloatArray, IntArray
from topokit.network import Network, message_seconds, parse_size

__all__ = ["RoundClock", "link_matrices", "linked_pairs"]

BoolArray: TypeAlias = NDArray[np.bool_]


def link_matrices(network: Network) -> tuple[FloatArray, FloatArray]:
    """Give bandwidth and latency of all ordered pairs of nodes, shape (n, n); NaN where there is no link.

    Examples
    --------
    >>> link_matrices(Network.uniform(2, 100.0, 1.0))[0].tolist()
    [[nan, 100.0], [100.0, nan]]
    """
    n = network.nodes
    source, target = (ends.ravel() for ends in np.indices((n, n)))
    bandwidth, latency = (values.reshape(n, n) for values in network.link(source, target))
    np.fill_diagonal(bandwidth, np.nan)
    np.fill_diagonal(latency, np.nan)
    return bandwidth, latency


def linked_pairs(network: Network) -> BoolArray:
    """Say which pairs of nodes have links both ways.

    Parameters
    ----------
    network : Network

    Returns
    -------
    ndarray of bool, shape (n, n)
        Symmetric, False on the diagonal.

    Examples
    --------
    >>> from topokit.network import Host, Link
    >>> hosts = tuple(Host(f"h{k}", (k,)) for k in range(3))
    >>> path = Network(hosts, (Link(0, 1, 1.0), Link(1, 0, 1.0), Link(1, 2, 1.0), Link(2, 1, 1.0), Link(0, 2, 1.0)))
    >>> linked_pairs(path).astype(int).tolist()
    [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    """
    there = ~np.isnan(link_matrices(network)[0])
    return there & there.T


class RoundClock:
    """Seconds of a round for any set of edges, one message each way.

    Parameters
    ----------
    network : Network
    message_bytes : str or float
        Size of a message: "100MB", or bytes.

    Attributes
    ----------
    linked : ndarray of bool, shape (n, n)
        Pairs with links both ways.
    alone : ndarray of float64, shape (n, n)
        Seconds of the two messages of a pair on their links; infinite without links.
    host_of : ndarray of int64, shape (n,)

    Raises
    ------
    InputError
        If the size makes no sense.

    Examples
    --------
    >>> clock = RoundClock(Network.uniform(4, "1Gbit/s", "1ms"), "100MB")
    >>> ring = np.array([(0, 1), (0, 3), (1, 2), (2, 3)])
    >>> clock.seconds(ring), clock.seconds(ring[:1])
    (1.601, 0.801)
    """

    def __init__(self, network: Network, message_bytes: str | float) -> None:
        self.network, self.host_of = network, network.host_of
        self.size = parse_size(message_bytes, "the size of a message")
        bandwidth, latency = link_matrices(network)
        one_way = np.where(np.isnan(bandwidth), np.inf, self.size / bandwidth + latency)
        self.alone = np.maximum(one_way, one_way.T)
        self.linked = linked_pairs(network)

    def seconds(self, edges: IntArray) -> float:
        """Give the seconds of a round; infinite if an edge has no link.

        Parameters
        ----------
        edges : ndarray of int64, shape (m, 2)
        """
        u, v = np.asarray(edges, dtype=np.int64).reshape(-1, 2).T
        if not self.linked[u, v].all():
            return np.inf
        return message_seconds(self.network, np.append(u, v), np.append(v, u), self.size).seconds
