"""Optimal weights by a primal-dual interior-point method that knows what the matrices are made of.

The problem is: minimise s such that s I - (W - J) and s I + (W - J) are positive semidefinite on the complement of the
constant vector, and the linear limits hold. Every weight changes both matrices by a multiple of a_e a_e^T, of rank one.
The linear system of a step (the Schur complement) has the entries (a_e^T S^-1 a_f) (a_e^T Y a_f), which are differences
of entries of two n x n matrices. A solver for general semidefinite programs spends n times as much on it, and stores
each of the two matrices as n^2/2 rows of constraints.

An iteration costs some ten products of n x n matrices and a factorisation of order m; their number hardly grows with n
(10 to 20). Search directions are those of Helmberg, Rendl, Vanderbei and Wolkowicz, Kojima, Shindoh and Hara, and
Monteiro, with Mehrotra's predictor and corrector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.linalg import LinAlgError
from scipy import linalg, sparse

from topokit.matrix import FloatArray, IntArray
from topokit.optimal.certificate import Certificate, dual_bound, width
from topokit.optimal.compact_dual import compact_certificate
from topokit.optimal.dense import cholesky, inverse_of
from topokit.optimal.iterates import Iterate
from topokit.optimal.linear_limits import LinearLimits, linear_limits
from topokit.optimal.problem import WeightProblem
from topokit.optimal.step_length import longest_step, longest_step_of_vector

__all__ = ["interior_point"]

SIGNS = (1.0, -1.0)  # of the weights' Laplacians in the two matrices
BOUNDARY = 0.95  # part of the longest step that is taken
RETREAT = 0.8
TRUSTED = 0.2  # part of a predictor that has to be possible for its second order to count in full
SHORTEST = 1e-4  # step below which rounding errors have taken over
MOST = 100  # iterations
ENOUGH = 1e-10  # width
PATIENCE = 8  # iterations in which the width has to shrink to
STUCK = 0.5  # of what it was, near the end
BLOCK = 4_000_000  # entries of the linear system that are made at a time


def interior_point(
    problem: WeightProblem, start: FloatArray | None = None, groups: IntArray | None = None
) -> Iterator[Iterate]:
    """Approach the optimal weights from inside of their limits.

    Parameters
    ----------
    problem : WeightProblem
        Undirected, at least 2 nodes.
    start : ndarray of float64, shape (m,), optional
        Weights to begin with.
    groups : ndarray of int64, shape (m,), optional
        Numbers 0 to K - 1: edges of a group have one weight.

    Yields
    ------
    Iterate
        After every iteration, until rounding errors allow no better.

    Raises
    ------
    GraphError
        If no weights keep the limits.

    References
    ----------
    .. [1] L. Xiao, S. Boyd, "Fast linear iterations for distributed averaging", Systems & Control Letters 53, 2004.
    .. [2] C. Helmberg, F. Rendl, R. J. Vanderbei, H. Wolkowicz, "An interior-point method for semidefinite
       programming", SIAM Journal on Optimization 6(2), 1996.

    Examples
    --------
    >>> import networkx as nx
    >>> from topokit.optimal.problem import weight_problem
    >>> *_, last = interior_point(weight_problem(nx.petersen_graph(), "fdla"))
    >>> round(last.upper, 8), round(last.lower, 8)
    (0.42857143, 0.42857143)
    """
    own = np.arange(len(problem.edges)) if groups is None else groups
    first = None if start is None else _mean_of_groups(start, own)
    limits = linear_limits(problem, own, first)
    point = _first_point(problem, own, limits)
    best = point.iterate()
    reached = [np.inf]
    yield best
    for _ in range(MOST):
        try:
            step = _step(point)
        except LinAlgError:
            return
        if step is None:
            return
        point = step
        found = point.iterate()
        best = Iterate(
            found.weights if found.upper <= best.upper else best.weights,
            min(found.upper, best.upper),
            max(found.lower, best.lower),
            found.certificate if found.lower >= best.lower else best.certificate,
        )
        yield best
        reached.append(width(best.upper, best.lower))
        stuck = len(reached) > PATIENCE and reached[-1] > STUCK * reached[-PATIENCE]
        if reached[-1] < ENOUGH or stuck:
            return


Pair: TypeAlias = "tuple[FloatArray, FloatArray]"


@dataclass(frozen=True)
class _Point:
    """Primal and dual variables, with what every step needs of them.

    The matrices S are those of the problem plus J, so that they are positive definite on the constant vector, too.
    """

    problem: WeightProblem
    groups: IntArray
    limits: LinearLimits
    s: float
    x: FloatArray
    matrices: Pair
    factors: Pair
    duals: Pair
    dual_factors: Pair
    slacks: FloatArray
    multipliers: FloatArray

    @property
    def order(self) -> int:
        return 2 * self.problem.nodes + self.slacks.size

    @property
    def products(self) -> float:
        """Sum of what is 0 at the optimum."""
        both = sum(float(np.vdot(S, Y)) for S, Y in zip(self.matrices, self.duals, strict=True))
        return both + float(self.slacks @ self.multipliers)

    def iterate(self) -> Iterate:
        weights = self.x[self.groups]
        upper = self.problem.dense_slem(weights)
        positive, negative = (Y - Y.mean() for Y in self.duals)
        scale = 1 / (np.trace(positive) + np.trace(negative))
        worth = (_on_edges(self.problem, positive) - _on_edges(self.problem, negative)) * scale
        prices = self._prices(worth, scale)
        trace = (np.trace(positive) - np.trace(negative)) * scale
        lower = dual_bound(self.problem, float(trace), worth, prices, upper)
        certificate = partial(_certificate, self, prices, upper)
        return Iterate(weights, upper, lower, certificate)

    def _prices(self, worth: FloatArray, scale: float) -> FloatArray:
        """Give the prices of the nodes' sums.

        They are multipliers where these sums are bounded; where they are fixed, the two prices of an edge make up what
        the edge is worth.
        """
        limits = self.limits
        if limits.freedom is not None:
            wanted = np.bincount(self.groups, weights=worth) + limits.slope.T @ self.multipliers * scale
            of_equations = np.linalg.lstsq(limits.equal.T, wanted)[0]
            return np.asarray(limits.equal_nodes.T @ of_equations, dtype=np.float64)
        prices = np.zeros(self.problem.nodes)
        if limits.node_slacks.stop > limits.node_slacks.start:
            prices = self.multipliers[limits.node_slacks] * scale
        return prices


def _certificate(point: _Point, prices: FloatArray, upper: float) -> Certificate:
    return compact_certificate(point.problem, *point.duals, prices, upper)


def _mean_of_groups(values: FloatArray, groups: IntArray) -> FloatArray:
    return np.asarray(np.bincount(groups, weights=values) / np.bincount(groups), dtype=np.float64)


def _on_edges(problem: WeightProblem, matrix: FloatArray) -> FloatArray:
    """Give a_e^T M a_e of every edge, for M symmetric or not."""
    u, v = problem.edges.T
    diagonal = np.diag(matrix)
    return np.asarray(diagonal[u] + diagonal[v] - matrix[u, v] - matrix[v, u], dtype=np.float64)


def _both(of: Callable[[FloatArray], FloatArray], matrices: Pair) -> Pair:
    return of(matrices[0]), of(matrices[1])


def _matrices(problem: WeightProblem, weights: FloatArray, s: float) -> Pair:
    """Give (s - 1)(I - J) + L + J and (s + 1)(I - J) - L + J."""
    L = problem.laplacian(weights)
    both = []
    for sign in SIGNS:
        S = sign * L + (1 - s + sign) / problem.nodes
        S[np.diag_indices(problem.nodes)] += s - sign
        both.append(S)
    return both[0], both[1]


def _first_point(problem: WeightProblem, groups: IntArray, limits: LinearLimits) -> _Point:
    x = limits.start
    weights = x[groups]
    norm = problem.dense_slem(weights)
    s = norm + max(0.02, 0.1 * (1 - norm))
    matrices = _matrices(problem, weights, s)
    factors = _both(cholesky, matrices)
    inverses = _both(inverse_of, factors)
    scale = 1 / (sum(float(np.trace(inverse)) for inverse in inverses) - 2)
    duals = scale * inverses[0], scale * inverses[1]
    slacks = limits.slacks(x)
    return _Point(
        problem, groups, limits, s, x, matrices, factors, duals, _both(cholesky, duals), slacks, scale / slacks,
    )  # fmt: skip


@dataclass(frozen=True)
class _Direction:
    s: float
    x: FloatArray
    matrices: Pair
    duals: Pair
    slacks: FloatArray
    multipliers: FloatArray


class _NewtonSystem:
    """The linear system of one point, factorised; it serves the predictor and the corrector."""

    def __init__(self, point: _Point) -> None:
        self.point = point
        self.inverses = _both(inverse_of, point.factors)
        matrix = _schur_complement(point, self.inverses)
        ratio = point.multipliers / point.slacks
        slope = point.limits.slope
        of_slacks = sparse.coo_array(slope.T @ sparse.diags_array(ratio) @ slope)
        matrix[1 + of_slacks.row, 1 + of_slacks.col] += of_slacks.data
        # Where equations leave less freedom, steps are combinations of a basis of it.
        self.freedom = point.limits.freedom
        if self.freedom is not None:
            free = linalg.block_diag(np.ones((1, 1)), self.freedom)
            matrix = free.T @ matrix @ free
        self.factor = linalg.cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)

    def solve(self, target: float, correction: _Direction | None, part: float = 1.0) -> _Direction:
        """Give the direction to the point where all products are `target`, with a part of a correction."""
        point, slope = self.point, self.point.limits.slope
        wanted = [target * inverse for inverse in self.inverses]
        pull = target / point.slacks
        if correction is not None:
            for k in range(2):
                wanted[k] -= part * self._second_order(k, correction.s, correction.x, correction.duals[k])
            pull -= part * correction.slacks * correction.multipliers / point.slacks
        right = np.empty(1 + point.x.size)
        right[0] = sum(float(np.trace(M) - M.mean() * len(M)) for M in wanted) - 1
        of_edges = _on_edges(point.problem, wanted[0]) - _on_edges(point.problem, wanted[1])
        right[1:] = np.bincount(point.groups, weights=of_edges, minlength=point.x.size) + slope.T @ pull
        if self.freedom is None:
            step = linalg.cho_solve(self.factor, right, check_finite=False)
            s, x = float(step[0]), step[1:]
        else:
            right = np.append(right[0], self.freedom.T @ right[1:])
            step = linalg.cho_solve(self.factor, right, check_finite=False)
            s, x = float(step[0]), self.freedom @ step[1:]
        changes = _changes(point, s, x)
        duals = [
            wanted[k] - point.duals[k] - _symmetric(self.inverses[k] @ (changes[k] @ point.duals[k])) for k in range(2)
        ]
        slacks = np.asarray(slope @ x)
        multipliers = pull - point.multipliers - slacks * point.multipliers / point.slacks
        dense = tuple(np.asarray(change.toarray() - s / len(duals[0])) for change in changes)
        return _Direction(s, x, (dense[0], dense[1]), (duals[0], duals[1]), slacks, multipliers)

    def _second_order(self, k: int, s: float, x: FloatArray, dual: FloatArray) -> FloatArray:
        change = _changes(self.point, s, x)[k]
        return _symmetric(self.inverses[k] @ (change @ dual))


def _changes(point: _Point, s: float, x: FloatArray) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Give the changes of the two matrices but for the multiple of J, which no dual sees."""
    L = point.problem.sparse_laplacian(x[point.groups])
    diagonal = s * sparse.eye_array(point.problem.nodes, format="csr")
    return sparse.csr_array(diagonal + L), sparse.csr_array(diagonal - L)


def _symmetric(matrix: FloatArray) -> FloatArray:
    return np.asarray((matrix + matrix.T) / 2, dtype=np.float64)


def _schur_complement(point: _Point, inverses: tuple[FloatArray, ...]) -> FloatArray:
    """Give the traces of A_k S^-1 A_l Y, summed over the two matrices, with s first and then the groups."""
    problem, groups = point.problem, point.groups
    u, v = problem.edges.T
    count = point.x.size
    single = count == groups.size and bool((groups == np.arange(count)).all())
    collect = sparse.csr_array((np.ones(groups.size), (groups, np.arange(groups.size))), shape=(count, groups.size))
    matrix = np.zeros((1 + count, 1 + count))
    rows = max(1, min(groups.size, BLOCK // max(1, groups.size)))
    for inverse, dual, sign in zip(inverses, point.duals, SIGNS, strict=True):
        product = inverse @ dual
        beside = sign * np.bincount(groups, weights=_on_edges(problem, product), minlength=count)
        matrix[0, 1:] += beside
        matrix[1:, 0] += beside
        matrix[0, 0] += np.trace(product) - product.mean() * len(product)
        for first in range(0, groups.size, rows):
            part = slice(first, first + rows)
            entries = _differences(inverse, u, v, part)
            entries *= _differences(dual, u, v, part)
            if single:
                matrix[1:, 1 + first : 1 + first + entries.shape[1]] += entries
            else:
                matrix[1:, 1:] += np.asarray(collect[:, part] @ (collect @ entries).T).T
    return matrix


def _differences(matrix: FloatArray, u: IntArray, v: IntArray, part: slice) -> FloatArray:
    """Give a_e^T M a_f for all edges e and a part of the edges f, shape (m, of the part)."""
    columns = np.ascontiguousarray((matrix[u[part]] - matrix[v[part]]).T)
    return np.asarray(columns[u] - columns[v], dtype=np.float64)


def _step(point: _Point) -> _Point | None:
    """Take one step; None where rounding errors allow none."""
    system = _NewtonSystem(point)
    products = point.products
    predictor = system.solve(0.0, None)
    primal, dual = _lengths(point, predictor)
    after = sum(
        float(np.vdot(point.matrices[k] + primal * predictor.matrices[k], point.duals[k] + dual * predictor.duals[k]))
        for k in range(2)
    )
    after += float((point.slacks + primal * predictor.slacks) @ (point.multipliers + dual * predictor.multipliers))
    centring = min(1.0, max(after / products, 0.0)) ** 3
    # What a predictor leaves out counts as far as it can be gone.
    part = primal * dual if min(primal, dual) < TRUSTED else 1.0
    direction = system.solve(max(centring, 1e-6) * products / point.order, predictor, part)
    del system
    primal, dual = _lengths(point, direction)
    moved = _moved(point.matrices, direction.matrices, primal)
    moved_dual = _moved(point.duals, direction.duals, dual)
    if moved is None or moved_dual is None:
        return None
    primal, matrices, factors = moved
    dual, duals, dual_factors = moved_dual
    s, x = point.s + primal * direction.s, point.x + primal * direction.x
    return _Point(
        point.problem, point.groups, point.limits, s, x, matrices, factors, duals, dual_factors,
        point.limits.slacks(x), point.multipliers + dual * direction.multipliers,
    )  # fmt: skip


def _lengths(point: _Point, direction: _Direction) -> tuple[float, float]:
    primal = min(longest_step(f, d) for f, d in zip(point.factors, direction.matrices, strict=True))
    primal = min(primal, longest_step_of_vector(point.slacks, direction.slacks))
    dual = min(longest_step(f, d) for f, d in zip(point.dual_factors, direction.duals, strict=True))
    dual = min(dual, longest_step_of_vector(point.multipliers, direction.multipliers))
    return min(1.0, BOUNDARY * primal), min(1.0, BOUNDARY * dual)


def _moved(matrices: Pair, directions: Pair, length: float) -> tuple[float, Pair, Pair] | None:
    """Go so far that both matrices stay positive definite, and factorise them there."""
    while length > SHORTEST:
        try:
            moved = matrices[0] + length * directions[0], matrices[1] + length * directions[1]
            return length, moved, _both(cholesky, moved)
        except LinAlgError:
            length *= RETREAT
    return None
