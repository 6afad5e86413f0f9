"""A relaxed choice of edges that makes the algebraic connectivity large, by a method of first order."""

from __future__ import annotations

import math
import time

import numpy as np

from topokit.matrix import FloatArray, IntArray

__all__ = ["soft_choice"]

SHARPNESS = 20.0  # of the smooth minimum of eigenvalues


def soft_choice(
    base: FloatArray,
    pairs: IntArray,
    k: int,
    room: IntArray,
    *,
    iterations: int = 150,
    deadline: float = math.inf,
) -> tuple[FloatArray, FloatArray]:
    """Maximise a smooth version of mu_2(L + sum_e x_e a_e a_e^T), 0 <= x_e <= 1, sum_e x_e <= k.

    Parameters
    ----------
    base : ndarray of float64, shape (n, n)
        L.
    pairs : ndarray of int64, shape (p, 2)
        Candidates.
    k : int
        At most p.
    room : ndarray of int64, shape (n,)
        Of each node, the largest sum of the x_e of its candidates.
    iterations : int, default 150
    deadline : float, optional
        Value of time.monotonic() at which to stop.

    Returns
    -------
    x : ndarray of float64, shape (p,)
    Z : ndarray of float64, shape (n, n)
        Positive semidefinite with Z 1 = 0 and trace 1: a mean of the gradients at the last ones.

    Notes
    -----
    The method of Frank and Wolfe: with Z = exp(-c L(x)) off the constant vector, scaled to trace 1, x moves towards the
    k candidates with the largest a_e^T Z a_e that there is room for.

    References
    ----------
    .. [1] M. Jaggi, "Revisiting Frank-Wolfe: projection-free sparse convex optimization", International Conference on
       Machine Learning, 2013.

    Examples
    --------
    A path becomes a ring:

    >>> path = np.array([[1.0, -1, 0, 0], [-1, 2, -1, 0], [0, -1, 2, -1], [0, 0, -1, 1]])
    >>> pairs = np.array([[0, 2], [0, 3], [1, 3]])
    >>> x, Z = soft_choice(path, pairs, 1, np.full(4, 3))
    >>> int(np.argmax(x)), bool(x.sum() <= 1 + 1e-12)
    (1, True)
    """
    u, v = pairs.T
    x = np.zeros(len(pairs))
    mean = np.zeros_like(base)
    for t in range(iterations):
        if t and time.monotonic() >= deadline:
            break
        L = base.copy()
        L[u, v] -= x
        L[v, u] -= x
        L[np.diag_indices(len(L))] += np.bincount(u, x, len(L)) + np.bincount(v, x, len(L))
        values, vectors = np.linalg.eigh(L)
        parts = np.exp(-SHARPNESS * (values[1:] - values[1]))
        Z = (vectors[:, 1:] * (parts / parts.sum())) @ vectors[:, 1:].T
        own = np.diag(Z)
        step = 2 / (t + 2)
        x *= 1 - step
        x[_largest(own[u] + own[v] - 2 * Z[u, v], pairs, k, room)] += step
        mean = (1 - step) * mean + step * Z
    return np.minimum(x, 1), mean


def _largest(worth: FloatArray, pairs: IntArray, k: int, room: IntArray) -> IntArray:
    """Take the k candidates that are worth most, and pass over those whose nodes have no room left."""
    best = np.argpartition(-worth, k - 1)[:k]
    if (np.bincount(pairs[best].reshape(-1), minlength=len(room)) <= room).all():
        return np.asarray(best, dtype=np.int64)
    left, chosen = room.tolist(), []
    order = np.argsort(-worth)
    for e, (u, v) in zip(order.tolist(), pairs[order].tolist(), strict=True):
        if left[u] > 0 and left[v] > 0:
            left[u] -= 1
            left[v] -= 1
            chosen.append(e)
            if len(chosen) == k:
                break
    return np.array(chosen, dtype=np.int64)
