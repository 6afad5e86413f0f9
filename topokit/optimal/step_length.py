"""How far one may go along a direction before a positive definite matrix stops being one."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from topokit.matrix import FloatArray

__all__ = ["longest_step", "longest_step_of_vector"]

DENSE = 160  # order up to which all eigenvalues cost less than Lanczos does
STEPS = 30


def longest_step(factor: FloatArray, direction: FloatArray) -> float:
    """Estimate the largest a with S + a D positive semidefinite, from below.

    Parameters
    ----------
    factor : ndarray, shape (n, n)
        Lower triangular, S = factor factor^T.
    direction : ndarray, shape (n, n)
        D, symmetric.

    Returns
    -------
    float
        At least 0, inf where no step is too long. Of large matrices it may be slightly too long: Lanczos from a random
        start misses the smallest eigenvalue by more than its residual with small probability.

    Examples
    --------
    >>> longest_step(np.eye(2), np.array([[0.0, 0.5], [0.5, 0.0]]))
    2.0
    """
    n = len(direction)
    if n <= DENSE:
        half = linalg.solve_triangular(factor, direction, lower=True, check_finite=False)
        scaled = linalg.solve_triangular(factor, half.T, lower=True, check_finite=False)
        smallest = float(np.linalg.eigvalsh(scaled)[0])
    else:
        smallest = _lanczos_below(factor, direction)
    return np.inf if smallest >= 0 else -1 / smallest


def _lanczos_below(factor: FloatArray, direction: FloatArray) -> float:
    """Bound the smallest eigenvalue of factor^-1 D factor^-T from below, up to bad luck."""
    n = len(direction)
    basis = np.zeros((STEPS + 1, n))
    start = np.random.default_rng(n).standard_normal(n)
    basis[0] = start / np.linalg.norm(start)
    diagonal, beside, lowest = np.zeros(STEPS), np.zeros(STEPS), -np.inf
    for k in range(STEPS):
        x = linalg.solve_triangular(factor, basis[k], lower=True, trans="T", check_finite=False)
        x = linalg.solve_triangular(factor, direction @ x, lower=True, check_finite=False)
        diagonal[k] = basis[k] @ x
        for _ in range(2):
            x -= basis[: k + 1].T @ (basis[: k + 1] @ x)
        beside[k] = np.linalg.norm(x)
        if k % 4 == 3 or k == STEPS - 1 or beside[k] < 1e-12:
            values, vectors = linalg.eigh_tridiagonal(diagonal[: k + 1], beside[:k])
            residual = abs(beside[k] * vectors[-1, 0])
            lowest = float(values[0] - residual)
            if residual <= 0.02 * abs(values[0]) or lowest > 0:
                break
        basis[k + 1] = x / beside[k]
    return lowest


def longest_step_of_vector(values: FloatArray, direction: FloatArray) -> float:
    """Give the largest a with values + a direction >= 0.

    Examples
    --------
    >>> longest_step_of_vector(np.array([1.0, 2.0]), np.array([-0.5, 1.0]))
    2.0
    """
    falling = direction < 0
    return float((values[falling] / -direction[falling]).min(initial=np.inf))
