"""Seconds of a round for a changing set of edges, and for many changes of it at once.

The model is that of `topokit.network.round_seconds`, with one message each way for every edge. A change touches the
things at the ends of few edges: their counts of messages are added to, and the largest latency through each is found
in its list of edges, longest first, past those that are taken out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topokit.errors import InputError
from topokit.matrix import FloatArray, IntArray
from topokit.network import Network, parse_size

__all__ = ["RoundClock", "RoundState", "linked_pairs", "nic_load"]

BoolArray: TypeAlias = NDArray[np.bool_]

CHUNK = 1 << 20  # numbers in each array while many changes are looked at


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


def nic_load(edges: ArrayLike, host_of: ArrayLike, hosts: int | None = None) -> IntArray:
    """Count the messages that each host sends through its network card in a round, and as many receives.

    Parameters
    ----------
    edges : array_like of int, shape (m, 2)
        Undirected edges; one message each way.
    host_of : array_like of int, shape (n,)
        Host of each node, as `Network.host_of`.
    hosts : int, optional
        Number of hosts. Default: the largest in `host_of` + 1.

    Returns
    -------
    ndarray of int64, shape (hosts,)
        Edges that leave each host.

    Examples
    --------
    A ring of six nodes, three on each of two hosts:

    >>> nic_load([(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5)], [0, 0, 0, 1, 1, 1]).tolist()
    [2, 2]
    """
    of = np.asarray(host_of, dtype=np.int64)
    ends = of[np.asarray(edges, dtype=np.int64).reshape(-1, 2)]
    return np.bincount(ends[ends[:, 0] != ends[:, 1]].ravel(), minlength=hosts or int(of.max()) + 1).astype(np.int64)


class _Column(NamedTuple):
    """One thing that an edge may use."""

    first: int  # number of the thing of host 0, or of the fabric
    at: int  # which end's host; -1 for the fabric
    between: bool  # used by edges between hosts, or inside one
    used: BoolArray  # of each host, whether it has such a thing
    delay: FloatArray  # (n, n), of each pair (first end, second end)


@dataclass(frozen=True)
class RoundState:
    """What a set of edges keeps busy; `RoundClock.at` makes it.

    Attributes
    ----------
    seconds : float
        Of a round.
    count : ndarray of int64, shape (things + 1,)
        How many times each thing is used; the last stands for nothing.
    """

    seconds: float
    count: IntArray
    delay: FloatArray
    degree: IntArray
    start: IntArray  # of each thing, in:
    pair: IntArray  # edges by thing, the largest delay first
    delays: FloatArray
    slowest: IntArray  # edges, the slowest first
    alone: FloatArray


class RoundClock:
    """Seconds of a round for any set of edges, one message each way, and for many changes of one.

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
    hosts : int

    Raises
    ------
    InputError
        If the size makes no sense.

    Examples
    --------
    >>> clock = RoundClock(Network.uniform(4, "1Gbit/s", "1ms"), "100MB")
    >>> ring = np.array([(0, 1), (0, 3), (1, 2), (2, 3)])
    >>> clock.seconds(ring), clock.seconds(ring[:3])
    (1.601, 1.601)

    Take out an edge, two that share no node, or none and add a chord:

    >>> removed = np.array([[(0, 1), (-1, -1)], [(0, 1), (2, 3)], [(-1, -1), (-1, -1)]])
    >>> added = np.array([[(-1, -1)], [(-1, -1)], [(0, 2)]])
    >>> clock.after(clock.at(ring), removed, added).round(6).tolist()
    [1.601, 0.801, 2.401]
    """

    def __init__(self, network: Network, message_bytes: str | float) -> None:
        size = parse_size(message_bytes, "the size of a message")
        self.nodes, self.host_of, self.hosts = network.nodes, network.host_of, len(network.hosts)
        self.overhead = network.overhead
        bandwidth, latency = link_matrices(network)
        there = ~np.isnan(bandwidth)
        self.linked = there & there.T
        one_way = np.where(there, size / bandwidth + latency, np.inf)
        self.alone = np.maximum(one_way, one_way.T)
        latency = np.where(there, latency, 0.0)
        self._columns: list[_Column] = []
        self._cost = np.zeros(0)
        self._make_columns(network, size, latency)
        self._cost = np.append(self._cost, 0.0)  # of nothing
        self.things = self._cost.size - 1

    def _make_columns(self, network: Network, size: float, latency: FloatArray) -> None:
        send, receive, both, inside = (
            size / np.array([getattr(host, what) for host in network.hosts])
            for what in ("send", "receive", "both", "inside")
        )
        larger = np.maximum(latency, latency.T)
        if (latency == latency.T).all():  # what a host sends and what it receives then takes as long
            self._add(np.maximum.reduce([send, receive, 2 * both]), True, larger, larger)
        else:
            self._add(send, True, latency, latency.T)
            self._add(receive, True, latency.T, latency)
            self._add(2 * both, True, larger, larger)
        self._add(2 * inside, False, larger)
        self._add(np.array([2 * size / network.fabric]), True, larger)

    def _add(self, cost: FloatArray, between: bool, *delays: FloatArray) -> None:
        if not (cost > 0).any():
            return
        shared = between and len(delays) == 1
        for at, delay in enumerate(delays):
            self._columns.append(_Column(self._cost.size, -1 if shared else at, between, cost > 0, delay))
        self._cost = np.concatenate((self._cost, cost))

    def _uses(self, edges: IntArray) -> tuple[IntArray, FloatArray]:
        """Give the things that edges use, shape (..., columns), and the latency of their messages through each."""
        u, v = edges[..., 0], edges[..., 1]
        of = self.host_of[edges]
        between = of[..., 0] != of[..., 1]
        thing = np.full((*u.shape, len(self._columns)), self.things)
        delay = np.zeros(thing.shape)
        for k, column in enumerate(self._columns):
            host = of[..., column.at] if column.at >= 0 else np.zeros_like(u)
            uses = (u >= 0) & (between == column.between) & column.used[host]
            thing[..., k] = np.where(uses, column.first + host, self.things)
            delay[..., k] = np.where(uses, column.delay[u, v], 0.0)
        return thing, delay

    def at(self, edges: IntArray) -> RoundState:
        """Find out what a set of edges keeps busy.

        Parameters
        ----------
        edges : ndarray of int64, shape (m, 2)
            Each edge once, the smaller node first.
        """
        edges = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
        pair = self._pairs(edges)
        things, delays = self._uses(edges)
        owner = np.repeat(pair, things.shape[1])
        things, delays = things.ravel(), delays.ravel()
        count = np.bincount(things, minlength=self.things + 1)
        order = np.lexsort((-delays, things))
        start = np.concatenate(([0], np.cumsum(count)))
        count[-1] = 0
        delay = np.zeros(self.things + 1)
        np.maximum.at(delay, things, delays)
        degree = np.bincount(edges.ravel(), minlength=self.nodes)
        alone = self.alone[edges[:, 0], edges[:, 1]]
        slowest = np.argsort(-alone, kind="stable")
        seconds = max(float((count * self._cost + delay).max()), float(alone.max(initial=0.0)))
        seconds += self.overhead * max(0, 2 * int(degree.max(initial=0)) - 1)
        owner, delays = np.append(owner[order], -2), np.append(delays[order], 0.0)  # so that there is always one
        return RoundState(seconds, count, delay, degree, start, owner, delays, pair[slowest], alone[slowest])

    def seconds(self, edges: IntArray) -> float:
        """Give the seconds of a round; infinite if an edge has no link.

        Parameters
        ----------
        edges : ndarray of int64, shape (m, 2)
        """
        return self.at(edges).seconds

    def after(self, state: RoundState, removed: IntArray, added: IntArray) -> FloatArray:
        """Give the seconds of a round after each of many changes.

        Parameters
        ----------
        state : RoundState
            Of the edges as they are.
        removed : ndarray of int64, shape (B, r, 2)
            Edges of theirs that each change takes out, none of them twice; (-1, -1) for none.
        added : ndarray of int64, shape (B, a, 2)
            Edges that it adds, which are then not among them; (-1, -1) for none.

        Returns
        -------
        ndarray of float64, shape (B,)
            Infinite where an edge without a link is added.

        Raises
        ------
        InputError
            If the shapes do not fit.
        """
        removed, added = np.asarray(removed, dtype=np.int64), np.asarray(added, dtype=np.int64)
        for edges in (removed, added):
            if edges.ndim != 3 or edges.shape[2] != 2 or len(edges) != len(added):
                raise InputError(
                    f"changes of shape {removed.shape} and {added.shape}; expected (B, r, 2) and (B, a, 2)"
                )
        step = max(1, CHUNK // (self.things + self.nodes))
        parts = [self._after(state, removed[k : k + step], added[k : k + step]) for k in range(0, len(added), step)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _after(self, state: RoundState, removed: IntArray, added: IntArray) -> FloatArray:
        b, width = len(added), self.things + 1
        gone = self._pairs(removed)
        (less, _), (more, delays) = self._uses(removed), self._uses(added)
        row = np.arange(b)[:, None, None]
        less_at, more_at = (less + row * width).ravel(), (more + row * width).ravel()
        count = np.bincount(more_at, minlength=b * width) - np.bincount(less_at, minlength=b * width)
        busy = (count.reshape(b, width) + state.count) * self._cost
        delay = np.tile(state.delay, b)
        delay[less_at] = self._left(state, less, gone).ravel()
        np.maximum.at(delay, more_at, delays.ravel())
        busy += delay.reshape(b, width)
        # The last, nothing, costs nothing and waits for nothing.
        seconds: FloatArray = np.maximum(busy.max(axis=1), self._links(state, gone, added))
        return seconds + self._nodes(state, removed, added)

    def _left(self, state: RoundState, things: IntArray, gone: IntArray) -> FloatArray:
        """Give the largest delay through things once edges are gone: among as many edges and one there is one left."""
        begin, end = state.start[things], state.start[things + 1]
        left = np.zeros(things.shape)
        for k in reversed(range(gone.shape[1] + 1)):
            place = begin + k
            there = place < end
            place = np.where(there, place, 0)
            there &= (state.pair[place][..., None] != gone[:, None, None, :]).all(axis=-1)
            left = np.where(there, state.delays[place], left)
        return left

    def _links(self, state: RoundState, gone: IntArray, added: IntArray) -> FloatArray:
        u, v = added[..., 0], added[..., 1]
        longest = np.where(u >= 0, self.alone[u, v], 0.0).max(axis=1, initial=0.0)
        depth = min(gone.shape[1] + 1, state.slowest.size)
        stays = (state.slowest[:depth, None] != gone[:, None, :]).all(axis=-1)
        seconds: FloatArray = np.maximum(longest, np.where(stays, state.alone[:depth], 0.0).max(axis=1, initial=0.0))
        return seconds

    def _nodes(self, state: RoundState, removed: IntArray, added: IntArray) -> FloatArray:
        if self.overhead == 0:
            return np.zeros(len(added))
        width = self.nodes + 1
        row = np.arange(len(added))[:, None] * width
        change = [
            np.bincount((row + edges.reshape(len(added), -1) + 1).ravel(), minlength=len(added) * width)
            for edges in (added, removed)
        ]
        degree = (change[0] - change[1]).reshape(-1, width)[:, 1:] + state.degree
        return np.asarray(self.overhead * np.maximum(0, 2 * degree.max(axis=1) - 1), dtype=np.float64)

    def _pairs(self, edges: IntArray) -> IntArray:
        """Give a number to each pair of nodes, whichever is first; -1 for none."""
        low, high = edges.min(axis=-1), edges.max(axis=-1)
        return np.where(low >= 0, low * self.nodes + high, -1)
