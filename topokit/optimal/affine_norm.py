"""The least spectral norm of a matrix that is affine in weights, within linear limits, and a bound from below."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, sparse

from topokit.matrix import FloatArray, IntArray
from topokit.optimal.dense import cholesky, inverse_of
from topokit.optimal.step_length import longest_step, longest_step_of_vector

__all__ = ["AffineMatrix", "WeightLimits", "least_affine_norm"]

EPS = float(np.finfo(np.float64).eps)


class WeightLimits(NamedTuple):
    """low <= w <= high, and sums w <= 1."""

    low: FloatArray
    high: FloatArray
    sums: sparse.csr_array

    def near(self, w: FloatArray, radius: float) -> WeightLimits:
        """Tighten the range of each weight to `radius` about w."""
        return WeightLimits(np.maximum(self.low, w - radius), np.minimum(self.high, w + radius), self.sums)

    def inside(self, w: FloatArray) -> FloatArray:
        """Give a point a little off w that touches no limit; w itself must keep them."""
        width = self.high - self.low
        room, need = 1 - self.sums @ self.low, self.sums @ width
        share = min(0.5, 0.5 * float(np.min(room / np.maximum(need, EPS), initial=1.0)))
        return np.asarray(w + 0.3 * (self.low + share * width - w), dtype=np.float64)


class AffineMatrix(NamedTuple):
    """M(w) = constant + sum of w[group[i]] left_i right_i^T."""

    constant: FloatArray
    left: FloatArray
    right: FloatArray
    group: IntArray
    groups: int

    def at(self, w: FloatArray) -> FloatArray:
        """Give M(w)."""
        return np.asarray(self.constant + self.change(w), dtype=np.float64)

    def change(self, w: FloatArray) -> FloatArray:
        """Give M(w) - M(0)."""
        return np.asarray((self.left * w[self.group, None]).T @ self.right, dtype=np.float64)

    def inner(self, G: FloatArray) -> FloatArray:
        """Give <G, derivative by w_k> for each k."""
        each = np.einsum("ri,ri->r", self.left @ G, self.right)
        return np.asarray(np.bincount(self.group, each, minlength=self.groups), dtype=np.float64)


def least_affine_norm(
    affine: AffineMatrix, limits: WeightLimits, start: FloatArray, *, tolerance: float = 1e-8, deadline: float = np.inf
) -> tuple[FloatArray, float, float]:
    """Minimise ||M(w)||_2 within limits by a primal-dual interior-point method.

    Parameters
    ----------
    affine : M(w), n x n, affine in w; its derivatives are sums of matrices of rank one.
    limits : ranges of the weights, and nonnegative sums of them that are at most 1.
    start : ndarray of float64, shape (K,)
        Within the limits.
    tolerance : float
        Ends when the norm is this close to the bound.
    deadline : float
        Of `time.monotonic`.

    Returns
    -------
    weights : ndarray, shape (K,)
    norm : float
    lower : float
        No weights within the limits have a smaller norm. For any G whose singular values sum to 1 and any prices
        p >= 0 of the sums, it is <G, M(0)> - sum p + sum_k min over w_k in its range of w_k (<G, D_k> + p's of k).

    Notes
    -----
    Minimise s such that S = [[s I, M], [M^T, s I]] is positive semidefinite; search direction of Helmberg, Rendl,
    Vanderbei, Wolkowicz, Kojima and Monteiro with Mehrotra's corrector. An iteration costs some multiplications of
    2n x 2n matrices and a Cholesky factorisation of order K.

    Examples
    --------
    Of diag(w - 1, w), no w has a smaller norm than 1/2:

    >>> affine = AffineMatrix(np.diag([-1.0, 0.0]), np.eye(2), np.eye(2), np.array([0, 0]), 1)
    >>> limits = WeightLimits(np.zeros(1), np.ones(1), sparse.csr_array((0, 1)))
    >>> weights, norm, lower = least_affine_norm(affine, limits, np.zeros(1))
    >>> round(float(weights[0]), 6), round(norm, 6), norm - lower < 1e-7
    (0.5, 0.5, True)
    """
    n, K = len(affine.constant), affine.groups
    low, high, sums = limits
    w = limits.inside(start)
    M = affine.at(w)
    best_w, best_norm, bound = w, float(np.linalg.norm(M, 2)), -np.inf
    s = 1.05 * best_norm + 1e-3
    S = _embedded(M, s)
    inverse = np.asarray(np.linalg.inv(S), dtype=np.float64)
    scale = 1 / float(np.trace(inverse))
    Y = scale * inverse
    # Slacks of the linear limits one behind the other: low, high, sums.
    h = np.concatenate((-low, high, np.ones(sums.shape[0])))
    z = _slopes(sums, w) + h
    y = scale / z
    for _ in range(80):
        try:
            of_S, of_Y = cholesky(S), cholesky(Y)
        except np.linalg.LinAlgError:
            break  # rounding errors: this is as near as it gets
        mu = (float(np.vdot(S, Y)) + float(z @ y)) / (2 * n + z.size)
        bound = max(bound, _affine_bound(affine, limits, Y, y[2 * K :]))
        norm = float(np.linalg.norm(M, 2))
        if norm < best_norm:
            best_w, best_norm = w, norm
        if best_norm - bound <= tolerance or mu < 1e-15 or time.monotonic() > deadline:
            break
        X = inverse_of(of_S)
        try:
            factor = linalg.cho_factor(_schur(affine, X, Y, sums, y / z), lower=True)
        except np.linalg.LinAlgError:
            break

        def direction(target: float, second: FloatArray | float, second_z: FloatArray | float) -> tuple[Any, ...]:
            T, t = target * X - second, target / z - second_z  # noqa: B023
            right = np.concatenate(([np.trace(T) - 1], _pairing(affine, T) + _slopes_transposed(sums, t)))
            step = linalg.cho_solve(factor, right, check_finite=False)  # noqa: B023
            dS = _embedded(affine.change(step[1:]), step[0])
            Q = X @ dS @ Y  # noqa: B023
            dz = _slopes(sums, step[1:])
            return step, dS, T - Y - (Q + Q.T) / 2, dz, t - y - y * dz / z  # noqa: B023

        _, dS, dY, dz, dy = direction(0.0, 0.0, 0.0)
        a, b = 0.98 * _longest(of_S, dS, z, dz), 0.98 * _longest(of_Y, dY, y, dy)
        a, b = min(1.0, a), min(1.0, b)
        after = (np.vdot(S + a * dS, Y + b * dY) + (z + a * dz) @ (y + b * dy)) / (2 * n + z.size)
        sigma = max(1e-6, min(1.0, float(after) / mu) ** 3)
        Q = X @ dS @ dY
        step, dS, dY, dz, dy = direction(sigma * mu, (Q + Q.T) / 2, dz * dy / z)
        a, b = 0.95 * _longest(of_S, dS, z, dz), 0.95 * _longest(of_Y, dY, y, dy)
        a, b = min(1.0, a), min(1.0, b)
        w, s = w + a * step[1:], s + a * float(step[0])
        M, z = affine.at(w), _slopes(sums, w) + h
        if z.min() <= 0:
            break
        S, Y, y = _embedded(M, s), Y + b * dY, y + b * dy
    return best_w, best_norm, bound


def _embedded(M: FloatArray, s: float) -> FloatArray:
    n = len(M)
    S = np.zeros((2 * n, 2 * n))
    S[:n, n:], S[n:, :n] = M, M.T
    S[np.diag_indices(2 * n)] = s
    return S


def _pairing(affine: AffineMatrix, T: FloatArray) -> FloatArray:
    """Give <[[0, D_k], [D_k^T, 0]], T> for each k."""
    n = len(affine.constant)
    return affine.inner(T[:n, n:] + T[n:, :n].T)


def _affine_bound(affine: AffineMatrix, limits: WeightLimits, Y: FloatArray, prices: FloatArray) -> float:
    n, trace = len(affine.constant), np.trace(Y)
    # The singular values of an off-diagonal block of Y >= 0 sum to at most half the trace.
    D = -2 * Y[:n, n:] / trace
    p = np.maximum(prices, 0) / trace
    worth = affine.inner(D) + limits.sums.T @ p
    least = np.where(worth > 0, limits.low, limits.high) * worth
    constant = float(np.vdot(D, affine.constant))
    rounding = 8 * n * EPS * (abs(constant) + p.sum() + np.abs(least).sum())
    return constant - float(p.sum()) + float(least.sum()) - float(rounding)


def _slopes(sums: sparse.csr_array, w: FloatArray) -> FloatArray:
    """Give how the slacks of low <= w, w <= high and sums w <= 1 change with w."""
    return np.concatenate((w, -w, -(sums @ w) if sums.shape[0] else np.zeros(0)))


def _slopes_transposed(sums: sparse.csr_array, y: FloatArray) -> FloatArray:
    K = sums.shape[1]
    own = y[:K] - y[K : 2 * K]
    return np.asarray(own - sums.T @ y[2 * K :] if sums.shape[0] else own, dtype=np.float64)


def _schur(affine: AffineMatrix, X: FloatArray, Y: FloatArray, sums: sparse.csr_array, ratio: FloatArray) -> FloatArray:
    """Give the matrix of the linear system for (s, w): tr(A_i X A_j Y), and what the linear limits add."""
    n, K = len(affine.constant), affine.groups
    left, right, group = affine.left, affine.right, affine.group
    (Xll, Xlr, Xrr), (Yll, Ylr, Yrr) = (
        (left @ T[:n, :n] @ left.T, left @ T[:n, n:] @ right.T, right @ T[n:, n:] @ right.T) for T in (X, Y)
    )
    H = Xlr.T * Ylr + Xrr * Yll + Xll * Yrr + Xlr * Ylr.T
    if group.size > K:
        places = sparse.csr_array((np.ones(group.size), (group, np.arange(group.size))), shape=(K, group.size))
        H = np.asarray(places @ (places @ H.T).T, dtype=np.float64)
    XY = X @ Y
    system = np.empty((K + 1, K + 1))
    system[0, 0] = np.trace(XY)
    system[0, 1:] = system[1:, 0] = _pairing(affine, XY)
    system[1:, 1:] = (H + H.T) / 2
    k = np.arange(1, K + 1)
    system[k, k] += ratio[:K] + ratio[K : 2 * K]
    if sums.shape[0]:
        system[1:, 1:] += (sums.T @ (sparse.diags_array(ratio[2 * K :]) @ sums)).toarray()
    return system


def _longest(factor: FloatArray, dS: FloatArray, z: FloatArray, dz: FloatArray) -> float:
    """Give how far S = factor factor^T and z can go along dS and dz until they are no longer positive."""
    return min(longest_step(factor, dS), longest_step_of_vector(z, dz))
