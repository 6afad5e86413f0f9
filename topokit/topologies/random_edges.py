"""Random graphs drawn as arrays of edges, in the time of a few sorts: for numbers of nodes that networkx is slow at.

Draws use a `numpy.random.Generator`, whose streams can differ between versions of NumPy; schedule files keep the graph.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from topokit.adjacency import sorted_edges
from topokit.matrix import IntArray

__all__ = ["binomial_edges", "geometric_edges", "regular_edges"]


def regular_edges(nodes: int, degree: int, rng: np.random.Generator) -> IntArray:
    """Draw a simple graph in which every node has the same degree; it need not be connected.

    Parameters
    ----------
    nodes : int
        Number of nodes; nodes * degree is even.
    degree : int
        Number of neighbours of every node, at most a quarter of the nodes.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int64, shape (nodes * degree / 2, 2)
        Sorted edges, the smaller node first.

    Notes
    -----
    The configuration model joins random pairs of `degree` stubs a node; then every edge {a, b} that is a loop or there
    already is switched with a random edge {c, d}, to {a, c} and {b, d}, where these are edges that do not exist yet.
    About (degree^2 - 1)/4 switches are needed, however many nodes there are. The total variation distance to a uniform
    random regular graph tends to 0 as the number of nodes grows [1]_.

    References
    ----------
    .. [1] S. Janson, "Random graphs with given vertex degrees and switchings", Random Structures & Algorithms 57,
       2020 (arXiv 1901.09989).

    Examples
    --------
    >>> edges = regular_edges(1000, 3, np.random.default_rng(0))
    >>> set(np.bincount(edges.ravel()).tolist()), len(np.unique(edges, axis=0))
    ({3}, 1500)
    """
    stubs = rng.permutation(nodes * degree) // degree
    u, v = np.sort(stubs.reshape(-1, 2), axis=1).T
    code = u * nodes + v
    order = np.argsort(code, kind="stable")
    edges = np.stack((u[order], v[order]), axis=1)
    _make_simple(nodes, edges, code[order], rng)
    return sorted_edges(nodes, edges[:, 0], edges[:, 1])


def _make_simple(nodes: int, edges: IntArray, code: IntArray, rng: np.random.Generator) -> None:
    """Switch loops and repeated edges away, in place; `code` is u * nodes + v of the sorted edges (u, v), u <= v."""
    faulty = edges[:, 0] == edges[:, 1]
    faulty[1:] |= code[1:] == code[:-1]
    places = np.flatnonzero(faulty)
    left = set(places.tolist())
    there = code[~faulty]
    added: set[int] = set()
    removed: set[int] = set()

    def exists(pair: int) -> bool:
        at = int(np.searchsorted(there, pair))
        return pair in added or (pair not in removed and at < there.size and int(there[at]) == pair)

    for k in places.tolist():
        a, b = edges[k].tolist()
        while k in left:
            other, swap = int(rng.integers(len(edges))), int(rng.integers(2))
            c, d = edges[other].tolist()[:: -1 if swap else 1]
            first, second = (min(a, c) * nodes + max(a, c), min(b, d) * nodes + max(b, d))
            if other in left or a == c or b == d or first == second or exists(first) or exists(second):
                continue
            gone = min(c, d) * nodes + max(c, d)
            if gone in added:
                added.remove(gone)
            else:
                removed.add(gone)
            added |= {first, second}
            edges[k], edges[other] = (a, c), (b, d)
            left.remove(k)


def binomial_edges(nodes: int, probability: float, rng: np.random.Generator) -> IntArray:
    """Draw every pair of nodes as an edge independently with the same probability, in time of the number of edges.

    Parameters
    ----------
    nodes : int
        Number of nodes, at least 2.
    probability : float
        More than 0 and less than 1.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int64, shape (m, 2)
        Edges, the smaller node first, sorted by the larger one.

    Notes
    -----
    The number of pairs from one edge to the next, in the order (0, 1), (0, 2), (1, 2), (0, 3), ..., is geometric [1]_.

    References
    ----------
    .. [1] V. Batagelj, U. Brandes, "Efficient generation of large random networks", Physical Review E 71, 2005.

    Examples
    --------
    >>> edges = binomial_edges(1000, 0.1, np.random.default_rng(0))
    >>> 48_000 < len(edges) < 52_000
    True
    """
    pairs = nodes * (nodes - 1) // 2
    expected = pairs * probability
    parts, last = [], -1
    while last < pairs:
        steps = rng.geometric(probability, int(expected + 4 * sqrt(expected)) + 16)
        # A step beyond all pairs ends the list; as it is, it could be too large to add up.
        parts.append(last + np.cumsum(np.minimum(steps, pairs + 1)))
        last = int(parts[-1][-1])
    chosen = np.concatenate(parts)
    chosen = chosen[: np.searchsorted(chosen, pairs)]
    # Pair number v (v - 1)/2 + u is (u, v) with u < v; the root is off by rounding at most.
    larger = ((1 + np.sqrt(1 + 8 * chosen.astype(np.float64))) / 2).astype(np.int64)
    larger -= larger * (larger - 1) // 2 > chosen
    larger += larger * (larger + 1) // 2 <= chosen
    return np.stack((chosen - larger * (larger - 1) // 2, larger), axis=1)


def geometric_edges(nodes: int, radius: float, rng: np.random.Generator) -> IntArray:
    """Place nodes in the unit square at random and join those at most `radius` apart.

    Returns
    -------
    ndarray of int64, shape (m, 2)
        Edges, the smaller node first, sorted.

    Examples
    --------
    >>> len(geometric_edges(5, 1.5, np.random.default_rng(0)))  # all pairs
    10
    """
    from scipy.spatial import cKDTree

    near = cKDTree(rng.random((nodes, 2))).query_pairs(radius, output_type="ndarray").astype(np.int64)
    return sorted_edges(nodes, near[:, 0], near[:, 1])
