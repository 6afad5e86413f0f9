"""Simple weights that optimal ones have to beat: what a solver begins with, and what it never ends worse than."""

from __future__ import annotations

import numpy as np

from topokit.adjacency import adjacency_of_edges
from topokit.matrix import FloatArray
from topokit.optimal.problem import WeightProblem
from topokit.spectral import laplacian_extremes, slem

__all__ = ["simple_weights"]

KEPT = 1e-12  # what a limit may be missed by


def simple_weights(problem: WeightProblem) -> tuple[FloatArray, float] | None:
    """Give the best of the closed-form weights that keep the limits, with its SLEM; None if none keeps them.

    Constant weights 2/(mu_2 + mu_n) and 1/(largest degree), and Metropolis-Hastings weights, cut to the bounds.

    Parameters
    ----------
    problem : WeightProblem
        Undirected, at least 2 nodes.

    Examples
    --------
    >>> import networkx as nx
    >>> from topokit.optimal.problem import weight_problem
    >>> weights, reached = simple_weights(weight_problem(nx.star_graph(3), "fdla"))
    >>> round(reached, 6)
    0.6
    """
    degree = problem.degrees()
    u, v = problem.edges.T
    low, high = laplacian_extremes(adjacency_of_edges(problem.nodes, problem.edges))
    most, larger = float(degree.max()), np.maximum(degree[u], degree[v])
    constants = (2 / (low + high), 1 / most, min(2 / (low + high), 1 / most))
    candidates = [*(np.full(len(problem.edges), c) for c in constants), 1 / larger, 1 / (1.0 + larger)]
    best: tuple[FloatArray, float] | None = None
    for weights in candidates:
        cut = weights if problem.upper is None else np.minimum(weights, problem.upper)
        if problem.excess(cut) > KEPT:
            continue
        found = slem(problem.matrix(cut))
        if best is None or found < best[1]:
            best = cut, found
    return best
