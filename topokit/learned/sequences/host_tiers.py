"""Exchanges of hosts in tiers: slow hosts agree while fast ones do, then each of them exchanges with a fast one.

After that the slow hosts know the mean, and what the fast ones hold has the right sum: they average once more. Slow
cards work in few rounds, whatever the number of hosts, and the fast ones may be in tiers again. It is a start for the
search, and exact where hosts have equally many nodes.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from topokit.learned.sequences.anneal import Candidate
from topokit.learned.sequences.euclid import euclid_sequence
from topokit.learned.sequences.host_clock import HostClock
from topokit.matrix import FloatArray

__all__ = ["along_tree", "tiers"]

Exchange = tuple[int, int, float]  # two hosts, and the part of their difference that moves
Rounds = tuple[tuple[Exchange, ...], ...]


def tiers(clock: HostClock, masses: FloatArray) -> Candidate:
    """Build the fastest exchanges in tiers.

    Parameters
    ----------
    clock : HostClock
    masses : ndarray of float64, shape (hosts,)
        Nodes of each host.

    Examples
    --------
    Three fast hosts and a slow one, which exchanges once:

    >>> from topokit.network import Host, Link, Network
    >>> hosts = tuple(Host(f"h{k}", (k,), rate, rate) for k, rate in enumerate((100.0, 100.0, 100.0, 5.0)))
    >>> clock = HostClock.of(Network(hosts, (Link(None, None, 1000.0),)), 100.0)
    >>> found = tiers(clock, np.ones(4))
    >>> int((found.edges * found.lanes[..., None] == 3).sum())
    1
    """
    order = [int(host) for host in np.argsort(clock.card, kind="stable")]

    def seconds(rounds: Rounds) -> float:
        pairs, lanes, _ = _arrays(rounds, masses)
        return float(clock.seconds(pairs, lanes).sum())

    @lru_cache
    def fastest(count: int) -> Rounds:
        """Let the fastest so many hosts average."""
        if count == 1:
            return ()
        best = _among(order[:count])
        for fast in range(-(-count // 2), count):
            inner, slow = fastest(fast), order[fast:count]
            share = float(masses[order[:fast]].sum() / masses[order[:count]].sum())
            meet = tuple((a, b, share) for a, b in zip(slow, order[:fast], strict=False))
            both = tuple(one + other for one, other in zip_longest(inner, _among(slow), fillvalue=()))
            rounds = (*both, meet, *inner)
            if seconds(rounds) < seconds(best) * (1 - 1e-9):
                best = rounds
        return best

    edges, lanes, weights = _arrays(fastest(len(order)), masses)
    return Candidate(edges, lanes, weights, math.nan, math.nan)


def along_tree(joined: NDArray[np.bool_], masses: FloatArray) -> Candidate:
    """Let hosts average along a spanning tree, each with one other at a time: slow, but it always mixes.

    Examples
    --------
    >>> path = np.array([[False, True, False], [True, False, True], [False, True, False]])
    >>> along_tree(path, np.ones(3)).edges.tolist()
    [[[0, 1]], [[1, 2]]]
    """
    reached, rounds = [0], list[list[Exchange]]()
    for a in reached:  # grows
        for b in np.flatnonzero(joined[a]).tolist():
            if b in reached:
                continue
            reached.append(b)
            free = (row for row in rounds if not {a, b} & {host for one, other, _ in row for host in (one, other)})
            row = next(free, None)
            if row is None:
                rounds.append(row := [])
            row.append((a, b, 0.5))
    edges, lanes, weights = _arrays(tuple(map(tuple, rounds)), masses)
    return Candidate(edges, lanes, np.minimum(weights, 1.0), math.nan, math.nan)  # at most what one message carries


def _among(hosts: list[int]) -> Rounds:
    """Let hosts average in pairs."""
    if len(hosts) == 1:
        return ()
    rounds = []
    for W in euclid_sequence(len(hosts)):
        once = W.target < W.source
        ends = zip(W.target[once].tolist(), W.source[once].tolist(), W.weight[once].tolist(), strict=True)
        rounds.append(tuple((hosts[i], hosts[j], w) for i, j, w in ends))
    return tuple(rounds)


def _arrays(rounds: Rounds, masses: FloatArray) -> tuple[np.ndarray, np.ndarray, FloatArray]:
    """Give edges, lanes and weights; rounds of fewer exchanges are filled up with what carries nothing."""
    count = max(map(len, rounds), default=1)
    edges = np.zeros((len(rounds), count, 2), dtype=np.int64)
    lanes, weights = np.zeros(edges.shape[:2], dtype=np.int64), np.zeros(edges.shape[:2])
    for t, exchanges in enumerate(rounds):
        for e, (a, b, share) in enumerate(exchanges):
            edges[t, e], lanes[t, e] = (a, b), 1
            weights[t, e] = share * 2 * masses[a] * masses[b] / (masses[a] + masses[b])
    return edges, lanes, weights
