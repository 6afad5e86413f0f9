"""Automorphisms found so far, and the orbits of nodes and edges under the group that they generate."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from topokit.matrix import IntArray

__all__ = ["Automorphisms"]


class Automorphisms:
    """Permutations of the nodes, each checked edge by edge.

    Attributes
    ----------
    labels : ndarray of int64, shape (n + m,)
        Those of nodes, then of edges: the same for two in one orbit.
    generators : list of ndarray of int64, shape (n,)

    Examples
    --------
    >>> path = Automorphisms(3, np.array([(0, 1), (1, 2)]), np.zeros(2, dtype=np.int64), directed=False)
    >>> path.add(np.array([1, 0, 2])), path.add(np.array([2, 1, 0])), path.labels.tolist()
    (False, True, [0, 1, 0, 2, 2])
    """

    def __init__(self, nodes: int, edges: IntArray, kinds: IntArray, directed: bool) -> None:
        self.nodes, self.edges, self.kinds, self.directed = nodes, edges, kinds, directed
        codes = self.codes(edges)
        self.order = np.argsort(codes)
        self.sorted_codes = codes[self.order]
        self.labels = np.arange(nodes + len(edges))
        self.generators: list[IntArray] = []

    def add(self, permutation: IntArray) -> bool:
        """Merge orbits, if this is an automorphism."""
        moved = self.images(permutation)
        if moved is None:
            return False
        after = np.r_[self.labels[permutation], self.labels[self.nodes + moved]]
        if (after == self.labels).all():
            return True  # nothing new
        size = self.labels.size
        links = sparse.csr_array((np.ones(size, dtype=np.int8), (self.labels, after)), shape=(size, size))
        self.labels = connected_components(links, directed=False)[1].astype(np.int64)[self.labels]
        self.generators.append(permutation)
        return True

    def images(self, permutation: IntArray) -> IntArray | None:
        """Give the number of the edge that each edge goes to, or None if this is no automorphism."""
        if (np.bincount(permutation, minlength=self.nodes) != 1).any():
            return None
        for own in (slice(0, 32), slice(None)):  # most candidates fail at once
            codes = self.codes(permutation[self.edges[own]])
            place = np.minimum(np.searchsorted(self.sorted_codes, codes), self.order.size - 1)
            found = self.order[place]
            if (self.sorted_codes[place] != codes).any() or (self.kinds[found] != self.kinds[own]).any():
                return None
        # Different edges have different images, as the permutation has an inverse.
        return np.asarray(found, dtype=np.int64)

    def codes(self, edges: IntArray) -> IntArray:
        """Give a number for each edge, whichever way round it is where directions do not count."""
        u, v = edges.T
        first, second = (u, v) if self.directed else (np.minimum(u, v), np.maximum(u, v))
        return np.asarray(first * self.nodes + second, dtype=np.int64)

    def is_one(self) -> bool:
        """Say whether all nodes are one orbit, and all edges are."""
        return all(bool((part == part[:1]).all()) for part in np.split(self.labels, [self.nodes]))
