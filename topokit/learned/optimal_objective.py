"""SLEM with optimal weights as an objective: they are computed again for every graph that is looked at."""

from __future__ import annotations

from typing import Literal

import numpy as np

from topokit.adjacency import adjacency_of_edges
from topokit.learned.moves import Moves, State
from topokit.learned.objectives import Levels, Objective
from topokit.matrix import FloatArray, IntArray
from topokit.optimal.weights import optimal_weights

__all__ = ["OptimalSlem"]

WIDTH = 1e-5  # of the certificates: how near to optimal weights are in the search

REMEMBERED = 20_000  # graphs: small ones come back often


class OptimalSlem(Objective):
    """SLEM with the weights that make it smallest.

    Moves are weighed as if edges kept their weights, and new ones got the mean weight of those that they replace, or of
    all.

    Parameters
    ----------
    kind : {"fmmc", "fdla"}
        None negative, or of any sign.

    Examples
    --------
    On a complete bipartite graph with parts of 2 and 3 nodes:

    >>> graph = State.of(5, np.array([[0, 2], [0, 3], [0, 4], [1, 2], [1, 3], [1, 4]]))
    >>> bool(abs(1 - OptimalSlem("fdla").edge_weights(graph).sum() * 2 / 5) < 1)
    True
    """

    fixed = False

    def __init__(self, kind: Literal["fmmc", "fdla"]) -> None:
        self.kind: Literal["fmmc", "fdla"] = kind
        self.name = self.weights = kind
        sign = "nonnegative" if kind == "fmmc" else "any"
        self.summary = f"SLEM with optimal weights ({sign})"
        self._known: dict[bytes, FloatArray] = {}

    def edge_weights(self, state: State) -> FloatArray:
        """Compute optimal weights; zeros where the graph is not connected."""
        key = state.edges.tobytes()
        if key not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = optimal_weights(adjacency_of_edges(state.nodes, state.edges), self.kind, width=WIDTH)
            if found.stopped == "interrupt":  # which it keeps to itself
                raise KeyboardInterrupt
            self._known[key] = found.weights
        return self._known[key]

    def weight_changes(self, state: State, moves: Moves) -> tuple[IntArray, FloatArray]:
        """Take the weights of removed edges away, and give new ones their mean."""
        pairs, sign = moves.changes
        weights = np.zeros((state.nodes, state.nodes))
        u, v = state.edges.T
        weights[u, v] = weights[v, u] = self.edge_weights(state)
        gone = np.where(sign < 0, weights[pairs[:, :, 0], pairs[:, :, 1]], 0.0)
        count = (sign < 0).sum(axis=1)
        mean = np.where(count > 0, gone.sum(axis=1) / np.maximum(count, 1), weights[u, v].mean())
        return pairs, np.where(sign > 0, mean[:, None], -gone)

    def of_ends(self, low: float, high: float) -> float:
        """Give the cost."""
        return max(1 - low, high - 1)

    def levels(self, low: float, high: float, slack: float) -> Levels:
        """Give levels for a gap smaller by the slack."""
        slem = self.of_ends(low, high)
        slem += slack * (1 - slem)
        return 1 - slem, 1 + slem
