"""Sparse matrices in the one form that the spectral methods work on, and facts about them that cost next to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from topokit.errors import InputError
from topokit.matrix import FloatArray, MatrixLike, MixingMatrix

__all__ = ["Weighted", "absolute_sums", "as_csr", "asymmetry", "components", "in_reading_order", "sums_error"]

REORDERED = 100_000  # nodes from which on products wait for memory
INDEX = np.int32  # half the memory traffic of 64-bit indices


def as_csr(matrix: MatrixLike) -> sparse.csr_array:
    """Give W with sorted rows, without zeros, as float64 with 32-bit indices.

    Raises
    ------
    InputError
        If the matrix is not square, or holds values that are not finite.
    """
    if isinstance(matrix, MixingMatrix):
        W = matrix.to_csr()
    else:
        entries: Any = matrix if sparse.issparse(matrix) else np.asarray(matrix)
        if entries.dtype.kind not in "buif" or entries.ndim != 2 or not entries.shape[0]:
            raise InputError(
                f"a mixing matrix is a square array of real numbers, got shape {entries.shape} of {entries.dtype}"
            )
        W = sparse.csr_array(entries, dtype=np.float64, copy=True)
        if W.ndim != 2 or W.shape[0] != W.shape[1] or not np.isfinite(W.data).all():
            return MixingMatrix.from_matrix(matrix).to_csr()  # which says what is wrong, and where
        W.sum_duplicates()
    W.eliminate_zeros()
    return _with_short_indices(W)


def _with_short_indices(W: sparse.csr_array) -> sparse.csr_array:
    indices, indptr = W.indices.astype(INDEX, copy=False), W.indptr.astype(INDEX, copy=False)
    return sparse.csr_array((W.data, indices, indptr), shape=W.shape)


def asymmetry(W: sparse.csr_array) -> tuple[float, float]:
    """Give the largest entry of |W - W^T|, and a bound on the norm of W - W^T."""
    transposed = sparse.csr_array(W.T)
    parts = zip((W.indptr, W.indices, W.data), (transposed.indptr, transposed.indices, transposed.data), strict=True)
    if all(np.array_equal(one, other) for one, other in parts):
        return 0.0, 0.0
    difference = W - transposed
    return float(np.abs(difference.data).max(initial=0.0)), float(absolute_sums(difference).max(initial=0.0))


def absolute_sums(A: Any) -> FloatArray:
    """Give the row sums of the absolute values."""
    return np.asarray(abs(A) @ np.ones(A.shape[1]), dtype=np.float64)


def sums_error(W: sparse.csr_array) -> float:
    """Largest distance of a row or column sum from 1."""
    ones = np.ones(W.shape[0])
    return float(max(np.abs(W @ ones - 1).max(), np.abs(W.T @ ones - 1).max()))


@dataclass(frozen=True)
class Weighted:
    """A weighted graph, whose Laplacian is what all symmetric matrices with row sums 1 are about: W = I - L.

    Attributes
    ----------
    weights : sparse array, shape (n, n)
        Symmetric, nothing on the diagonal.
    degree : ndarray, shape (n,)
        Sums of the weights; the Laplacian is diag(degree) - weights.
    """

    weights: sparse.csr_array
    degree: FloatArray

    @classmethod
    def of(cls, matrix: sparse.csr_array) -> Weighted:
        """Take the entries off the diagonal."""
        coo = matrix.tocoo()
        off = coo.coords[0] != coo.coords[1]
        counts = np.bincount(coo.coords[0][off], minlength=matrix.shape[0])
        indptr = np.concatenate(([0], np.cumsum(counts))).astype(INDEX)
        indices = matrix.indices[off].astype(INDEX, copy=False)
        A = sparse.csr_array((matrix.data[off], indices, indptr), shape=matrix.shape)
        return cls(A, np.asarray(A @ np.ones(A.shape[0])))

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return int(self.degree.size)

    @property
    def nonnegative(self) -> bool:
        """Whether no weight is negative."""
        return bool((self.weights.data >= 0).all())

    def laplacian(self) -> sparse.csr_array:
        """Form diag(degree) - weights."""
        return _with_short_indices(sparse.csr_array(sparse.diags_array(self.degree) - self.weights))

    def largest(self) -> float:
        """Bound the eigenvalues of the Laplacian from above by Gershgorin's discs."""
        spread = self.degree if self.nonnegative else absolute_sums(self.weights)
        return float((self.degree + spread).max(initial=0.0))

    def smallest(self) -> float:
        """Bound the eigenvalues of the Laplacian from below: 0 where no weight is negative."""
        if self.nonnegative:
            return 0.0
        return float((self.degree - absolute_sums(self.weights)).min())

    def quotient(self, x: FloatArray, sign: int = -1, rest: FloatArray | float = 0.0) -> float:
        """Sum w_ij (x_i + sign x_j)^2 over the edges, and rest_i x_i^2 over the nodes, over the sum of x_i^2."""
        coo = self.weights.tocoo()
        ends = x[coo.coords[0]] + sign * x[coo.coords[1]]
        return float((coo.data @ ends**2 / 2 + np.sum(rest * x**2)) / (x @ x))


def components(pattern: sparse.csr_array) -> int:
    """Count the connected components."""
    count: Any = csgraph.connected_components(pattern, directed=False, return_labels=False)
    return int(count)


def in_reading_order(A: sparse.csr_array) -> sparse.csr_array:
    """Renumber the nodes of a large graph so that neighbours lie closer together in memory.

    In the order of a breadth-first search, the tree's edges are read one after the other; products of a large random
    matrix wait for the rest only.
    """
    nodes = A.shape[0]
    if nodes < REORDERED:
        return A
    order = csgraph.breadth_first_order(A, 0, directed=True, return_predecessors=False)
    if order.size < nodes:
        return A
    number = np.empty(nodes, dtype=INDEX)
    number[order] = np.arange(nodes, dtype=INDEX)
    B = A[order]
    renumbered = sparse.csr_array((B.data, number[B.indices], B.indptr.astype(INDEX, copy=False)), shape=A.shape)
    renumbered.sort_indices()
    return renumbered
