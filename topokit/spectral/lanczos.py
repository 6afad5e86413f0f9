"""Both ends of the spectrum of a symmetric operator, bounded on both sides, by the Lanczos iteration.

A Ritz value is a Rayleigh quotient: the largest eigenvalue is at least that. A small residual says no more than that
*some* eigenvalue is near. What bounds the largest eigenvalue from above is that a random start is hardly ever almost
orthogonal to its eigenvector: an eigenvalue far beyond the Ritz values would have shown itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log, pi, sqrt

import numpy as np

from topokit.matrix import FloatArray

__all__ = ["Interval", "Lanczos", "outer_bound", "smallest_mass"]

EPS = float(np.finfo(np.float64).eps)
HALVINGS = 24  # of the distance between a Ritz value and its outer bound, on a logarithmic scale
HUGE = 1e200
FAR = 1e60  # from 1: where a vector's norm is, it is set to 1
# Entries of three vectors that fit into a core's cache, and too few for BLAS to start threads, which on a busy machine
# cost a hundred times what they save.
PART = 9_984

Apply = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Interval:
    """Where a number lies: lower <= number <= upper."""

    lower: float
    upper: float

    @property
    def width(self) -> float:
        """Difference of the bounds."""
        return self.upper - self.lower


def smallest_mass(dimension: int, failure: float) -> float:
    """Logarithm of the mass that a random unit vector has in a given direction, but for a probability.

    Parameters
    ----------
    dimension : int
        N, the dimension of the space on whose sphere the vector is uniformly distributed.
    failure : float
        Probability with which the mass may be smaller.

    Returns
    -------
    float
        log(t^2) with P(|<b, u>| <= t) <= failure for every fixed unit vector u.

    Notes
    -----
    For N >= 3 the component x = <b, u> has the density c (1 - x^2)^((N-3)/2) with
    c = Gamma(N/2) / (sqrt(pi) Gamma((N-1)/2)). It is at most c, and c <= sqrt((N-1)/(2 pi)), since the logarithm of
    Gamma is convex. Hence P(|x| <= t) <= 2 t c <= t sqrt(2 N/pi). For N = 2, P = (2/pi) arcsin t <= t, and for N = 1,
    P = 0 below t = 1: the bound holds there too. Solve it for t.

    Examples
    --------
    >>> round(float(np.exp(smallest_mass(100, 0.1))), 8)
    0.00015708
    """
    return 2 * log(failure) + log(pi / (2 * dimension))


def outer_bound(
    diagonal: FloatArray, off_diagonal: FloatArray, ritz: float, limit: float, log_mass: float, floor: float
) -> float:
    """Bound the largest eigenvalue from above by the orthogonal polynomials of the start's spectral measure.

    Parameters
    ----------
    diagonal, off_diagonal : ndarray, shape (k,)
        Lanczos coefficients alpha_1 to alpha_k and beta_1 to beta_k.
    ritz : float
        Largest Ritz value of the k steps.
    limit : float
        What the largest eigenvalue is known not to exceed.
    log_mass : float
        Logarithm of the mass that the start has at the largest eigenvalue at least.
    floor : float
        Smallest distance from the Ritz value to tell apart.

    Notes
    -----
    The orthonormal polynomials p_0, ..., p_k of the spectral measure of the start have the coefficients of the
    iteration as their recurrence. For every polynomial q of degree k, the mass at lambda is at most
    (integral of q^2) / q(lambda)^2; the best q makes that 1 / sum_j p_j(lambda)^2 (the Christoffel function). Hence
    sum_j p_j(lambda_1)^2 <= 1/mass. Beyond the largest Ritz value every term increases, so that lambda_1 is at most
    the point where equality holds.

    References
    ----------
    .. [1] J. L. M. van Dorsselaer, M. E. Hochstenbach, H. A. van der Vorst, "Computing probabilistic bounds for extreme
       eigenvalues of symmetric matrices with the Lanczos method", SIAM J. Matrix Anal. Appl. 22(3), 2000. It uses the
       last polynomial alone; the sum of squares is sharper.

    Examples
    --------
    One step on a measure with mean 0 and variance 1: p_1(x) = x, and 1 + x^2 = 1/mass = 5.

    >>> round(outer_bound(np.zeros(1), np.ones(1), 0.0, 10.0, -log(5), 1e-12), 3)
    2.0
    """
    alphas, betas = diagonal.tolist(), off_diagonal.tolist()

    def excluded(point: float) -> bool:
        """Whether the sum of squares exceeds 1/mass; the terms are kept in range by a common scale."""
        before, value, total, scale, coupling = 0.0, 1.0, 1.0, -log_mass, 0.0
        for alpha, beta in zip(alphas, betas, strict=True):
            before, value = value, ((point - alpha) * value - coupling * before) / beta
            coupling = beta
            total += value * value
            if total > HUGE:
                scale -= log(total)
                if scale < 0:
                    return True
                root = sqrt(total)
                before, value, total = before / root, value / root, 1.0
        return log(total) > scale

    if limit - ritz <= floor or not excluded(limit):
        return max(limit, ritz)
    near, far = log(floor), log(limit - ritz)
    if excluded(ritz + floor):
        return ritz + floor
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        near, far = (near, middle) if excluded(ritz + exp(middle)) else (middle, far)
    return ritz + exp(far)


class Lanczos:
    """The Lanczos iteration without reorthogonalisation: three vectors, and two numbers a step.

    Parameters
    ----------
    apply : callable
        Multiplies a vector by the operator, giving a new array.
    nodes : int
        Length of the vectors.
    mean_free : bool
        Whether to stay orthogonal to the constant vector, which has to be an eigenvector then.
    within : Interval
        Bounds on the spectrum that are known beforehand.
    seed : int
        Of the start, which is uniformly distributed on the sphere of the (sub)space.

    Notes
    -----
    Rounding destroys the orthogonality of the vectors, which costs steps but little else: the coefficients are those
    of an exact iteration with a matrix whose eigenvalues lie in tiny clusters around the true ones, and with nearly the
    same masses [1]_. The clusters are taken to be no wider than ``rounding``, one unit of the last place of the
    operator's norm for each step, by which both bounds are widened.

    References
    ----------
    .. [1] A. Greenbaum, "Behavior of slightly perturbed Lanczos and conjugate-gradient recurrences", Linear Algebra
       and its Applications 113, 1989.

    Examples
    --------
    >>> run = Lanczos(lambda x: np.arange(1.0, 6.0) * x, 5, mean_free=False, within=Interval(0.0, 10.0))
    >>> run.advance(8)
    >>> [round((end.lower + end.upper) / 2, 6) for end in run.ends(1e-9)]
    [1.0, 5.0]
    """

    def __init__(self, apply: Apply, nodes: int, *, mean_free: bool, within: Interval, seed: int = 0) -> None:
        self._apply, self._mean_free, self.within = apply, mean_free, within
        self.dimension = nodes - mean_free
        self._scale = max(abs(within.lower), abs(within.upper), 1e-300)
        self._alpha: list[float] = []
        self._beta: list[float] = []
        self._before = np.zeros(nodes)
        self._last = np.random.default_rng(seed).standard_normal(nodes)
        if mean_free:
            self._last -= self._last.mean()
        self._norm_before = 1.0
        self._norm = float(np.linalg.norm(self._last))
        self._exhausted = self._norm <= 0
        self._parts = [slice(start, start + PART) for start in range(0, nodes, PART)]

    @property
    def steps(self) -> int:
        """Number of steps done."""
        return len(self._alpha)

    @property
    def exhausted(self) -> bool:
        """Whether the vectors so far span an invariant subspace, so that further steps tell nothing."""
        return self._exhausted

    @property
    def rounding(self) -> float:
        """What rounding errors may have moved the bounds by."""
        return EPS * self._scale * (10 + self.steps)

    @property
    def _nothing(self) -> float:
        return 10 * EPS * self._scale

    def advance(self, steps: int) -> None:
        """Do so many more steps, or as many as there are.

        Vectors are kept without being scaled to norm 1, and passed over in parts that stay in the cache: what a step
        does besides the product is bound by memory.
        """
        from scipy.linalg.blas import daxpy

        for _ in range(steps):
            if self.exhausted:
                return
            v, norm = self._last, self._norm
            w = np.ascontiguousarray(self._apply(v), dtype=np.float64)
            coupling = self._beta[-1] * norm / self._norm_before if self._beta else 0.0
            inner = 0.0
            for part in self._parts:
                if coupling:
                    daxpy(self._before[part], w[part], a=-coupling)
                inner += float(v[part] @ w[part])
            alpha = inner / norm / norm
            square = total = 0.0
            for part in self._parts:
                daxpy(v[part], w[part], a=-alpha)
                square += float(w[part] @ w[part])
                total += float(w[part].sum())
            if self._mean_free and abs(total) > EPS * sqrt(w.size * square):
                # Rounding alone leaves the complement of the constant vector.
                w -= total / w.size
                square = float(w @ w)
            size = sqrt(square)
            beta = size / norm
            if beta <= self._nothing:
                # An operator that differs by rounding errors has none: its measure has no further points.
                self._exhausted, beta = True, EPS * self._nothing
            self._alpha.append(alpha)
            self._beta.append(beta)
            self._before, self._last, self._norm_before, self._norm = v, w, norm, max(size, 1e-300)
            if not 1 / FAR < size < FAR:
                self._before /= self._norm_before
                self._last /= self._norm
                self._norm_before = self._norm = 1.0

    def ends(self, failure: float) -> tuple[Interval, Interval]:
        """Bound the smallest and the largest eigenvalue, each but for half of a probability."""
        from scipy.linalg import eigh_tridiagonal

        alpha, beta = np.array(self._alpha), np.array(self._beta)
        within, k = self.within, self.steps
        if k == 0:
            return within, within
        extremes = [
            float(eigh_tridiagonal(alpha, beta[:-1], eigvals_only=True, select="i", select_range=(i, i))[0])
            for i in (0, k - 1)
        ]
        low, high = max(extremes[0], within.lower), min(extremes[1], within.upper)
        mass = smallest_mass(self.dimension, failure / 2)
        floor, slack = self._nothing, self.rounding
        top = outer_bound(alpha, beta, high, within.upper, mass, floor)
        bottom = -outer_bound(-alpha, beta, -low, -within.lower, mass, floor)
        return (
            Interval(max(bottom - slack, within.lower), min(low + slack, within.upper)),
            Interval(max(high - slack, within.lower), min(top + slack, within.upper)),
        )
