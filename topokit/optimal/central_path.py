"""A primal-dual interior-point method for the best algebraic connectivity within linear limits.

With S = sum_k x_k L_k - t (I - J) and s = b - A x, the problem and its dual are

    maximise t        subject to  S >= 0, x >= 0, s >= 0,
    minimise b^T p    subject to  Y >= 0, Y 1 = 0, trace Y = 1, y = A^T p - (<Y, L_k>)_k >= 0, p >= 0,

and the points with S Y = tau (I - J), x_k y_k = tau and s_i p_i = tau are its central path, which ends in the centre of
all optima as tau goes to 0. Steps are by Mehrotra's predictor and corrector in the direction of Helmberg, Kojima and
Monteiro (HKM). As L_k is a sum of a_e a_e^T, entries of the linear system are sums of (a_e^T S^-1 a_f) (a_e^T Y a_f).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import linalg, sparse

from topokit.matrix import FloatArray
from topokit.optimal.connectivity_problem import ConnectivityProblem
from topokit.optimal.dense import centred, cholesky, inverse_of
from topokit.optimal.edge_products import congruences, worth_of_product
from topokit.optimal.step_length import longest_step, longest_step_of_vector

__all__ = ["CentralPath"]

START = 0.9  # part of the limits that is used at the start
BELOW = 0.5  # part of the connectivity that t has there
LONGEST = 0.98  # part of the way to the boundary
RIDGES = (0.0, 1e-15, 1e-14, 1e-13, 1e-12)  # on the diagonal, where rounding errors make the system indefinite
MAX_SHORTENED = 20  # times that a step is shortened, by a fifth


class _Step(NamedTuple):
    """A direction in all variables."""

    t: float
    x: FloatArray
    s: FloatArray
    Y: FloatArray
    y: FloatArray
    p: FloatArray


class CentralPath:
    """A point near the central path; `advance` goes on along it.

    Parameters
    ----------
    problem : ConnectivityProblem

    Attributes
    ----------
    x : ndarray of float64, shape (K,)
        Weights of the groups, strictly within the limits.
    t : float
        mu_2(sum_k x_k L_k) is more than this.
    bound : float
        No weights within the limits reach more, by all dual points so far.
    """

    def __init__(self, problem: ConnectivityProblem) -> None:
        self.problem = problem
        n = problem.nodes
        self.x: FloatArray = START * problem.filled(problem.spread())
        self.s = problem.bounds - problem.limits @ self.x
        values = np.linalg.eigvalsh(problem.laplacian(self.x))
        self.t = float(BELOW * values[1])
        self._factor_S = cholesky(self._matrix(self.x, self.t))
        inverse = inverse_of(self._factor_S) - 1 / n
        tau = 1 / float(np.trace(inverse))
        self.Y: FloatArray = tau * inverse
        self.y, self.p = tau / self.x, tau / self.s
        self._factor_Y = cholesky(self.Y + 1 / n)
        self._dense = np.asarray(np.diff(problem.limits.indptr) * 4 > problem.count)
        self.bound = problem.bound(self._factor_Y, self.p)

    def _matrix(self, x: FloatArray, t: float) -> FloatArray:
        matrix = self.problem.laplacian(x) + (1 + t) / self.problem.nodes
        matrix[np.diag_indices(len(matrix))] -= t
        return matrix

    def advance(self, enough: float = 0.0) -> bool:
        """Go on along the path, and say whether that was possible; if not, rounding errors allow no better.

        Parameters
        ----------
        enough : float, default 0.0
            Width of the interval that is wanted. Beyond, the linear system would only get worse, and with it how
            central the end is.
        """
        return self._step(enough)

    def centre(self) -> bool:
        """Go where all products are the same, without going on, and say whether that was possible."""
        return self._step(None)

    def _step(self, enough: float | None) -> bool:
        problem = self.problem
        inverse = centred(inverse_of(self._factor_S))
        try:
            factor = _Solver(self._system(inverse))
        except linalg.LinAlgError:
            return False
        products = problem.nodes - 1 + problem.count + self.s.size
        tau = self._product() / products
        if enough is None:
            step = self._direction(factor, inverse, tau, None)
            primal, dual = self._lengths(step)
            return self._go(step, min(1.0, LONGEST * primal), min(1.0, LONGEST * dual))
        guess = self._direction(factor, inverse, 0.0, None)
        primal, dual = self._lengths(guess)
        primal, dual = min(1.0, LONGEST * primal), min(1.0, LONGEST * dual)
        ratio = float(np.clip(self._product(guess, primal, dual) / products / tau, 0, 1))
        # The shorter the steps, the more is left to do for the second direction before it can go towards the optimum.
        aim = max(ratio ** max(1.0, 3 * min(primal, dual) ** 2) * tau, enough / products)
        step = self._direction(factor, inverse, aim, guess)
        primal, dual = self._lengths(step)
        longest = LONGEST - 0.08 * (1 - min(1.0, primal, dual))
        return self._go(step, min(1.0, longest * primal), min(1.0, longest * dual))

    def _go(self, step: _Step, primal: float, dual: float) -> bool:
        n, problem = self.problem.nodes, self.problem
        try:
            primal, factor_S = _shortened(lambda a: self._matrix(self.x + a * step.x, self.t + a * step.t), primal)
            dual, factor_Y = _shortened(lambda a: centred(self.Y + a * step.Y) + 1 / n, dual)
        except linalg.LinAlgError:
            return False
        x, y, p = self.x + primal * step.x, self.y + dual * step.y, self.p + dual * step.p
        s = problem.bounds - problem.limits @ x
        if min(x.min(), s.min(), y.min(), p.min()) <= 0:
            return False
        self.x, self.t, self.s = x, self.t + primal * step.t, s
        self.Y, self.y, self.p = centred(self.Y + dual * step.Y), y, p
        self._factor_S, self._factor_Y = factor_S, factor_Y
        self.bound = min(self.bound, problem.bound(factor_Y, p))
        return True

    def _product(self, step: _Step | None = None, primal: float = 0.0, dual: float = 0.0) -> float:
        """Give <S, Y> + x^T y + s^T p, after a step."""
        x, t, Y, s, y, p = self.x, self.t, self.Y, self.s, self.y, self.p
        if step is not None:
            x, t, s = x + primal * step.x, t + primal * step.t, s + primal * step.s
            Y, y, p = Y + dual * step.Y, y + dual * step.y, p + dual * step.p
        return float(x @ self._worth(Y) - t * np.trace(Y) + x @ y + s @ p)

    def _worth(self, Y: FloatArray) -> FloatArray:
        """Give <Y, L_k> of each group."""
        u, v = self.problem.edges.T
        return self.problem.sums(Y[u, u] + Y[v, v] - Y[u, v] - Y[v, u])

    def _system(self, inverse: FloatArray) -> FloatArray:
        """Give the matrix of the linear system in (t, x)."""
        problem = self.problem
        system = np.empty((problem.count + 1, problem.count + 1))
        system[0, 0] = np.vdot(inverse, self.Y)
        system[0, 1:] = system[1:, 0] = -worth_of_product(problem, inverse, self.Y)
        system[1:, 1:] = congruences(problem, inverse, self.Y)
        # A^T diag(p / s) A: of rows that are full, as a dense product.
        scale = np.sqrt(self.p / self.s)
        scaled = sparse.csr_array(sparse.diags_array(scale) @ problem.limits)
        full, rest = scaled[self._dense].toarray(), sparse.csr_array(scaled[~self._dense])
        system[1:, 1:] += full.T @ full
        gram = sparse.coo_array(rest.T @ rest)
        system[1 + gram.row, 1 + gram.col] += gram.data
        own = np.arange(1, problem.count + 1)
        system[own, own] += self.y / self.x
        return system

    def _direction(self, factor: _Solver, inverse: FloatArray, tau: float, guess: _Step | None) -> _Step:
        """Solve for the direction to the point of the path at tau, corrected by what a first guess leaves out."""
        problem = self.problem
        toward_y, toward_p = tau / self.x - self.y, tau / self.s - self.p
        right = np.empty(problem.count + 1)
        right[0] = 1 - tau * np.trace(inverse)
        right[1:] = tau * self._worth(inverse)
        second = None
        if guess is not None:
            second = self._change(guess, guess.Y)
            transposed = np.ascontiguousarray(second.T)
            right[0] += float(np.vdot(inverse, transposed))
            right[1:] -= worth_of_product(problem, inverse, transposed)
            toward_y = toward_y - guess.x * guess.y / self.x
            toward_p = toward_p - guess.s * guess.p / self.s
        right[1:] += self.y + toward_y - problem.limits.T @ (self.p + toward_p)
        solved = factor.solve(right)
        t, x = float(solved[0]), solved[1:]
        s = -(problem.limits @ x)
        step = _Step(t, x, s, self.Y, self.y, self.p)
        change = self._change(step, self.Y)
        if second is not None:
            change += second
        product = inverse @ change
        Y = tau * inverse - self.Y - (product + product.T) / 2
        return _Step(t, x, s, Y, toward_y - x * self.y / self.x, toward_p - s * self.p / self.s)

    def _change(self, step: _Step, Y: FloatArray) -> FloatArray:
        """Give dS Y."""
        return np.asarray(self.problem.sparse_laplacian(step.x) @ Y - step.t * Y)

    def _lengths(self, step: _Step) -> tuple[float, float]:
        """Give how far the primal and the dual variables can go."""
        n = self.problem.nodes
        S = self.problem.laplacian(step.x) + step.t / n
        S[np.diag_indices(n)] -= step.t
        primal = longest_step_of_vector(self.x, step.x), longest_step_of_vector(self.s, step.s)
        dual = longest_step_of_vector(self.y, step.y), longest_step_of_vector(self.p, step.p)
        return min(*primal, longest_step(self._factor_S, S)), min(*dual, longest_step(self._factor_Y, step.Y))


class _Solver:
    """A positive definite system, scaled to a diagonal of ones, as weights near their limits make entries enormous."""

    def __init__(self, system: FloatArray) -> None:
        diagonal = np.diag(system)
        if not (diagonal > 0).all():
            raise linalg.LinAlgError("not positive definite")
        self.scale = 1 / np.sqrt(diagonal)
        self.system = system * self.scale * self.scale[:, None]
        for ridge in RIDGES:
            try:
                self.factor = cholesky(self.system + ridge * np.eye(len(system)) if ridge else self.system)
                return
            except linalg.LinAlgError:
                pass
        raise linalg.LinAlgError("not positive definite")

    def solve(self, right: FloatArray) -> FloatArray:
        scaled = right * self.scale
        solved = linalg.cho_solve((self.factor, True), scaled, check_finite=False)
        solved += linalg.cho_solve((self.factor, True), scaled - self.system @ solved, check_finite=False)
        return np.asarray(solved * self.scale)


def _shortened(matrix_at: Callable[[float], FloatArray], length: float) -> tuple[float, FloatArray]:
    """Give a length at which the matrix is positive definite, and its factor there."""
    for _ in range(MAX_SHORTENED):
        try:
            return length, cholesky(matrix_at(length))
        except linalg.LinAlgError:
            length *= 0.8
    raise linalg.LinAlgError("not positive definite at any length")
