"""What a sparse factorisation would cost, told beforehand from small separators, so that none is begun in vain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from topokit.matrix import IntArray

__all__ = ["Cost", "estimate_cost"]

LEAF = 128  # nodes of a part that is not divided further
PEELED = 64  # times that nodes of degree 1 are taken off
DEPTH = 64  # divisions of a part
AROUND = 3  # a separator's rows reach so many times its own size: into itself and the separators around its part


@dataclass(frozen=True)
class Cost:
    """Of a factorisation: the entries of a triangular factor, and the multiplications."""

    fill: float
    work: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.fill + other.fill, self.work + other.work)

    def exceeds(self, limit: Cost) -> bool:
        """Whether one or the other is too much."""
        return self.fill > limit.fill or self.work > limit.work


def estimate_cost(pattern: sparse.csr_array, limit: Cost) -> Cost | None:
    """Estimate what a triangular factorisation of a matrix with a symmetric pattern costs.

    Parameters
    ----------
    pattern : sparse array, shape (n, n)
        Its entries off the diagonal.
    limit : Cost
        What to spend at most.

    Returns
    -------
    Cost or None
        None where the limit is exceeded.

    Notes
    -----
    Nodes of degree 1 leave nothing behind. The rest is divided by levels of breadth-first searches, all parts at once,
    until parts are small (nested dissection). A separator of s nodes makes an almost dense block of some multiple of
    s^2 entries: with a grid's separators of sqrt(n) nodes that comes to O(n log n), and an expander is recognised at
    its first separator, of a good part of all nodes.

    Examples
    --------
    >>> path = sparse.diags_array([1.0] * 999, offsets=1, shape=(1000, 1000))
    >>> estimate_cost(sparse.csr_array(path + path.T), Cost(1e6, 1e9)).fill
    2000.0
    >>> estimate_cost(sparse.csr_array(np.ones((300, 300))), Cost(1e5, 1e8)) is None
    True
    """
    graph, cost = _without_leaves(pattern)
    for _ in range(DEPTH):
        if cost.exceeds(limit):
            return None
        graph, done = _without_small_parts(graph)
        cost += done
        if graph.shape[0] == 0:
            return None if cost.exceeds(limit) else cost
        separator, sizes = _separators(graph)
        block = sizes.astype(np.float64)
        cost += Cost(AROUND * float((block**2).sum()), AROUND**2 * float((block**3).sum()))
        graph = _induced(graph, ~separator)
    return None


def _induced(graph: sparse.csr_array, keep: Any) -> sparse.csr_array:
    nodes = np.flatnonzero(keep)
    return sparse.csr_array(graph[nodes][:, nodes])


def _without_leaves(pattern: sparse.csr_array) -> tuple[sparse.csr_array, Cost]:
    """Take off nodes of degree 1, again and again, and tell what they cost."""
    graph = sparse.csr_array((np.ones(pattern.nnz, dtype=np.int8), pattern.indices, pattern.indptr), pattern.shape)
    nodes, edges = graph.shape[0], graph.nnz // 2
    # Without nodes of degree 1 and 2, which cost next to nothing, no more than 2 (m - n) nodes are left.
    kernel = 2.0 * max(edges - nodes + 1, 0)
    if kernel**2 < nodes:
        nobody = np.zeros(graph.shape[0], dtype=bool)
        return _induced(graph, nobody), Cost(2 * nodes + kernel**2, 4 * nodes + kernel**3)
    cost = Cost(0, 0)
    for _ in range(PEELED):
        leaves = np.diff(graph.indptr) <= 1
        count = int(leaves.sum())
        if count < graph.shape[0] / 100:
            break
        cost += Cost(2 * count, 4 * count)
        graph = _induced(graph, ~leaves)
    return graph, cost


def _without_small_parts(graph: sparse.csr_array) -> tuple[sparse.csr_array, Cost]:
    """Take off the parts that need no division, and tell what they cost."""
    if graph.shape[0] == 0:
        return graph, Cost(0, 0)
    _, part = csgraph.connected_components(graph, directed=False)
    size = np.bincount(part)
    small = size <= LEAF
    # A planar part of LEAF nodes fills some ten entries a node, and as many towards the separators around it.
    row = np.minimum(size[small], 20.0)
    return _induced(graph, ~small[part]), Cost(float(row @ size[small]), float(row**2 @ size[small]))


def _separators(graph: sparse.csr_array) -> tuple[Any, IntArray]:
    """Choose the smallest level of a breadth-first search in the middle of every part; also give their sizes."""
    nodes = graph.shape[0]
    parts, part = csgraph.connected_components(graph, directed=False)
    size = np.bincount(part, minlength=parts)
    first = np.full(parts, nodes)
    np.minimum.at(first, part, np.arange(nodes))
    depth = _depths(graph, first)
    # A node that is as far away as any other makes for long and thin levels.
    deepest = np.lexsort((depth, part))[np.cumsum(size) - 1]
    depth = _depths(graph, deepest)
    levels = np.zeros(parts, dtype=np.int64)
    np.maximum.at(levels, part, depth + 1)
    start = np.concatenate(([0], np.cumsum(levels)))
    width = np.bincount(start[part] + depth, minlength=int(start[-1]))
    owner = np.repeat(np.arange(parts), levels)
    total = np.cumsum(width)
    before = total - width - (np.cumsum(size) - size)[owner]
    middle = (before + width >= size[owner] / 4) & (before <= 3 * size[owner] / 4)
    cost = np.where(middle, width, nodes + 1)
    chosen = np.lexsort((cost, owner))[start[:-1]]
    return depth == (chosen - start[:-1])[part], width[chosen]


def _depths(graph: sparse.csr_array, roots: IntArray) -> IntArray:
    """Give every node's distance from the root of its part; a node more, joined to the roots, starts all at once."""
    nodes = graph.shape[0]
    joined = sparse.csr_array(
        (
            np.ones(graph.nnz + roots.size, dtype=np.int8),
            np.concatenate((graph.indices, roots.astype(graph.indices.dtype))),
            np.concatenate((graph.indptr, [graph.nnz + roots.size])),
        ),
        shape=(nodes + 1, nodes + 1),
    )
    order, before = csgraph.breadth_first_order(joined, nodes, directed=True)
    place = np.empty(nodes + 1, dtype=np.int64)
    place[order] = np.arange(order.size)
    # Nodes are found in the order of their predecessors, so that a level ends where its predecessors do.
    found_by = place[before[order[1:]]]
    ends = [1]
    while ends[-1] < order.size:
        ends.append(1 + int(np.searchsorted(found_by, ends[-1])))
    depth = np.empty(nodes + 1, dtype=np.int64)
    depth[order] = np.repeat(np.arange(len(ends)), np.diff([0, *ends]))
    return depth[:nodes] - 1
