"""Eigenpairs at the upper end of symmetric operators that change little from one call to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import acosh, ceil, log

import numpy as np

from topokit.matrix import FloatArray

__all__ = ["TopBlock", "chebyshev_filter"]

SPARE = 5  # vectors beyond those that count: the more, the faster these converge
GROWTH = 1e3  # by which one filter shrinks the part of a wanted vector that is not wanted
DEGREES = (6, 120)  # least and largest degree of a filter

Apply = Callable[[FloatArray], FloatArray]


def chebyshev_filter(apply: Apply, X: FloatArray, degree: int, low: float, cut: float, top: float) -> FloatArray:
    """Apply a polynomial of an operator that is small on an interval and large above it.

    Parameters
    ----------
    apply : callable
        Multiplies an (n, b) array by the operator.
    X : ndarray, shape (n, b)
    degree : int
        Of the polynomial, which is a Chebyshev polynomial up to its scale.
    low, cut : float
        The interval.
    top : float
        About the largest eigenvalue: the polynomial is about 1 there.

    Returns
    -------
    ndarray, shape (n, b)

    References
    ----------
    .. [1] Y. Zhou, Y. Saad, M. L. Tiago, J. R. Chelikowsky, "Self-consistent-field calculations using
       Chebyshev-filtered subspace iteration", J. Comput. Phys. 219, 2006, Algorithm 3.2.

    Examples
    --------
    >>> values = np.array([[0.0], [0.5], [1.0], [2.0]])
    >>> filtered = chebyshev_filter(lambda X: values * X, np.ones((4, 1)), 8, 0.0, 1.0, 2.0)
    >>> (abs(filtered[:3]) < 1e-5).all(), round(float(filtered[3, 0]), 12)
    (np.True_, 1.0)
    """
    half, centre = (cut - low) / 2, (cut + low) / 2
    first = half / (top - centre)
    scale = first
    before, now = X, (apply(X) - centre * X) * (first / half)
    for _ in range(degree - 1):
        following = 1 / (2 / first - scale)
        after = apply(now)
        after -= centre * now
        after *= 2 * following / half
        before *= scale * following if before is not X else 1.0
        after -= before if before is not X else (scale * following) * X
        before, now, scale = now, after, following
    return now


@dataclass
class TopBlock:
    """A subspace that follows the eigenvectors of the largest eigenvalues, orthogonal to the constant vector.

    Attributes
    ----------
    basis : ndarray, shape (n, b)
        Orthonormal Ritz vectors, largest Ritz value first.
    values : ndarray, shape (b,)
    residuals : ndarray, shape (b,)
        Norms of A x - theta x.
    rng : Generator
        Draws new directions.
    """

    basis: FloatArray
    values: FloatArray
    residuals: FloatArray
    rng: np.random.Generator

    @classmethod
    def random(cls, nodes: int, size: int, rng: np.random.Generator) -> TopBlock:
        """Start from random directions."""
        size = min(size, nodes - 1)
        basis = _orthonormal(rng.standard_normal((nodes, size)))
        return cls(basis, np.zeros(size), np.full(size, np.inf), rng)

    def project(self, apply: Apply) -> None:
        """Make the basis Ritz vectors of an operator."""
        image = apply(self.basis)
        values, turn = np.linalg.eigh(self.basis.T @ image)
        turn = turn[:, ::-1]
        self.basis, self.values = self.basis @ turn, values[::-1]
        self.residuals = np.linalg.norm(image @ turn - self.basis * self.values, axis=0)

    def refine(self, apply: Apply, low: float, wanted: int) -> None:
        """Filter once, so that the first `wanted` vectors come nearer to eigenvectors.

        Parameters
        ----------
        apply : callable
        low : float
            No eigenvalue is (much) smaller.
        wanted : int
        """
        top, cut = self.values[0], self.values[-1]
        last = self.values[min(wanted, len(self.values)) - 1]
        low = min(low, cut - 1e-3 * max(top - cut, 1e-12))
        span = max(cut - low, 1e-300)
        rate = acosh(max(1 + 2 * (last - cut) / span, 1 + 1e-9))
        degree = min(max(ceil(log(2 * GROWTH) / rate), DEGREES[0]), DEGREES[1])
        if top > cut:
            self.basis = _orthonormal(chebyshev_filter(apply, self.basis, degree, low, cut, top))
        self.project(apply)

    def resize(self, apply: Apply, size: int) -> None:
        """Give the block this many vectors; new ones are random."""
        nodes, old = self.basis.shape
        size = min(size, nodes - 1)
        if size < old:
            self.basis, self.values, self.residuals = self.basis[:, :size], self.values[:size], self.residuals[:size]
        elif size > old:
            extra = self.rng.standard_normal((nodes, size - old))
            self.basis = _orthonormal(np.hstack((self.basis, extra)))
            self.project(apply)

    def counts(self, threshold: float) -> int:
        """Number of Ritz values above a threshold."""
        return int((self.values > threshold).sum())

    def crowded(self, wanted: int) -> bool:
        """Whether there may be more wanted vectors than those in the block."""
        nodes, size = self.basis.shape
        return size < nodes - 1 and wanted > size - 2


def _orthonormal(X: FloatArray) -> FloatArray:
    return np.linalg.qr(X - X.mean(axis=0))[0]
