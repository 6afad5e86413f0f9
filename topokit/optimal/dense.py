"""Dense matrices of interior-point methods: factors, inverses, and the part that does not see the constant vector."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from topokit.matrix import FloatArray

__all__ = ["centred", "cholesky", "inverse_of"]


def cholesky(matrix: FloatArray) -> FloatArray:
    """Give the lower triangular F with F F^T = M; raises LinAlgError where M is not positive definite.

    Examples
    --------
    >>> cholesky(np.array([[4.0, 2.0], [2.0, 2.0]])).tolist()
    [[2.0, 0.0], [1.0, 1.0]]
    """
    return np.asarray(linalg.cholesky(matrix, lower=True, check_finite=False), dtype=np.float64)


def inverse_of(factor: FloatArray) -> FloatArray:
    """Give the inverse of F F^T.

    Examples
    --------
    >>> inverse_of(np.array([[2.0, 0.0], [0.0, 1.0]])).tolist()
    [[0.25, 0.0], [0.0, 1.0]]
    """
    inverse, _ = linalg.lapack.dpotri(factor, lower=1)
    lower = np.tril(inverse)
    return np.asarray(lower + np.tril(lower, -1).T, dtype=np.float64)


def centred(matrix: FloatArray) -> FloatArray:
    """Give (I - J) M (I - J) of a symmetric matrix.

    Examples
    --------
    >>> centred(np.eye(2)).tolist()
    [[0.5, -0.5], [-0.5, 0.5]]
    """
    mean = matrix.mean(axis=0)
    return np.asarray(matrix - mean - mean[:, None] + mean.mean(), dtype=np.float64)
