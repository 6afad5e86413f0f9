"""Graphs whose Laplacian eigenvalues are known: paths, cycles, complete and complete bipartite ones, and products.

They are recognised by their edges, whatever they are called, and need equal weights on all edges, in a product on all
edges of a factor.
"""

from __future__ import annotations

from math import cos, pi, prod, sin

import numpy as np

from topokit.spectral.lanczos import EPS, Interval
from topokit.spectral.sparse_forms import Weighted

__all__ = ["closed_ends"]

Factor = tuple[str, int, float]  # shape, number of nodes, weight


def closed_ends(graph: Weighted) -> tuple[Interval, Interval] | None:
    """Give the second smallest and the largest Laplacian eigenvalue of a connected graph, where they have closed forms.

    Returns
    -------
    tuple of Interval, or None
        As wide as rounding makes them.

    References
    ----------
    .. [1] A. E. Brouwer, W. H. Haemers, "Spectra of Graphs", 1.4, Springer 2012.

    Examples
    --------
    >>> from topokit.topologies import star_graph
    >>> from topokit.weights import metropolis_hastings_weights
    >>> low, high = closed_ends(Weighted.of(metropolis_hastings_weights(star_graph(10)).to_csr()))
    >>> round(low.lower, 12), round(high.upper, 12)
    (0.1, 1.0)
    """
    if graph.nodes < 2 or not (graph.weights.data > 0).all():
        return None
    found = _of_equal_weights(graph) or _of_product(graph)
    if found is None:
        return None
    low, high = found
    return tuple(Interval(value * (1 - 16 * EPS), value * (1 + 16 * EPS)) for value in (low, high))  # type: ignore[return-value]


def _ends(factor: Factor) -> tuple[float, float]:
    """Smallest nonzero and largest eigenvalue."""
    what, n, weight = factor
    if what == "path":
        return 4 * weight * sin(pi / (2 * n)) ** 2, 4 * weight * cos(pi / (2 * n)) ** 2
    if what == "cycle":
        return 4 * weight * sin(pi / n) ** 2, 4 * weight * sin(pi * (n // 2) / n) ** 2
    return n * weight, n * weight  # complete


def _of_equal_weights(graph: Weighted) -> tuple[float, float] | None:
    """Recognise a connected graph with equal weights by its degrees, in any numbering."""
    A, n = graph.weights, graph.nodes
    weight = float(A.data[0]) if A.nnz else 0.0
    if A.nnz == 0 or (A.data != weight).any():
        return None
    edges, neighbours = A.nnz // 2, np.diff(A.indptr)
    if edges == n * (n - 1) // 2:
        return _ends(("complete", n, weight))
    if edges == n - 1 and neighbours.max() <= 2:
        return _ends(("path", n, weight))
    if edges == n and (neighbours == 2).all():
        return _ends(("cycle", n, weight))
    side = np.zeros(n, dtype=bool)
    side[A.indices[: A.indptr[1]]] = True
    a, b = sorted((int(side.sum()), n - int(side.sum())))
    across = side[A.indices] != np.repeat(side, neighbours)
    if edges == a * b and across.all():
        return a * weight, n * weight
    return None


def _of_product(graph: Weighted) -> tuple[float, float] | None:
    """Recognise a Cartesian product of paths, cycles and complete graphs, numbered digit by digit."""
    A, n = graph.weights, graph.nodes
    factors: list[Factor] = []
    stride = 1
    while stride < n:
        own = dict(zip(A.indices[: A.indptr[1]].tolist(), A.data[: A.indptr[1]].tolist(), strict=True))
        if stride not in own:
            return None
        size = _length(graph, stride)
        if n % (size * stride):
            return None
        wraps = (size - 1) * stride in own
        # A cycle of three is complete; in a complete graph of four, node 0 has another neighbour.
        what = "path" if not wraps or size == 2 else "complete" if size == 3 or 2 * stride in own else "cycle"
        factors.append((what, size, own[stride]))
        stride *= size
    if len(factors) < 2 or not _is_product(graph, factors):
        return None
    ends = [_ends(factor) for factor in factors]
    return min(low for low, _ in ends), sum(high for _, high in ends)


def _length(graph: Weighted, stride: int) -> int:
    """Follow the edges from 0 to stride, to 2 stride, and so forth, as far as they go."""
    A, n = graph.weights, graph.nodes
    here = np.arange(0, n - stride, stride)
    row = np.repeat(np.arange(n, dtype=A.indices.dtype), np.diff(A.indptr))
    joined = np.zeros(n, dtype=bool)
    joined[row[A.indices - row == stride]] = True
    missing = np.flatnonzero(~joined[here])
    return int(missing[0]) + 1 if missing.size else here.size + 1


def _is_product(graph: Weighted, factors: list[Factor]) -> bool:
    """Compare the edges, all of them, with those of the product."""
    A, n = graph.weights, graph.nodes
    row = np.repeat(np.arange(n), np.diff(A.indptr))
    stride, seen, expected = 1, np.zeros(A.nnz, dtype=bool), 0
    for what, size, weight in factors:
        ours, theirs = row // stride % size, A.indices // stride % size
        apart = np.abs(ours - theirs)
        same_elsewhere = (A.indices - row) == (theirs - ours) * stride
        near = apart == 1 if what == "path" else apart >= 1
        if what == "cycle":
            near = (apart == 1) | (apart == size - 1)
        own = same_elsewhere & near & (A.data == weight)
        per_line = {"path": 2 * (size - 1), "cycle": 2 * size, "complete": size * (size - 1)}[what]
        expected += n // size * per_line
        seen |= own
        stride *= size
    return bool(seen.all()) and A.nnz == expected and prod(size for _, size, _ in factors) == n
