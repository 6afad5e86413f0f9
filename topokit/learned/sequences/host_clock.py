"""Seconds of many rounds of exchanges between hosts at once, as `topokit.network.round_seconds` predicts them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from topokit.learned.seconds import link_matrices
from topokit.matrix import FloatArray, IntArray
from topokit.network.cost import message_seconds
from topokit.network.model import Network

__all__ = ["HostClock", "exchange_seconds"]


def exchange_seconds(network: Network, message_bytes: float, allowed: NDArray[np.bool_] | None = None) -> FloatArray:
    """Give the seconds in which the links of two nodes carry an exchange, shape (n, n).

    Infinite where there are no links both ways, and where pairs are not allowed.

    Examples
    --------
    >>> exchange_seconds(Network.uniform(2, 100.0, 1.0), 50.0).tolist()
    [[inf, 1.5], [1.5, inf]]
    """
    bandwidth, latency = link_matrices(network)
    seconds = latency + message_bytes / bandwidth
    seconds = np.maximum(seconds, seconds.T)
    known = ~np.isnan(seconds) if allowed is None else allowed & ~np.isnan(seconds)
    return np.where(known, seconds, np.inf)


@dataclass(frozen=True)
class HostClock:
    """What exchanges between hosts take.

    Attributes
    ----------
    pair : ndarray of float64, shape (hosts, hosts)
        Seconds of one exchange, with nothing else under way; infinite where there is no link.
    card : ndarray of float64, shape (hosts,)
        Seconds of the card for one message each way.
    fabric : float
        Seconds of the fabric for one exchange.
    latency : float
        Largest of an exchange.
    inside : float
        Seconds that follow every round.
    most_lanes : ndarray of int64, shape (hosts,)
        Exchanges at a time, each of another node, at most.
    """

    pair: FloatArray
    card: FloatArray
    fabric: float
    latency: float
    inside: float
    most_lanes: IntArray

    @classmethod
    def of(
        cls,
        network: Network,
        message_bytes: float,
        inside: float = 0.0,
        allowed: NDArray[np.bool_] | None = None,
    ) -> HostClock:
        """Look the hosts of a network up; the allowed nodes with the fastest links are those that exchange.

        Examples
        --------
        >>> clock = HostClock.of(Network.uniform(4, 100.0, 1.0, nodes_per_host=2), 50.0)
        >>> clock.pair.tolist(), clock.most_lanes.tolist()
        ([[inf, 1.5], [1.5, inf]], [2, 2])
        """
        hosts = network.hosts
        links = exchange_seconds(network, message_bytes, allowed)
        pair, latency = np.full((len(hosts), len(hosts)), np.inf), 0.0
        for a, b in combinations(range(len(hosts)), 2):
            between = links[np.ix_(hosts[a].nodes, hosts[b].nodes)]
            i, j = np.unravel_index(between.argmin(), between.shape)
            if np.isfinite(between[i, j]):
                ends = [hosts[a].nodes[i], hosts[b].nodes[j]]
                pair[a, b] = pair[b, a] = message_seconds(network, ends, ends[::-1], message_bytes).seconds
                latency = max(latency, float(network.link(ends, ends[::-1])[1].max()))
        card = np.array([max(1 / host.send, 1 / host.receive, 2 / host.both) for host in hosts]) * message_bytes
        elsewhere = np.isfinite(links) & (network.host_of[:, None] != network.host_of)
        lanes = np.bincount(network.host_of, weights=elsewhere.any(axis=1), minlength=len(hosts)).astype(np.int64)
        return cls(pair, card, 2 * message_bytes / network.fabric, latency, inside, lanes)

    def seconds(self, edges: IntArray, lanes: IntArray) -> FloatArray:
        """Predict every round, shape of `lanes` without its last axis.

        Parameters
        ----------
        edges : ndarray of int64, shape (..., edges, 2)
            Pairs of hosts.
        lanes : ndarray of int64, shape (..., edges)
            Exchanges between them at a time, each between other nodes; 0 for none.
        """
        on = (lanes > 0) & (edges[..., 0] != edges[..., 1])
        lanes = lanes * on
        slowest = np.where(on, self.pair[edges[..., 0], edges[..., 1]], 0.0).max(axis=-1)
        cards = (self._loads(edges, lanes) * self.card).max(axis=-1)
        shared = np.maximum(cards, lanes.sum(axis=-1) * self.fabric) + self.latency
        used = on.any(axis=-1)
        return np.asarray(np.where(used, np.maximum(slowest, shared), 0.0) + used * self.inside, dtype=np.float64)

    @property
    def least(self) -> float:
        """Seconds of the fastest exchange, or anything where none takes time."""
        return float(self.pair.min()) or 1.0

    def crowded(self, edges: IntArray, lanes: IntArray) -> FloatArray:
        """Count the lanes beyond the nodes of a host that has several, shape of the first axis."""
        extra = np.maximum(self._loads(edges, lanes * (edges[..., 0] != edges[..., 1])) - self.most_lanes, 0)
        extra = extra * (self.most_lanes > 1)
        return np.asarray(extra.reshape(edges.shape[0], -1).sum(axis=1), dtype=np.float64)

    def _loads(self, edges: IntArray, lanes: IntArray) -> IntArray:
        hosts = np.arange(self.card.size)
        ends = (edges[..., None] == hosts).sum(axis=-2)
        return np.asarray((ends * lanes[..., None]).sum(axis=-2), dtype=np.int64)
