"""Eigenpairs at the upper end of symmetric operators that change little from one call to the next."""

from __future__ import annotations

from dataclasses import dataclass
from math import acosh, ceil, log

import numpy as np
from scipy import sparse

from topokit.matrix import FloatArray, IntArray

__all__ = ["SPARE", "Operator", "TopBlock"]

SPARE = 12  # vectors beyond those that count: the more, the shorter the filters
GROWTH = 2e3  # by which a filter raises a wanted vector over what is not wanted
LEAST, MOST = 6, 120  # degree of a filter
UNEVEN = 20.0  # logarithm of how differently a filter may raise two wanted vectors


@dataclass(frozen=True)
class Operator:
    """A sparse symmetric matrix plus F F^T.

    Attributes
    ----------
    matrix : sparse array, shape (n, n)
    diagonal : ndarray of int64, shape (n,)
        Where in ``matrix.data`` the diagonal is.
    factors : ndarray, shape (n, r)
        F.
    low : float
        No eigenvalue is (much) smaller.
    """

    matrix: sparse.csr_array
    diagonal: IntArray
    factors: FloatArray
    low: float

    def __call__(self, X: FloatArray) -> FloatArray:
        """Multiply an (n, b) array."""
        image = self.matrix @ X
        image += self.factors @ (self.factors.T @ X)
        return np.asarray(image)

    def filter(self, X: FloatArray, degree: int, cut: float) -> FloatArray:
        """Apply the Chebyshev polynomial that is at most 1 on [low, cut] and grows fastest above it.

        References
        ----------
        .. [1] Y. Zhou, Y. Saad, M. L. Tiago, J. R. Chelikowsky, "Self-consistent-field calculations using
           Chebyshev-filtered subspace iteration", J. Comput. Phys. 219, 2006, section 3.

        Examples
        --------
        >>> own = np.arange(4)
        >>> matrix = sparse.csr_array((np.array([0.0, 0.5, 1.0, 2.0]), (own, own)))
        >>> A = Operator(matrix, own, factors=np.zeros((4, 0)), low=0.0)
        >>> A.filter(np.ones((4, 1)), 8, cut=1.0)[:, 0].tolist()
        [1.0, 1.0, 1.0, 665857.0]
        """
        half, centre = (cut - self.low) / 2, (cut + self.low) / 2
        data = self.matrix.data * (2 / half)
        data[self.diagonal] -= 2 * centre / half
        twice = sparse.csr_array((data, self.matrix.indices, self.matrix.indptr), shape=self.matrix.shape)
        factors = self.factors * (2 / half)
        before, now = X.copy(), np.asarray(twice @ X + factors @ (self.factors.T @ X)) / 2
        for _ in range(degree - 1):
            after = twice @ now
            if factors.shape[1]:
                after += factors @ (self.factors.T @ now)
            after -= before
            before, now = now, after
        return now


class TopBlock:
    """A subspace that follows the eigenvectors of the largest eigenvalues, orthogonal to the constant vector.

    Parameters
    ----------
    nodes, size : int
    rng : Generator
        Draws directions.

    Attributes
    ----------
    basis : ndarray, shape (n, b)
        Orthonormal Ritz vectors, largest Ritz value first.
    values : ndarray, shape (b,)
    residuals : ndarray, shape (b,)
        Norms of A x - theta x.
    """

    def __init__(self, nodes: int, size: int, rng: np.random.Generator) -> None:
        self._rng = rng
        size = min(size, nodes - 1)
        self.basis = _orthonormal(rng.standard_normal((nodes, size)))
        self.values, self.residuals = np.zeros(size), np.full(size, np.inf)

    def project(self, A: Operator) -> None:
        """Make the basis Ritz vectors of an operator."""
        image = A(self.basis)
        values, turn = np.linalg.eigh(self.basis.T @ image)
        turn = turn[:, ::-1]
        self.basis, self.values = self.basis @ turn, values[::-1].copy()
        self.residuals = np.linalg.norm(image @ turn - self.basis * self.values, axis=0)

    def refine(self, A: Operator, wanted: int) -> None:
        """Filter once, so that the first `wanted` vectors come nearer to eigenvectors."""
        top, last, cut = (float(self.values[k]) for k in (0, min(wanted, len(self.values)) - 1, -1))
        span = cut - A.low
        if top - cut > 1e-14 * abs(top) and span > 0:
            highest, rate = (acosh(1 + 2 * (value - cut) / span) for value in (top, last))
            degree = ceil(log(2 * GROWTH) / max(rate, 1e-3))
            # Rounding errors along the first vectors would swamp the others.
            degree = min(degree, int(UNEVEN / max(highest - rate, 1e-3)))
            self.basis = _orthonormal(A.filter(self.basis, min(max(degree, LEAST), MOST), cut))
        self.project(A)

    def resize(self, A: Operator, size: int) -> None:
        """Give the block this many vectors; new ones are random."""
        nodes, old = self.basis.shape
        size = min(size, nodes - 1)
        if size < old:
            self.basis, self.values, self.residuals = self.basis[:, :size], self.values[:size], self.residuals[:size]
        elif size > old:
            self.basis = _orthonormal(np.hstack((self.basis, self._rng.standard_normal((nodes, size - old)))))
            self.project(A)

    def improve(self, A: Operator, threshold: float, accuracy: float, first: bool, fresh: bool) -> bool:
        """Come nearer to all eigenvectors whose eigenvalues exceed a threshold.

        Parameters
        ----------
        A : Operator
        threshold : float
        accuracy : float
            Largest residual that is left alone.
        first : bool
            Whether to filter even if all are accurate: vectors that the block does not have yet show no residual.
        fresh : bool
            Whether the block is random still, so that its size says nothing.

        Returns
        -------
        bool
            Whether anything was done.
        """
        nodes, size = self.basis.shape
        wanted = max(int((self.values > threshold).sum()), 1)
        if size < nodes - 1 and wanted > size - 2 and not fresh:
            self.resize(A, 2 * wanted + SPARE)
            self.refine(A, wanted)
            return True
        if first or bool((self.residuals[:wanted] > accuracy).any()):
            self.refine(A, max(1, min(wanted, size - SPARE // 2)))
            return bool(size < nodes - 1)
        if size > 2 * wanted + 2 * SPARE:
            self.resize(A, wanted + SPARE)
        return False


def _orthonormal(X: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.qr(X - X.mean(axis=0))[0])
