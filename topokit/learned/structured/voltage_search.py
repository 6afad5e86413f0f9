"""Hill climbing over voltage graphs: random changes of arcs, judged by the outermost blocks first.

Some changes are drawn at a time, and what they make of the blocks that hold the outermost eigenvalues now is computed
for all of them at once: most fail there. First-order perturbation does not tell the good ones, as in blocks this small
every change of an arc is a large one, and accepting worse graphs on the way does not help either.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from topokit.learned.structured.groups import SemidirectGroup
from topokit.learned.structured.voltage import VoltageGraph, eigenvalues
from topokit.learned.structured.voltage_moves import NONE, propose
from topokit.matrix import FloatArray, IntArray

__all__ = ["VoltageSearch"]

DRAWN = 32  # changes at a time
WATCHED = 2  # eigenvalues at either end whose blocks come first
PART = 8  # blocks that come second
SAME = 1e-12  # relative difference of costs that is rounding


class VoltageSearch:
    """A voltage graph on its way to a lower cost.

    Parameters
    ----------
    group : SemidirectGroup
    base : int
    arcs : ndarray of int64, shape (arcs, 3)
        Of a voltage graph whose lift is simple and regular.
    cost : callable
        Of the second smallest and the largest eigenvalue of the Laplacian; lower is better.
    rng : Generator

    Attributes
    ----------
    graph : VoltageGraph
        Best so far.
    cost : float
    evaluations : int
        Voltage graphs tried so far.

    Examples
    --------
    From a prism to the Petersen graph:

    >>> from topokit.learned.structured.groups import cyclic_group
    >>> prism = np.array([[0, 0, 1], [0, 1, 0], [1, 1, 1]])
    >>> slem = lambda low, high: (high - low) / (high + low)
    >>> search = VoltageSearch(cyclic_group(5), 2, prism, slem, np.random.default_rng(0))
    >>> search.climb(200)
    >>> round(7 * search.cost, 9)
    3.0
    """

    def __init__(
        self,
        group: SemidirectGroup,
        base: int,
        arcs: IntArray,
        cost: Callable[[float, float], float],
        rng: np.random.Generator,
    ) -> None:
        self.group, self.base, self.rng = group, base, rng
        self.graph = VoltageGraph(group, base, arcs)
        self.degree = int(self.graph.degrees[0])
        self.evaluations = 0
        self._cost_of = cost
        self._characters = group.characters[0]
        self._real = group.exponent <= 2
        blocks = self.graph.blocks(self._characters)
        self._blocks: Any = blocks.real.copy() if self._real else blocks
        self._values = self._eigenvalues(self._blocks, np.arange(len(blocks)))
        self.cost = self._price(*_extremes(self._values))

    def _price(self, highest: float, lowest: float) -> float:
        """Give the cost of extreme eigenvalues of the adjacency matrix, kept to where those can lie."""
        low, high = max(self.degree - float(highest), 0.0), self.degree - float(lowest)
        return float(self._cost_of(low, max(high, low, self.degree)))

    def _eigenvalues(self, blocks: Any, places: IntArray) -> FloatArray:
        """Give all eigenvalues, ascending, that of the constant vector as NaN."""
        values = eigenvalues(blocks)
        values[..., places == 0, -1] = np.nan
        return values

    def climb(self, evaluations: int, deadline: float = math.inf) -> None:
        """Try so many voltage graphs, and go on from every one that is not worse.

        Raises
        ------
        KeyboardInterrupt
            At Ctrl-C; the best so far stays.
        """
        end = self.evaluations + evaluations
        while self.evaluations < end and time.monotonic() < deadline:
            limit = self.cost + SAME * abs(self.cost)
            removed, added = propose(self.graph, self.rng, min(DRAWN, end - self.evaluations))
            self.evaluations += len(removed)
            first = self._outermost()
            blocks = self._changed(first, removed, added)
            values = self._eigenvalues(blocks, first)
            prices = [self._price(*_extremes(part)) for part in values]
            for place in np.argsort(prices, kind="stable"):
                if not prices[place] <= limit or self._attempt(
                    removed[place], added[place], limit, first, blocks[place], values[place]
                ):
                    break

    def _outermost(self) -> IntArray:
        """Find the blocks with the outermost eigenvalues."""
        ranked = np.argsort(self._values, axis=None, kind="stable")[:-1]  # NaN comes last
        return np.unique(np.concatenate([ranked[:WATCHED], ranked[-WATCHED:]]) // self._values.shape[1])

    def _attempt(
        self, removed: IntArray, added: IntArray, limit: float, first: IntArray, blocks: Any, values: FloatArray
    ) -> bool:
        """Make a change whose first blocks are known, if its cost is within the limit."""
        arcs = np.concatenate(
            [np.delete(self.graph.arcs, removed[removed != NONE], axis=0), added[added[:, 0] != NONE]]
        )
        graph = VoltageGraph(self.group, self.base, arcs)
        if not graph.simple or (graph.degrees != self.degree).any():
            return False
        high, low = _extremes(values)
        cost = self._price(high, low)
        parts = [(first, blocks, values)]
        # Then those nearest to the ends, in ever larger parts: few changes get far.
        distances = np.fmax.reduce(np.abs(self._values - (high + low) / 2), axis=1)
        distances[first] = -1
        rest = np.argsort(-distances, kind="stable")[: len(distances) - len(first)]
        begin = 0
        while begin < len(rest):
            part = rest[begin : begin + max(PART, 2 * begin)]
            begin += len(part)
            blocks = self._changed(part, removed[None], added[None])[0]
            values = self._eigenvalues(blocks, part)
            parts.append((part, blocks, values))
            higher, lower = _extremes(values)
            high, low = max(high, higher), min(low, lower)
            cost = self._price(high, low)
            if not cost <= limit:
                return False
        for part, blocks, values in parts:
            self._blocks[part], self._values[part] = blocks, values
        self.graph, self.cost = graph, cost
        return True

    def _changed(self, places: IntArray, removed: IntArray, added: IntArray) -> Any:
        """Give blocks after each of some changes, shape (changes, places, base k, base k)."""
        changes = np.concatenate([np.where(removed[:, :, None] == NONE, NONE, self.graph.arcs[removed]), added], axis=1)
        arcs = np.maximum(changes, 0).reshape(-1, 3)
        half = ((arcs[:, 0] == arcs[:, 1]) & (self.group.inverse[arcs[:, 2]] == arcs[:, 2])).reshape(-1, 4)
        rows, columns, values = self.graph.entries(arcs, self._characters[places])
        rows, columns = (index.reshape(len(changes), 4, 1, -1) for index in (rows, columns))
        entries: Any = values.real if self._real else values
        entries = entries.reshape(len(places), len(changes), 4, self.group.turns).transpose(1, 2, 0, 3)
        blocks = np.repeat(self._blocks[None, places], len(changes), axis=0)
        block = np.arange(len(places))[:, None]
        for slot, sign in enumerate((-1, -1, 1, 1)):
            one = np.flatnonzero(changes[:, slot, 0] != NONE)
            blocks[one[:, None, None], block, rows[one, slot], columns[one, slot]] += sign * entries[one, slot]
            one = one[~half[one, slot]]
            blocks[one[:, None, None], block, columns[one, slot], rows[one, slot]] += sign * entries[one, slot].conj()
        return blocks


def _extremes(values: FloatArray) -> tuple[float, float]:
    """Give the largest and the smallest of values that are not NaN."""
    return float(np.fmax.reduce(values, axis=None, initial=-math.inf)), float(
        np.fmin.reduce(values, axis=None, initial=math.inf)
    )
