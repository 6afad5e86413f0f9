"""Weights of the edges of a period that bring the product of its rounds near J: many periods at a time.

A round is W = I - sum_e w_e d_e d_e^T. Between nodes of masses g, d_e = e_a/sqrt(g_a) - e_b/sqrt(g_b), so that the mean
that counts is the one by mass; with all masses 1 that is the plain one. The derivative of the product by w_e is
-l_e r_e^T, with l_e what the later rounds make of d_e and r_e what the earlier ones do: scalar products of these are
all that Gauss-Newton steps need.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from topokit.matrix import FloatArray, IntArray

__all__ = ["Limits", "error_norms", "fit_weights", "incidence", "mean_matrix", "products"]


class Limits(NamedTuple):
    """What weights must keep to.

    Attributes
    ----------
    low, high : ndarray of float64, shape (chains, rounds, edges)
        A weight whose limits are equal stays as it is.
    sums : ndarray of float64, shape (n,), or None
        Most of the sum of the weights at each node; None for any.
    """

    low: FloatArray
    high: FloatArray
    sums: FloatArray | None


def incidence(edges: IntArray, used: IntArray, masses: FloatArray) -> FloatArray:
    """Give the vectors d_e as columns.

    Parameters
    ----------
    edges : ndarray of int64, shape (chains, rounds, edges, 2)
    used : ndarray, shape (chains, rounds, edges)
        Zero for edges that carry nothing; so do those from a node to itself.
    masses : ndarray of float64, shape (n,)

    Returns
    -------
    ndarray of float64, shape (chains, rounds, n, edges)

    Examples
    --------
    >>> incidence(np.array([[[[0, 1]]]]), np.ones((1, 1, 1)), np.array([1.0, 4.0]))[0, 0].ravel().tolist()
    [1.0, -0.5]
    """
    chains, rounds, count, _ = edges.shape
    scale = 1 / np.sqrt(masses)
    result = np.zeros((chains, rounds, masses.size, count))
    b, t, e = np.ogrid[:chains, :rounds, :count]
    on = used > 0
    result[b, t, edges[..., 0], e] = scale[edges[..., 0]] * on
    result[b, t, edges[..., 1], e] -= scale[edges[..., 1]] * on
    return result


def mean_matrix(masses: FloatArray) -> FloatArray:
    """Give what exact averaging is: sqrt(g_a g_b) / sum of g, shape (n, n).

    Examples
    --------
    >>> mean_matrix(np.ones(2)).tolist()
    [[0.5000000000000001, 0.5000000000000001], [0.5000000000000001, 0.5000000000000001]]
    """
    root = np.sqrt(masses / masses.sum())
    return np.outer(root, root)


def products(D: FloatArray, w: FloatArray) -> tuple[list[FloatArray], list[FloatArray]]:
    """Multiply the rounds up.

    Parameters
    ----------
    D : ndarray of float64, shape (chains, rounds, n, edges)
        Of `incidence`.
    w : ndarray of float64, shape (chains, rounds, edges)

    Returns
    -------
    before : list of ndarray of float64, shape (chains, n, n)
        The product of the rounds before each, and at the end that of all.
    after : list of the same
        The product of the rounds after each.
    """
    chains, rounds, n, _ = D.shape
    W = np.eye(n) - (D * w[:, :, None, :]) @ D.swapaxes(2, 3)
    one = np.broadcast_to(np.eye(n), (chains, n, n))
    before, after = [one], [one]
    for t in range(rounds):
        before.append(W[:, t] @ before[-1])
    for t in range(rounds - 1, 0, -1):
        after.append(after[-1] @ W[:, t])
    return before, after[::-1]


def error_norms(D: FloatArray, w: FloatArray, target: FloatArray) -> FloatArray:
    """Compute the spectral norm of (product - target) of each chain, shape (chains,)."""
    error = products(D, w)[0][-1] - target
    squares = np.linalg.eigvalsh(error.swapaxes(1, 2) @ error)[:, -1]
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)), dtype=np.float64)


def fit_weights(
    D: FloatArray, w: FloatArray, target: FloatArray, limits: Limits, iterations: int
) -> tuple[FloatArray, FloatArray]:
    """Bring the product of every chain near the target, in the Frobenius norm, by Levenberg-Marquardt steps.

    Parameters
    ----------
    D, w
        As in `products`; the weights are the start, and are brought within the limits first.
    target : ndarray of float64, shape (n, n)
    limits : Limits
    iterations : int

    Returns
    -------
    w : ndarray of float64, shape (chains, rounds, edges)
    squares : ndarray of float64, shape (chains,)
        ||product - target||_F^2, never more than at the start.

    Examples
    --------
    Three nodes in three rounds of one pair each:

    >>> edges = np.array([[[[0, 1]], [[1, 2]], [[0, 1]]]])
    >>> D, start = incidence(edges, np.ones((1, 3, 1)), np.ones(3)), np.full((1, 3, 1), 0.5)
    >>> w, squares = fit_weights(D, start, mean_matrix(np.ones(3)), Limits(0 * start, 2 * start, None), 50)
    >>> bool(squares[0] < 1e-20), w.ravel().round(6).tolist()
    (True, [0.5, 0.666667, 0.5])
    """
    chains, rounds, _, count = D.shape
    size = rounds * count
    free = (limits.high > limits.low).reshape(chains, size)
    both = free[:, :, None] & free[:, None, :]
    touches = (D != 0).astype(np.float64)
    damping = np.full(chains, 1e-2)
    w = _within(w, limits, touches)

    def tried(w: FloatArray) -> tuple[list[FloatArray], list[FloatArray], FloatArray, FloatArray]:
        before, after = products(D, w)
        error = before[-1] - target
        return before, after, error, (error * error).sum((1, 2))

    before, after, error, squares = tried(w)
    for _ in range(iterations):
        left = np.concatenate([after[t] @ D[:, t] for t in range(rounds)], axis=2)
        right = np.concatenate([before[t].swapaxes(1, 2) @ D[:, t] for t in range(rounds)], axis=2)
        normal = np.where(both, (left.swapaxes(1, 2) @ left) * (right.swapaxes(1, 2) @ right), 0.0)
        slope = ((error @ right) * left).sum(axis=1) * free
        step = np.linalg.solve(normal + damping[:, None, None] * np.eye(size), slope[..., None])[..., 0]
        trial = _within(w + step.reshape(w.shape), limits, touches)
        b, a, e, after_step = tried(trial)
        better = after_step < squares
        keep = better[:, None, None]
        w, error = np.where(keep, trial, w), np.where(keep, e, error)
        before = [np.where(keep, new, old) for new, old in zip(b, before, strict=True)]
        after = [np.where(keep, new, old) for new, old in zip(a, after, strict=True)]
        squares = np.where(better, after_step, squares)
        damping = np.clip(np.where(better, 0.3 * damping, 5 * damping), 1e-12, 1e4)
    return w, squares


def _within(w: FloatArray, limits: Limits, touches: FloatArray) -> FloatArray:
    """Bring weights within their limits, and the sums at nodes: an edge gives way by its more crowded end."""
    w = np.clip(w, limits.low, limits.high)
    if limits.sums is None:
        return w
    crowded = (touches @ w[..., None])[..., 0] / limits.sums
    most = (touches * crowded[..., None]).max(axis=2, initial=1.0)
    return np.asarray(np.where(limits.high > limits.low, w / most, w), dtype=np.float64)
