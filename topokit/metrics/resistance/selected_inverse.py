"""Entries of the inverse of a sparse matrix, those alone that its factors have: the equations of Takahashi.

One factorisation, and as much work again from its last column back to the first, give every diagonal entry of the
inverse and every entry that belongs to an edge. Solving for all columns would take n times a solve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from topokit.errors import ConvergenceError
from topokit.matrix import FloatArray, IntArray

__all__ = ["Grounded"]


@dataclass(frozen=True, eq=False)
class Grounded:
    """The factors of a Laplacian without row and column 0, which is positive definite: node 0 is grounded.

    Parameters
    ----------
    nodes : int
        Number of nodes, node 0 counted.
    factors : scipy.sparse.linalg.SuperLU
    """

    nodes: int
    factors: Any

    @classmethod
    def of(cls, laplacian: sparse.csr_array) -> Grounded:
        """Factorise."""
        from scipy.sparse.linalg import splu

        matrix = sparse.csc_array(laplacian)[1:, 1:]
        options = {"SymmetricMode": True}
        factors: Any = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0, options=options)
        return cls(laplacian.shape[0], factors)

    def inverse_at(self, u: IntArray, v: IntArray) -> tuple[FloatArray, FloatArray]:
        """Give the diagonal of the grounded inverse, and its entries at edges (u, v); those of node 0 are 0.

        Raises
        ------
        ConvergenceError
            If the factorisation had to exchange rows: the matrix is singular to working precision.

        Examples
        --------
        >>> from topokit.metrics.resistance.circuit import Circuit
        >>> path = Circuit.of_edges(3, [(0, 1), (1, 2)])
        >>> [entries.round(12).tolist() for entries in Grounded.of(path.laplacian).inverse_at(*path.edges.T)]
        [[0.0, 1.0, 2.0], [0.0, 1.0]]
        """
        place = self.factors.perm_c
        if not np.array_equal(place, self.factors.perm_r):
            raise ConvergenceError("the graph is too badly conditioned for its effective resistances to be computed")
        inverse = _selected_inverse(self.factors)
        diagonal, across = np.zeros(self.nodes), np.zeros(len(u))
        diagonal[1:] = inverse.diagonal()[place]
        inner = (u > 0) & (v > 0)
        if inner.any():  # SciPy makes a matrix of no entries at all
            ends = np.stack((place[u[inner] - 1], place[v[inner] - 1]))
            across[inner] = inverse[ends.max(axis=0), ends.min(axis=0)]
        return diagonal, across


def _selected_inverse(factors: Any) -> sparse.csc_array:
    """Give the lower triangle of the inverse of L U, symmetric, where L is not 0."""
    lower = sparse.csc_array(factors.L)
    lower.eliminate_zeros()
    lower.sort_indices()
    pivots = np.asarray(factors.U.diagonal(), dtype=np.float64)
    start, rows, data = lower.indptr.astype(np.int64), lower.indices.astype(np.int64), lower.data
    values = np.empty_like(data)
    starts = _supernodes(start, rows)
    group = np.repeat(np.arange(starts.size - 1), np.diff(starts))
    fronts: dict[int, tuple[IntArray, FloatArray]] = {}
    pending = np.zeros(starts.size - 1, dtype=np.int64)
    parents = np.full(starts.size - 1, -1)
    last = starts[1:] - 1
    inner = start[last + 1] - start[last] > 1
    parents[inner] = group[rows[start[last[inner]] + 1]]
    np.add.at(pending, parents[inner], 1)
    for k in range(starts.size - 2, -1, -1):
        first, width = int(starts[k]), int(starts[k + 1] - starts[k])
        members = rows[start[first] : start[first + 1]]  # the columns of the supernode, then the rows below them
        block = np.zeros((members.size, width))
        for t in range(width):
            block[t:, t] = data[start[first + t] : start[first + t + 1]]
        corner = np.linalg.inv(block[:width]) if width > 1 else np.ones((1, 1))
        own = corner.T @ (corner / pivots[first : first + width, None])
        front = np.empty((members.size, members.size))
        front[:width, :width] = own
        if members.size > width:
            parent = int(parents[k])
            above, known = fronts[parent]
            place = np.searchsorted(above, members[width:])
            rest = known[place[:, None], place]
            below = block[width:] @ corner
            side = -rest @ below
            front[width:, width:], front[width:, :width], front[:width, width:] = rest, side, side.T
            front[:width, :width] -= below.T @ side
            pending[parent] -= 1
            if not pending[parent]:
                del fronts[parent]
        for t in range(width):
            values[start[first + t] : start[first + t + 1]] = front[t:, t]
        if pending[k]:
            fronts[k] = members, front
    return sparse.csc_array((values, rows, lower.indptr), shape=lower.shape)


def _supernodes(start: IntArray, rows: IntArray) -> IntArray:
    """Give the first columns of runs of columns that have the same rows below them, and the number of columns."""
    length = np.diff(start)
    columns = length.size
    joined = np.zeros(columns, dtype=bool)  # with the column before
    longer = length[:-1] == length[1:] + 1
    candidates = np.flatnonzero(longer)
    joined[candidates + 1] = rows[start[candidates] + 1] == candidates + 1
    return np.append(np.flatnonzero(~joined), columns)
