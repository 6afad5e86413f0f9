"""The augmented Lagrangian of a weight problem: a smooth function of the weights, for a few extreme eigenpairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from topokit.matrix import FloatArray, IntArray
from topokit.optimal.certificate import Certificate, dual_bound
from topokit.optimal.extremes import Operator, TopBlock
from topokit.optimal.problem import WeightProblem

__all__ = ["AugmentedLagrangian", "Multipliers", "Point", "common_level", "mean_multipliers"]

DENSE = 160  # nodes up to which whole eigendecompositions cost less than filters
WHOLE = 2000  # nodes up to which they are taken where a third of all eigenvectors counts
FIRST_BLOCK = 24
EARLY = 4  # filters of random blocks, before they are asked how many vectors count
PASSES = 12  # filters in one evaluation
BEYOND = 1.02  # what a Ritz value is multiplied by to bound the spectrum
NEGLIGIBLE = 1e-7  # singular values whose squares are rounding errors
NEAREST = 1e-9  # distance of a SLEM from 1

Pair = tuple[FloatArray, FloatArray]


@dataclass(frozen=True)
class Multipliers:
    """A dual point: Y = positive positive^T - negative negative^T, and prices of the linear limits.

    Attributes
    ----------
    positive, negative : ndarray, shapes (n, r) and (n, s)
    nodes : ndarray, shape (n,)
        Of the sums at nodes.
    edges : ndarray, shape (m,)
        Of the bounds of each edge: positive at the upper, negative at the lower.
    """

    positive: FloatArray
    negative: FloatArray
    nodes: FloatArray
    edges: FloatArray

    @classmethod
    def none(cls, problem: WeightProblem) -> Multipliers:
        """Give the dual point 0."""
        empty = np.zeros((problem.nodes, 0))
        return cls(empty, empty, np.zeros(problem.nodes), np.zeros(len(problem.edges)))

    def certificate(self, problem: WeightProblem) -> Certificate:
        """Give the proof of its bound."""
        return Certificate.symmetric(problem, self.positive, self.negative, self.nodes)

    def distance(self, other: Multipliers) -> float:
        """Frobenius distance of both ends of Y."""
        pairs = (self.positive, other.positive), (self.negative, other.negative)
        return float(np.sqrt(sum(_squared_distance(A, B) for A, B in pairs)))


@dataclass(frozen=True)
class Point:
    """The augmented Lagrangian at some weights.

    Attributes
    ----------
    weights, gradient : ndarray, shape (m,)
    value : float
        But for a constant of the multipliers.
    level : float
        About the SLEM.
    multipliers : Multipliers
        The maximiser.
    trace : float
        Of its Y, whose norm is at most 1.
    worth : ndarray, shape (m,)
        <Y, L_e> of each edge.
    """

    weights: FloatArray
    value: float
    gradient: FloatArray
    level: float
    multipliers: Multipliers
    trace: float
    worth: FloatArray

    def bound(self, problem: WeightProblem, slem: float) -> float:
        """Give the bound from below that the maximiser proves."""
        return dual_bound(problem, self.trace, self.worth, self.multipliers.nodes, slem)


class AugmentedLagrangian:
    """The largest <P - N, W - J> over psd P and N of traces 1 together, made smooth by a distance from multipliers.

    Parameters
    ----------
    problem : WeightProblem
    seed : int
        Of the vectors with which the search for eigenvectors begins.

    Notes
    -----
    For the multipliers P' and N', taking ||P - P'||^2 / (2 s_P) and ||N - N'||^2 / (2 s_N) off makes the norm a
    smooth function of the weights. The maximiser comes from the eigenvalues a > s_P t of P' + s_P (W - J), lowered by
    s_P t, and from those of N' - s_N (W - J) in the same way, with one t for both traces. Few eigenvalues are as large,
    whatever the number of edges. Limits of node sums and of weights enter as in any augmented Lagrangian [1]_.

    The ends of the spectrum have sizes of their own: the gap 1 - SLEM at the upper, 1 + SLEM at the lower, and traces
    in the inverse ratio. The choice of s_P / s_N = (1 + SLEM) / (1 - SLEM) makes the steps of both alike; with one s,
    grids took five times as many steps.

    References
    ----------
    .. [1] R. T. Rockafellar, "Augmented Lagrangians and applications of the proximal point algorithm in convex
       programming", Math. Oper. Res. 1(2), 1976.
    .. [2] X.-Y. Zhao, D. Sun, K.-C. Toh, "A Newton-CG augmented Lagrangian method for semidefinite programming", SIAM
       J. Optim. 20(4), 2010.
    """

    def __init__(self, problem: WeightProblem, seed: int) -> None:
        self.problem = problem
        self.centre = Multipliers.none(problem)
        self.accuracy = 1e-4
        self._slem, self._stiffness = 0.0, 1.0
        self._pattern, self._place, self._diagonal = _pattern(problem)
        self._whole = problem.nodes <= DENSE
        rng = np.random.default_rng(seed)
        self._blocks = [TopBlock(problem.nodes, FIRST_BLOCK, rng) for _ in range(2)]
        self._fresh = True

    def scale(self, *, slem: float | None = None, stiffness: float | None = None) -> None:
        """Choose the sizes of the quadratic terms: for a SLEM about this, and times this."""
        if slem is not None:
            self._slem = min(max(slem, 0.0), 1 - NEAREST)
        if stiffness is not None:
            self._stiffness = stiffness

    @property
    def _stiff(self) -> FloatArray:
        ratio = np.sqrt((1 + self._slem) / (1 - self._slem))
        return np.array([ratio, 1 / ratio]) * self._stiffness

    def at(self, weights: FloatArray) -> Point:
        """Evaluate value, gradient and maximiser."""
        problem, centre, stiff = self.problem, self.centre, self._stiff
        operators = self._operators(weights)
        pairs = self._all_pairs(operators) if self._whole else self._top_pairs(operators)
        level = common_level([values for values, _ in pairs], stiff)
        value, traces, factors = 0.0, [], []
        for (values, vectors), s in zip(pairs, stiff, strict=True):
            count = int((values > s * level).sum())
            share = values[:count] - s * level
            value += float((share * (values[:count] - share / 2)).sum()) / s
            traces.append(float(share.sum()))
            factors.append(vectors[:, :count] * np.sqrt(share))
        u, v = problem.edges.T
        worth = ((factors[0][u] - factors[0][v]) ** 2).sum(axis=1) - ((factors[1][u] - factors[1][v]) ** 2).sum(axis=1)
        gradient, nodes, edges, t = -worth, centre.nodes, centre.edges, self._stiffness / problem.nodes
        if problem.self_weights != "free":
            nodes = nodes + t * (problem.node_sums(weights) - 1)
            if problem.self_weights == "nonnegative":
                nodes = np.maximum(nodes, 0)
            value += float(nodes @ nodes) / (2 * t)
            gradient = gradient + problem.ends_sum(nodes)
        if problem.nonnegative or problem.upper is not None:
            moved = weights + edges / t
            edges = t * (moved - np.clip(moved, 0.0 if problem.nonnegative else -np.inf, problem.upper))
            value += float(edges @ edges) / (2 * t)
            gradient = gradient + edges
        found = Multipliers(factors[0], factors[1], nodes, edges)
        return Point(weights, value, gradient, level, found, traces[0] - traces[1], worth)

    def promised(self, weights: FloatArray) -> float:
        """Give a number that the SLEM of these weights exceeds a little, or not at all; 0 if nothing is known."""
        if self._whole:
            return 0.0
        L = self._laplacian(weights)
        ends = [np.linalg.eigvalsh(block.basis.T @ (L @ block.basis)) for block in self._blocks]
        return float(max(max(1 - values[0], values[-1] - 1) for values in ends))

    def _laplacian(self, weights: FloatArray) -> sparse.csr_array:
        data = np.concatenate((-weights, -weights, self.problem.node_sums(weights)))[self._place]
        return sparse.csr_array((data, self._pattern.indices, self._pattern.indptr), shape=self._pattern.shape)

    def _operators(self, weights: FloatArray) -> list[Operator]:
        """Give P' + s_P (W - J) and N' - s_N (W - J), but for J, as all vectors are orthogonal to it."""
        L = self._laplacian(weights)
        lower = self._blocks[1].basis
        highest = 2.0 if self._whole else max(2.0, BEYOND * float(np.linalg.norm(lower.T @ (L @ lower), 2)))
        operators = []
        parts = (self.centre.positive, 1 - highest), (self.centre.negative, -1.0)
        for (factors, low), sign, s in zip(parts, (1, -1), self._stiff, strict=True):
            data = -sign * s * L.data
            data[self._diagonal] += sign * s
            matrix = sparse.csr_array((data, L.indices, L.indptr), shape=L.shape)
            operators.append(Operator(matrix, self._diagonal, factors, s * low))
        return operators

    def _all_pairs(self, operators: list[Operator]) -> list[Pair]:
        found = []
        for A in operators:
            dense = A.matrix.toarray() + A.factors @ A.factors.T
            # The constant vector goes to the lower end, and is left out there.
            dense -= 4 * float(np.abs(dense).sum(axis=1).max()) / len(dense)
            values, vectors = np.linalg.eigh(dense)
            found.append((values[:0:-1], vectors[:, :0:-1]))
        return found

    def _top_pairs(self, operators: list[Operator]) -> list[Pair]:
        for block, A in zip(self._blocks, operators, strict=True):
            block.project(A)
        for k in range(PASSES):
            # Ritz values are too small, hence this level too, and what exceeds it is all that counts, or more.
            level = common_level([block.values for block in self._blocks], self._stiff)
            fresh = self._fresh and k < EARLY
            done = [
                block.improve(A, s * level, self.accuracy, k == 0, fresh)
                for block, A, s in zip(self._blocks, operators, self._stiff, strict=True)
            ]
            if not any(done):
                break
        self._fresh = False
        largest = max(block.basis.shape[1] for block in self._blocks)
        self._whole = largest > self.problem.nodes / 3 and self.problem.nodes <= WHOLE
        return [(block.values, block.basis) for block in self._blocks]


def mean_multipliers(points: list[Multipliers]) -> Multipliers:
    """Give the mean of dual points, in few factors.

    Parameters
    ----------
    points : list of Multipliers
        Of one problem.
    """
    if len(points) == 1:
        return points[0]
    ends = [np.hstack(factors) for factors in zip(*((p.positive, p.negative) for p in points), strict=True)]
    positive, negative = (_few_columns(factors / np.sqrt(len(points))) for factors in ends)
    nodes, edges = (sum(each) / len(points) for each in zip(*((p.nodes, p.edges) for p in points), strict=True))
    return Multipliers(positive, negative, nodes, edges)


def _few_columns(F: FloatArray) -> FloatArray:
    """Give G with G G^T = F F^T up to rounding, with orthogonal columns and without those that are 0."""
    if F.shape[1] == 0:
        return F
    U, sizes, _ = np.linalg.svd(F, full_matrices=False)
    keep = sizes > NEGLIGIBLE * sizes[0]
    return np.asarray(U[:, keep] * sizes[keep])


def common_level(values: list[FloatArray], stiff: FloatArray) -> float:
    """Find t >= 0 with the sum of (a - s t)_+ over all ends equal to 1, or 0 where the sum is less there.

    Parameters
    ----------
    values : list of ndarray
        Eigenvalues a of each end, largest first.
    stiff : ndarray
        s of each end.

    Examples
    --------
    >>> common_level([np.array([1.0, 0.5]), np.array([0.75])], np.ones(2))
    0.4166666666666667
    """
    ratio = np.concatenate([a / s for a, s in zip(values, stiff, strict=True)])
    slope = np.concatenate([np.full(len(a), s) for a, s in zip(values, stiff, strict=True)])
    order = np.argsort(-ratio)
    ratio, slope = ratio[order], slope[order]
    levels = (np.cumsum(ratio * slope) - 1) / np.cumsum(slope)
    return max(float(levels[np.flatnonzero(ratio > levels)[-1]]), 0.0)


def _pattern(problem: WeightProblem) -> tuple[sparse.csr_array, IntArray, IntArray]:
    """Give the pattern of I - W, and where the weights of edges, twice, and the sums of nodes are in it."""
    u, v = problem.edges.T
    own = np.arange(problem.nodes)
    rows, columns = np.concatenate((u, v, own)), np.concatenate((v, u, own))
    order = np.lexsort((columns, rows))
    pointers = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=problem.nodes))))
    indices = columns[order].astype(np.int32), pointers.astype(np.int32)
    pattern = sparse.csr_array((np.ones(len(rows)), *indices), shape=(problem.nodes, problem.nodes))
    return pattern, order, np.flatnonzero(rows[order] == columns[order])


def _squared_distance(A: FloatArray, B: FloatArray) -> float:
    """Give ||A A^T - B B^T||_F^2."""
    return max(0.0, float(((A.T @ A) ** 2).sum() + ((B.T @ B) ** 2).sum() - 2 * ((A.T @ B) ** 2).sum()))
