"""The smallest eigenvalue of a sparse matrix with small separators: found by inverse iteration, proved by inertia.

An eigensolver finds some eigenvalue and cannot say whether it missed one. The pivots of A - s I can: by Sylvester's law
their signs count the eigenvalues below s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from topokit.matrix import FloatArray
from topokit.spectral.lanczos import EPS, Interval
from topokit.spectral.sparse_forms import absolute_sums

__all__ = ["Count", "Smallest", "count_below", "smallest_eigenvalue"]

BACK = 1e-6  # relative distance below an eigenvalue at which those below it are counted
STARTS = 2  # of the inverse iteration
COUNTS = 16  # factorisations of a search by counting alone


@dataclass(frozen=True)
class Count:
    """How many eigenvalues of a matrix lie below a point.

    Attributes
    ----------
    negative : int
        Number of negative pivots.
    margin : float
        What rounding may have moved the eigenvalues by, so that at most ``negative`` of the matrix itself lie below
        the point less this, and at least ``negative`` below the point plus this.
    """

    negative: int
    margin: float


@dataclass(frozen=True)
class Smallest:
    """The smallest eigenvalue, and the relative residual of the vector that shows that it is no larger."""

    interval: Interval
    residual: float


def count_below(matrix: sparse.csc_array, point: float) -> Count | None:
    """Count the eigenvalues of a sparse symmetric matrix below a point, by the signs of the pivots of A - s I.

    Returns
    -------
    Count or None
        None where the factorisation needed pivots off the diagonal, or failed.

    Notes
    -----
    The computed factors satisfy A - s I = L U + E with |E| <= g |L| |U|, g = k u/(1 - k u), u the unit roundoff and k
    the largest number of terms of an inner product: of entries in a row of L. In exact arithmetic U would be D L^T;
    F = U - D L^T is computed. So L D L^T, whose inertia is that of D, differs from A - s I by a symmetric matrix whose
    norm is at most the largest row sum of g |L| |U| + |L| |F|; eigenvalues move by no more than that (Weyl).

    References
    ----------
    .. [1] N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, theorem 9.3, 2002.

    Examples
    --------
    >>> count_below(sparse.csc_array(np.diag([1.0, 2.0, 3.0])), 2.5).negative
    2
    """
    nodes = matrix.shape[0]
    size = float(absolute_sums(matrix).max()) + abs(point)
    factors = _factor(sparse.csc_array(matrix - point * sparse.eye_array(nodes, format="csc")))
    if factors is None or not np.array_equal(factors.perm_r, factors.perm_c):
        return None
    # Columns of L and rows of U, which in a symmetric factorisation have the same pattern.
    lower, upper = sparse.csc_array(factors.L), sparse.csr_array(factors.U)
    del factors
    lower.sort_indices()
    upper.sort_indices()
    if not (np.array_equal(lower.indptr, upper.indptr) and np.array_equal(lower.indices, upper.indices)):
        return None
    pivots = upper.data[upper.indptr[:-1]]
    if not np.isfinite(upper.data).all() or (pivots == 0).any():
        return None
    terms = int(np.bincount(lower.indices).max()) + 2
    unit = EPS / 2
    gamma = terms * unit / (1 - terms * unit)
    differ = np.abs(upper.data - lower.data * np.repeat(pivots, np.diff(lower.indptr)))
    differ += gamma * np.abs(upper.data)
    np.abs(lower.data, out=lower.data)
    moved = float((lower @ np.add.reduceat(differ, upper.indptr[:-1])).max())
    # Two roundings of the entries themselves: where the matrix was formed, and where the point was subtracted.
    return Count(int((pivots < 0).sum()), 1.01 * moved + 2 * EPS * size)


def _factor(matrix: sparse.csc_array) -> Any:
    from scipy.sparse.linalg import splu

    try:
        return splu(
            matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True, "Equil": False}
        )
    except (RuntimeError, MemoryError):  # singular, or too large after all
        return None


def smallest_eigenvalue(
    matrix: sparse.csc_array,
    quotient: Callable[[FloatArray], float],
    *,
    constant: bool,
    definite: bool,
    tolerance: float,
    seed: int = 0,
) -> Smallest | None:
    """Find the smallest eigenvalue of a sparse matrix, proved on both sides, where it is positive.

    Parameters
    ----------
    matrix : sparse array, shape (n, n)
        A, with small separators.
    quotient : callable
        The Rayleigh quotient of A at a vector, summed up so that nothing cancels.
    constant : bool
        Whether A maps the constant vector to 0, and the smallest eigenvalue on its complement is meant.
    definite : bool
        Whether A is known to have no negative eigenvalue.
    tolerance : float
        Width of the interval, relative to the eigenvalue.
    seed : int
        Of the random start.

    Returns
    -------
    Smallest or None
        None where the factorisations fail, or where there are negative eigenvalues. The interval is wider than the
        tolerance where rounding does not allow it to be narrower.

    Examples
    --------
    >>> path = sparse.csc_array([[1.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 1.0]])
    >>> quotient = lambda x: x @ path @ x / (x @ x)
    >>> found = smallest_eigenvalue(path, quotient, constant=True, definite=True, tolerance=1e-3)
    >>> bool(found.interval.lower <= 1 <= found.interval.upper < 1.001)
    True
    """
    expected = int(constant)
    best, residual = np.inf, np.nan
    for start in range(STARTS):
        vector = _inverse_iteration(matrix, constant, seed + start)
        if vector is None:
            return None
        value = quotient(vector) * (1 + 16 * EPS)
        if value < best:
            best = value
            if not value > 0:
                return None
            residual = float(np.linalg.norm(matrix @ vector - value * vector) / (value * np.linalg.norm(vector)))
        for back in (min(BACK, tolerance / 2), tolerance / 2):
            counted = count_below(matrix, best * (1 - back))
            if counted is None:
                return None
            lower = best * (1 - back) - counted.margin
            if counted.negative <= expected and (definite or lower > 0):
                return Smallest(Interval(max(lower, 0.0), best), residual)
    return _by_counting(matrix, best, expected, tolerance, residual) if definite else None


def _by_counting(
    matrix: sparse.csc_array, above: float, expected: int, tolerance: float, residual: float
) -> Smallest | None:
    """Close in on an eigenvalue that the eigensolver did not see, by counts alone."""
    lower, upper, point = 0.0, above, above / 2
    for _ in range(COUNTS):
        counted = count_below(matrix, point)
        if counted is None:
            return None
        if counted.negative <= expected:
            lower = max(lower, point - counted.margin)
        else:
            upper = min(upper, point + counted.margin)
        if upper - lower <= tolerance * lower:
            break
        point = np.sqrt(lower * upper) if lower > 0 else upper / 8
    return Smallest(Interval(lower, upper), residual)


def _inverse_iteration(matrix: sparse.csc_array, constant: bool, seed: int) -> FloatArray | None:
    """Give a vector near the eigenvector of the smallest eigenvalue, orthogonal to the constant one if asked."""
    from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

    nodes = matrix.shape[0]
    # Row and column 0 hold nothing that the others do not where rows sum to 0: without them the matrix is definite.
    factors: Any = _factor(sparse.csc_array(matrix[1:, 1:]) if constant else matrix)
    if factors is None:
        return None

    def solve(b: FloatArray) -> FloatArray:
        if not constant:
            return np.asarray(factors.solve(np.ravel(b)))
        x = np.zeros(nodes)
        x[1:] = factors.solve(np.ravel(b)[1:] - np.mean(b))
        x -= x.mean()
        return x

    start = np.random.default_rng(seed).standard_normal(nodes)
    if nodes <= 20:
        for _ in range(200):
            start = solve(start)
            start /= np.linalg.norm(start)
        return start
    operator = LinearOperator((nodes, nodes), matvec=solve, dtype=np.float64)
    vectors: Any
    try:
        _, vectors = eigsh(operator, k=1, which="LA", v0=solve(start), ncv=20, tol=1e-9, maxiter=30)
    except ArpackNoConvergence as error:
        vectors = error.eigenvectors
    except ArpackError:
        return None
    if vectors is None or vectors.shape[1] == 0:
        return solve(solve(start))
    vector = np.asarray(vectors[:, 0], dtype=np.float64)
    return vector - vector.mean() if constant else vector
