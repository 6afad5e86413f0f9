"""The best circulant graph: which offsets, of all sets where they are few, or by exchanging one after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from itertools import combinations, islice
from math import comb

import numpy as np

from topokit.errors import GraphError
from topokit.learned.structured.groups import cyclic_group
from topokit.learned.structured.voltage import VoltageGraph
from topokit.matrix import FloatArray, IntArray

__all__ = ["circulant_search", "offset_sets"]

ALL = 1 << 25  # cosines up to which all sets are tried
CHUNK = 1 << 21  # cosines that are held at a time
STARTS = 3
SWEEPS = 20


def circulant_search(
    nodes: int,
    degree: int,
    cost: Callable[[float, float], float],
    *,
    seed: int = 0,
    deadline: float = math.inf,
) -> tuple[VoltageGraph, float, int]:
    """Find offsets of a connected circulant graph of low cost.

    Multiplying all offsets by a unit modulo n renumbers the nodes, so that one offset may be taken for a divisor of n:
    where the sets of offsets are few up to that, all are tried. Elsewhere a few random sets are improved by exchanging
    one offset at a time.

    Parameters
    ----------
    nodes, degree : int
    cost : callable
        Of the second smallest and the largest eigenvalue of the Laplacian; lower is better.
    seed : int
    deadline : float
        Value of the monotonic clock at which to stop.

    Returns
    -------
    graph : VoltageGraph
        Over the integers modulo n, with one base node.
    cost : float
    evaluations : int
        Sets tried.

    Raises
    ------
    GraphError
        If no graph on so many nodes has this degree.

    Examples
    --------
    >>> graph, cost, tried = circulant_search(16, 4, lambda low, high: (high - low) / (high + low))
    >>> graph.arcs[:, 2].tolist(), round(cost, 6)
    ([1, 4], 0.575111)
    """
    if not 1 <= degree < nodes or nodes * degree % 2:
        raise GraphError(
            f"no graph on {nodes} nodes is {degree}-regular: the degree has to lie between 1 and {nodes - 1}, and be "
            "even where the number of nodes is odd"
        )
    whole, choices = degree // 2, np.arange(1, (nodes + 1) // 2)
    rows = np.arange(1, nodes // 2 + 1)
    cosines = np.cos(2 * np.pi / nodes * np.arange(nodes))
    fixed = np.where(rows % 2, -1.0, 1.0) if degree % 2 else np.zeros(len(rows))
    search = _Sets(nodes, degree, cost, rows, cosines, fixed, deadline)
    if whole == 0:
        search.try_all(np.empty((1, 0), dtype=np.int64))
    elif _count(nodes, whole) * len(rows) * whole <= ALL:
        for sets in offset_sets(nodes, whole, max(1, CHUNK // (len(rows) * whole))):
            search.try_all(sets)
    else:
        rng = np.random.default_rng(seed)
        for start in range(STARTS):
            search.exchange(_start(nodes, whole, rng, start), choices, rng)
    offsets = search.best
    half = [nodes // 2] * (degree % 2)
    arcs = np.array([[0, 0, g] for g in [*offsets.tolist(), *half]], dtype=np.int64)
    return VoltageGraph(cyclic_group(nodes), 1, arcs), search.best_cost, search.evaluations


def _count(nodes: int, whole: int) -> int:
    """Count the sets that `offset_sets` gives."""
    divisors = sum(nodes % g == 0 for g in range(1, (nodes + 1) // 2))
    return divisors * comb((nodes + 1) // 2 - 2, whole - 1)


def offset_sets(nodes: int, whole: int, together: int) -> Iterator[IntArray]:
    """List sets of so many offsets below n / 2 of which one divides n, the first; some are equivalent.

    Yields
    ------
    ndarray of int64, shape (at most ``together``, whole)

    Examples
    --------
    >>> [sets.tolist() for sets in offset_sets(8, 2, 10)]
    [[[1, 2], [1, 3]], [[2, 1], [2, 3]]]
    """
    for divisor in range(1, (nodes + 1) // 2):
        if nodes % divisor:
            continue
        others = [offset for offset in range(1, (nodes + 1) // 2) if offset != divisor]
        rest = combinations(others, whole - 1)
        while some := list(islice(rest, together)):
            sets = np.full((len(some), whole), divisor, dtype=np.int64)
            sets[:, 1:] = some
            yield sets


def _start(nodes: int, whole: int, rng: np.random.Generator, start: int) -> IntArray:
    """Give offsets to begin with: at first powers of n^(1/p), which spread evenly, then any."""
    limit = (nodes + 1) // 2
    offsets = {1}
    if start == 0:
        offsets |= {round(nodes ** (power / whole)) for power in range(1, whole)}
        offsets = {offset for offset in offsets if 0 < offset < limit}
    while len(offsets) < whole:
        offsets.add(int(rng.integers(1, limit)))
    return np.array(sorted(offsets), dtype=np.int64)


class _Sets:
    """Sets of offsets and their eigenvalues, which are sums of cosines."""

    def __init__(
        self,
        nodes: int,
        degree: int,
        cost: Callable[[float, float], float],
        rows: IntArray,
        cosines: FloatArray,
        fixed: FloatArray,
        deadline: float,
    ) -> None:
        self.nodes, self.degree, self.cost, self.rows = nodes, degree, cost, rows
        self.cosines, self.fixed, self.deadline = cosines, fixed, deadline
        self.best = np.arange(1, degree // 2 + 1)
        self.best_cost, self.evaluations = math.inf, 0
        self.try_all(self.best[None])

    def values(self, offsets: IntArray) -> FloatArray:
        """Give the eigenvalues that offsets add to the adjacency matrix, a row for each offset."""
        return np.asarray(2 * self.cosines[offsets[:, None] * self.rows % self.nodes])

    def _prices(self, values: FloatArray) -> list[float]:
        """Give costs of rows of eigenvalues; a disconnected graph's is infinite."""
        self.evaluations += len(values)
        low, high = self.degree - values.max(axis=1), self.degree - values.min(axis=1)
        return [self.cost(a, b) if a > 1e-12 else math.inf for a, b in zip(low.tolist(), high.tolist(), strict=True)]

    def try_all(self, sets: IntArray) -> None:
        """Try sets, one row each."""
        if self.evaluations and time.monotonic() > self.deadline:
            return
        values = self.fixed + sum((self.values(column) for column in sets.T), start=np.zeros((len(sets), 1)))
        prices = self._prices(values)
        place = int(np.argmin(prices))
        if prices[place] < self.best_cost - 1e-12 * min(abs(self.best_cost), 1):
            self.best, self.best_cost = np.sort(sets[place]), prices[place]

    def exchange(self, offsets: IntArray, choices: IntArray, rng: np.random.Generator) -> None:
        """Exchange one offset after the other for a better one until none is."""
        few = min(len(choices), max(4, CHUNK // len(self.rows)))
        current = self._prices((self.fixed + self.values(offsets).sum(axis=0))[None])[0]
        idle = 0
        for turn in range(SWEEPS * len(offsets)):
            if idle == len(offsets) or time.monotonic() > self.deadline:
                break
            place = turn % len(offsets)
            others = np.delete(offsets, place)
            tried = np.setdiff1d(choices if few == len(choices) else rng.choice(choices, few, replace=False), others)
            rest = self.fixed + self.values(others).sum(axis=0)
            step = max(1, CHUNK // len(self.rows))
            prices: list[float] = []
            for start in range(0, len(tried), step):
                prices += self._prices(rest + self.values(tried[start : start + step]))
            best = int(np.argmin(prices))
            idle += 1
            if prices[best] < current - 1e-12 * abs(current):
                offsets, current, idle = np.insert(others, place, tried[best]), prices[best], 0
        if current < self.best_cost:
            self.best, self.best_cost = np.sort(offsets), current
