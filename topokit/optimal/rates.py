"""Rates of asynchronous gossip: how often each edge averages, so that the nodes agree soonest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse

from topokit.adjacency import GraphLike
from topokit.errors import GraphError, InputError
from topokit.matrix import FloatArray, IntArray
from topokit.optimal.connectivity import (
    TOLERANCE,
    Connectivity,
    edge_groups,
    edge_numbers,
    edges_of,
    maximal_connectivity,
)
from topokit.optimal.connectivity_problem import ConnectivityProblem

__all__ = ["optimal_rates"]


def optimal_rates(
    graph: GraphLike,
    *,
    limit: float | Any = 1.0,
    upper: float | Any | None = None,
    groups: IntArray | None = None,
    tolerance: float = TOLERANCE,
    time_limit: float | None = None,
) -> Connectivity:
    """Choose rates of the edges that maximise mu_2 of their Laplacian, no node averaging more often than its limit.

    The chi_1 = 1 / mu_2 of A²CiD² is then smallest: the time in which plain averaging shrinks differences.

    Parameters
    ----------
    graph : networkx.Graph or sparse array, shape (n, n)
        Connected, undirected, nodes 0 to n - 1, without self-loops. Of an adjacency matrix, only the pattern counts.
    limit : float or array of shape (n,), default 1.0
        Most averagings of a node in one unit of time, the time of one gradient: the sum of the rates of its edges.
    upper : float or array of shape (m,), optional
        Largest rate of an edge (sorted, smaller node first).
    groups : ndarray of int64, shape (m,), optional
        Edges of a group, 0 to K - 1, get the same rate; by default each edge is one.
    tolerance, time_limit
        As in `topokit.optimal.connectivity.maximal_connectivity`.

    Returns
    -------
    Connectivity
        Edges that bring nothing have a rate of nearly 0.

    Raises
    ------
    InputError
        If a limit is not positive, an upper bound is negative, or there are fewer than 2 nodes or too many.
    GraphError
        If the graph cannot be given weights, or edges bounded by 0 disconnect it.

    Notes
    -----
    Where all edges are alike by symmetry, as on a ring, a torus or a complete graph, equal rates are optimal. A rate
    at a node that its limit allows, but that would bring nothing, is not used.

    References
    ----------
    .. [1] S. Boyd, A. Ghosh, B. Prabhakar, D. Shah, "Randomized gossip algorithms", IEEE Transactions on Information
       Theory 52(6), 2006.
    .. [2] A. Nabli, E. Belilovsky, E. Oyallon, "A²CiD²: Accelerating Asynchronous Communication in Decentralized Deep
       Learning", NeurIPS 2023 (arXiv 2306.08289).

    Examples
    --------
    Two triangles that share an edge, and a node at one end of it:

    >>> import networkx as nx
    >>> graph = nx.Graph([(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (3, 4)])
    >>> best = optimal_rates(graph)
    >>> best.edges.tolist()[-1], round(best.mu2, 5), best.width < 1e-8
    ([3, 4], 0.29925, True)
    """
    nodes, edges = edges_of(graph, "optimal")
    if nodes < 2:
        raise InputError(f"rates of averagings need at least 2 nodes, got {nodes}")
    tied = edge_groups(edges, groups)
    most = np.full(int(tied.max()) + 1, np.inf)
    np.minimum.at(most, tied, _upper(edges, upper))
    usable = most > 0
    kept = usable[tied]
    number = np.cumsum(usable) - 1  # of the groups that are left
    try:
        problem = _problem(nodes, edges[kept], number[tied[kept]], _limits(nodes, limit), most[usable])
    except GraphError as error:
        raise GraphError(f"without the edges whose rate is bounded by 0, {error}") from None
    found = maximal_connectivity(problem, tolerance=tolerance, time_limit=time_limit)
    values = np.zeros(most.size)
    values[usable] = found.values
    return replace(found, edges=edges, groups=tied, values=values)


def _problem(
    nodes: int, edges: IntArray, groups: IntArray, limits: FloatArray, most: FloatArray
) -> ConnectivityProblem:
    ends = np.ones(edges.size), (edges.ravel(), np.repeat(groups, 2))
    at_nodes = sparse.csr_array(ends, shape=(nodes, most.size))
    bounded = np.flatnonzero(np.isfinite(most))
    of_edges = sparse.csr_array(
        (np.ones(bounded.size), (np.arange(bounded.size), bounded)), shape=(bounded.size, most.size)
    )
    both = sparse.csr_array(sparse.vstack((at_nodes, of_edges)))
    return ConnectivityProblem(nodes, edges, both, np.concatenate((limits, most[bounded])), groups)


def _limits(nodes: int, limit: Any) -> FloatArray:
    try:
        limits = np.array(np.broadcast_to(np.asarray(limit, dtype=np.float64), (nodes,)))
    except (TypeError, ValueError):
        raise InputError(f"the limit is one number, or one for each of the {nodes} nodes, got {limit!r}") from None
    wrong = ~(np.isfinite(limits) & (limits > 0))
    if wrong.any():
        node = int(np.flatnonzero(wrong)[0])
        raise InputError(f"the limit of node {node} is {limits[node]:g}; expected a positive number")
    return limits


def _upper(edges: IntArray, upper: Any) -> FloatArray:
    if upper is None:
        return np.full(len(edges), np.inf)
    values = edge_numbers(edges, upper, "the largest rate")
    wrong = ~(values >= 0)
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"the rate of edge {edges[k, 0]}-{edges[k, 1]} is bounded by {values[k]:g}; expected a number of at least 0"
        )
    return values
