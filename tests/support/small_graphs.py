"""What the best small graphs reach: all connected graphs of up to seven nodes, and figures known from elsewhere.

The graphs are those of networkx's atlas, one of each isomorphism class, and their eigenvalues NumPy's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import sqrt

import networkx as nx
import numpy as np
from networkx.generators.atlas import graph_atlas_g

__all__ = ["BY_DEGREE", "BY_EDGES", "OBJECTIVES", "REGULAR", "KnownBest", "all_graphs", "best", "budgets", "values"]

LARGEST = 7  # nodes of the atlas

#: Figures of a graph, and whether the smallest is the best.
OBJECTIVES = {"laplacian": True, "metropolis-hastings": True, "eigenratio": True, "fiedler": False}


@dataclass(frozen=True)
class KnownBest:
    """The best that any connected graph with this many nodes and edges reaches.

    Attributes
    ----------
    nodes, edges : int
    connected : int
        Number of connected graphs.
    fiedler : float
        Largest algebraic connectivity.
    laplacian, fmmc, fdla : float
        Smallest SLEM with best constant, optimal non-negative, and optimal weights.
    named : dict
        Number in the atlas of a graph that is the best, by objective, where the table names it.
    """

    nodes: int
    edges: int
    connected: int
    fiedler: float
    laplacian: float
    fmmc: float
    fdla: float
    named: dict[str, int]


#: Exhaustive optima, found elsewhere with a general SDP solver (FMMC, FDLA) and rounded to six digits.
BY_EDGES = tuple(
    KnownBest(*row)
    for row in (
        (5, 5, 5, 1.381966, 0.447214, 0.447214, 0.447214, {}),
        (5, 6, 5, 2, 3 / 7, 3 / 7, 3 / 7, {}),
        (5, 7, 4, 2, 0.428571, 0.408248, 0.408248, {}),
        (5, 8, 2, 3, 0.25, 0.25, 0.25, {}),
        (6, 6, 13, 1, 0.6, 0.6, 0.6, {}),
        (6, 7, 19, 1.267949, 0.577350, 0.5, 0.5, {"laplacian": 129}),
        (6, 8, 22, 2, 0.5, 0.449195, 0.449195, {"laplacian": 146, "fmmc": 151, "fdla": 151}),
        (6, 9, 20, 3, 1 / 3, 1 / 3, 1 / 3, {}),
        (6, 12, 5, 4, 0.2, 0.2, 0.2, {}),
        (7, 7, 33, 1, 0.669362, 0.669362, 0.669362, {}),
        (7, 8, 67, 1, 0.630602, 0.6, 0.586207, {"laplacian": 449}),
        (7, 9, 107, 1.585786, 0.471405, 0.471405, 0.471405, {"fiedler": 580}),
        (7, 10, 132, 2, 0.518422, 0.471405, 0.471405, {"laplacian": 729}),
        (7, 11, 138, 2.139194, 0.460496, 0.408988, 0.408988, {"fiedler": 876, "laplacian": 877, "fmmc": 876}),
        (7, 12, 126, 3, 0.353553, 0.353553, 0.353553, {"laplacian": 1005}),
        (7, 14, 64, 3.198062, 0.322806, 0.286208, 0.286208, {"fiedler": 1170}),
    )
)

#: (nodes, largest degree): smallest SLEM with best constant weights, number of edges of a best graph (None: not told).
BY_DEGREE = {
    (6, 2): (0.6, None),
    (6, 3): (1 / 3, None),
    (6, 4): (0.2, None),
    (7, 2): (0.669362, None),
    (7, 3): (0.471405, 9),
    (7, 4): (0.322806, 14),
}

#: (nodes, degree): SLEM with best constant weights of the best regular graph that is known; proved for the Petersen
#: graph alone.
REGULAR = {(8, 3): 0.460496, (10, 3): 3 / 7, (16, 3): 0.651085, (16, 4): sqrt(17) / 9}


@dataclass(frozen=True)
class AllGraphs:
    """All connected graphs with one number of nodes.

    Attributes
    ----------
    number : array of int, shape (k,)
        In the atlas.
    adjacency : array of float, shape (k, n, n)
    edges, largest_degree : array of int, shape (k,)
    """

    number: np.ndarray
    adjacency: np.ndarray
    edges: np.ndarray
    largest_degree: np.ndarray


@cache
def _atlas() -> tuple[nx.Graph, ...]:
    return tuple(graph_atlas_g())


@cache
def all_graphs(nodes: int) -> AllGraphs:
    """Give all connected graphs with 2 to 7 nodes."""
    assert 2 <= nodes <= LARGEST
    found = [(i, g) for i, g in enumerate(_atlas()) if len(g) == nodes and nx.is_connected(g)]
    A = np.array([nx.to_numpy_array(graph, nodelist=range(nodes)) for _, graph in found])
    degree = A.sum(axis=2).astype(int)
    return AllGraphs(np.array([i for i, _ in found]), A, degree.sum(axis=1) // 2, degree.max(axis=1))


@cache
def values(nodes: int, objective: str) -> np.ndarray:
    """Give a figure of all connected graphs, in the order of `all_graphs`.

    Parameters
    ----------
    nodes : int
    objective : {"laplacian", "metropolis-hastings", "eigenratio", "fiedler"}
        SLEM with the best constant weights, (mu_n - mu_2)/(mu_n + mu_2); SLEM with the weights
        1/(1 + larger degree); mu_n/mu_2; mu_2.
    """
    A = all_graphs(nodes).adjacency
    degree = A.sum(axis=2)
    if objective == "metropolis-hastings":
        W = A / (1 + np.maximum(degree[:, :, None], degree[:, None, :]))
        W += np.eye(nodes) * (1 - W.sum(axis=2))[:, :, None]
        return np.abs(np.linalg.eigvalsh(W - 1 / nodes)).max(axis=1)
    mu = np.linalg.eigvalsh(np.eye(nodes) * degree[:, :, None] - A)
    low, high = mu[:, 1], mu[:, -1]
    return {"laplacian": (high - low) / (high + low), "eigenratio": high / low, "fiedler": low}[objective]


def best(
    nodes: int,
    objective: str,
    *,
    edges: int | None = None,
    most_edges: int | None = None,
    max_degree: int | None = None,
) -> tuple[float, tuple[int, ...]]:
    """Give the best value of all connected graphs within limits, and the graphs of the atlas that have it.

    Parameters
    ----------
    nodes : int
    objective : str
        See `values`.
    edges, most_edges, max_degree : int, optional
        Exactly this many edges, at most this many, no node with more neighbours.

    Raises
    ------
    ValueError
        If there is no such graph.
    """
    graphs, value = all_graphs(nodes), values(nodes, objective)
    fits = np.ones(value.size, dtype=bool)
    if edges is not None:
        fits &= graphs.edges == edges
    if most_edges is not None:
        fits &= graphs.edges <= most_edges
    if max_degree is not None:
        fits &= graphs.largest_degree <= max_degree
    if not fits.any():
        raise ValueError(f"no connected graph of {nodes} nodes is within these limits")
    top = float(value[fits].min() if OBJECTIVES[objective] else value[fits].max())
    return top, tuple(graphs.number[fits & (np.abs(value - top) < 1e-9)].tolist())


def budgets(nodes: int) -> Iterator[dict[str, int]]:
    """Give all limits on edges, and all on degrees, that some connected graph keeps, as arguments of `best`."""
    for edges in range(nodes - 1, nodes * (nodes - 1) // 2 + 1):
        yield {"edges": edges}
    for max_degree in range(min(2, nodes - 1), nodes):
        yield {"max_degree": max_degree}
