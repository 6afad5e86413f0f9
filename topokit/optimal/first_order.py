"""Optimal weights of large graphs: a few extreme eigenpairs a step, and nothing of the size of edges by edges."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import islice

import numpy as np
from scipy import sparse

from topokit.errors import ConvergenceError, InputError
from topokit.matrix import FloatArray
from topokit.optimal.augmented import AugmentedLagrangian, Multipliers, Point, mean_multipliers
from topokit.optimal.certificate import Certificate, dual_bound, width
from topokit.optimal.iterates import Iterate
from topokit.optimal.problem import WeightProblem
from topokit.optimal.repair import Repair
from topokit.optimal.starts import simple_weights
from topokit.spectral import spectrum

__all__ = ["first_order"]

MEMORY = 20  # pairs of the quasi-Newton method
INNER = 5  # steps between two changes of the multipliers
INEXACT = 0.1  # of the change of the multipliers, that the gradient may have
SUFFICIENT = 1e-4  # part of the predicted decrease
SHRINK, TRIALS = 0.4, 8  # of a step that is too long
FIRST_STEP = 0.25
SOFTEST, STIFFEST, CHANGE = 0.1, 3.0, 1.1  # limits of the stiffness, and of its change
LOPSIDED = 0.03  # distance of the weights' SLEM, relative to that of the bound, at which softer terms are better
MEANS, NOTABLE = (3, 10, 30), 0.05  # dual points to average, and by how much of the bounds' distance it has to help
KEPT = 20_000_000  # numbers in the dual points that are kept for it
USUAL = 20.0  # (1 + SLEM)/(1 - SLEM) as long as nothing mixes
RESCALED = 1.5  # change of (1 + SLEM)/(1 - SLEM) from which on the scales follow
RESIDUAL = 1e-3  # of eigenvectors, relative to the change of the multipliers
FINEST, COARSEST = 1e-8, 1e-4
PROMISING, AT_LEAST = 0.2, 0.05  # by how much of the bounds' distance, or of the gap, weights have to look better
STALLED, PROGRESS = 150, 0.999  # changes of the multipliers in which the bounds hardly come nearer
TIGHT = 1e-10


def first_order(problem: WeightProblem, start: FloatArray | None = None, *, seed: int = 0) -> Iterator[Iterate]:
    """Approach optimal weights by augmented Lagrangians with quasi-Newton steps.

    Parameters
    ----------
    problem : WeightProblem
        Undirected.
    start : ndarray, shape (m,), optional
        Weights to begin with, moved to within the limits; closed-form weights by default. The result is never worse
        than either.
    seed : int, default 0
        Of the random vectors with which the search for eigenvectors begins.

    Yields
    ------
    Iterate
        After every step. Weights, `upper` and `lower` are the best so far.

    Raises
    ------
    InputError
        If the problem is directed, or the start has another shape or values that are not finite.
    GraphError
        If no weights keep the limits.

    Notes
    -----
    A step costs eigenpairs that are followed from the last one by Chebyshev filters: products of the sparse matrix with
    blocks of some thirty vectors. Any maximiser of the augmented Lagrangian is a dual point that proves a bound, and
    its eigenvectors are those of the certificate. Where there are many edges to a node, means of the last dual points
    prove more, and the certificate has some hundred columns. `upper` is computed afresh from the weights, by
    `topokit.spectral`.

    Examples
    --------
    >>> import networkx as nx
    >>> from topokit.optimal.problem import weight_problem
    >>> for iterate in first_order(weight_problem(nx.path_graph(4), "fmmc")):
    ...     if iterate.upper - iterate.lower < 1e-7:
    ...         break
    >>> round(iterate.upper, 6), round(iterate.certificate().bound(iterate.upper), 6)
    (0.707107, 0.707107)
    """
    if problem.directed:
        raise InputError(
            "first-order steps are for undirected graphs; of directed ones, circulants are solved by characters"
        )
    edges = len(problem.edges)
    if start is not None and (np.shape(start) != (edges,) or not np.isfinite(start).all()):
        raise InputError(f"a start has one finite weight for each of the {edges} edges, got shape {np.shape(start)}")
    if problem.nodes < 2:
        yield Iterate(np.zeros(edges), 0.0, 0.0, partial(_certificate, problem, [Multipliers.none(problem)]))
        return
    search = _Search(problem, start, seed)
    yield search.iterate()
    while search.stalled < STALLED and width(search.upper, search.lower) > TIGHT:
        search.step()
        yield search.iterate()


class _Search:
    def __init__(self, problem: WeightProblem, start: FloatArray | None, seed: int) -> None:
        self.problem, self.seed = problem, seed
        self.repair = Repair(problem)
        self.weights, self.upper = self.repair.inside, np.inf
        self.lower = 0.0
        self.proof = partial(_certificate, problem, [Multipliers.none(problem)])
        self.latest: deque[Point] = deque(
            maxlen=min(max(KEPT // (50 * problem.nodes + len(problem.edges)), 1), MEANS[-1])
        )
        self.lagrangian = AugmentedLagrangian(problem, seed)
        self.newton = _QuasiNewton()
        self.stalled = self.inner = 0
        self.stiffness = self.scaled_for = 1.0
        self.width = np.inf
        if (simple := simple_weights(problem)) is not None:
            self.weights = simple[0]
        self.check(self.weights)
        first = self.weights
        if start is not None:
            first = self.repair(np.asarray(start, dtype=np.float64))
            self.check(first)
        self.rescale()
        self.point = self.look(first)

    def iterate(self) -> Iterate:
        return Iterate(self.weights, self.upper, min(self.lower, self.upper), self.proof)

    def check(self, weights: FloatArray) -> float:
        """Compute what weights reach, and keep the best."""
        W = sparse.csr_array(sparse.eye_array(self.problem.nodes) - self.problem.sparse_laplacian(weights))
        tolerance = min(max(1e-2 * width(self.upper, self.lower), 1e-9), 1e-4)
        try:
            reached = spectrum(W, tolerance=tolerance, seed=self.seed).bounds.upper
        except ConvergenceError:
            reached = 1 + 2 * float(self.problem.node_sums(np.abs(weights)).max())
        if reached < self.upper:
            self.weights, self.upper = weights, reached
        return reached

    def look(self, weights: FloatArray) -> Point:
        """Evaluate the Lagrangian, and keep the best bound."""
        point = self.lagrangian.at(weights)
        bound = point.bound(self.problem, self.upper)
        if bound > self.lower:
            self.lower = bound
            self.proof = partial(_certificate, self.problem, [point.multipliers])
        return point

    def rescale(self) -> None:
        odds = (1 + self.upper) / max(1 - self.upper, 1e-9) if self.upper < 1 else USUAL
        if not 1 / RESCALED < odds / self.scaled_for < RESCALED:
            self.scaled_for = odds
            self.lagrangian.scale(slem=(odds - 1) / (odds + 1))
            self.newton.forget()

    def step(self) -> None:
        before = self.point
        self.point = self.descend(before)
        self.inner += 1
        change = self.point.multipliers.distance(self.lagrangian.centre)
        small = float(np.abs(self.point.gradient).sum()) < INEXACT * change
        if self.inner >= INNER or small or self.point is before:
            self.update(change)

    def descend(self, point: Point) -> Point:
        for _ in range(2):
            direction = self.newton.direction(point.gradient)
            slope = float(direction @ point.gradient)
            length = 1.0
            for _ in range(TRIALS if slope < 0 else 0):
                new = self.look(point.weights + length * direction)
                if new.value <= point.value + SUFFICIENT * length * slope + 1e-13 * abs(point.value):
                    self.newton.learn(new.weights - point.weights, new.gradient - point.gradient)
                    return new
                length *= SHRINK
            self.newton.forget()
        return point

    def update(self, change: float) -> None:
        """Take the maximiser for the multipliers, and see what the weights reach."""
        point, lagrangian = self.point, self.lagrangian
        fixed = self.repair(point.weights)
        promised = lagrangian.promised(fixed)
        enough = PROMISING * min(self.upper - self.lower, AT_LEAST / PROMISING * abs(1 - self.upper))
        if promised < self.upper - enough:
            promised = self.check(fixed)
        self.balance(promised - point.level, point.level - point.bound(self.problem, self.upper))
        self.average(point)
        lagrangian.centre = point.multipliers
        lagrangian.accuracy = min(max(RESIDUAL * change, FINEST), COARSEST)
        self.rescale()
        self.inner = 0
        self.point = self.look(point.weights)
        reached = width(self.upper, self.lower)
        if reached < PROGRESS * self.width:
            self.width, self.stalled = reached, 0
        else:
            self.stalled += 1

    def balance(self, above: float, below: float) -> None:
        """Stiffer terms bring the weights near sooner, softer ones the dual point."""
        if above > below:
            self.stiffness = min(self.stiffness * CHANGE, STIFFEST)
        elif above < LOPSIDED * below:
            self.stiffness = max(self.stiffness / CHANGE, SOFTEST)
        elif self.stiffness > 1:
            self.stiffness = max(self.stiffness / CHANGE, 1.0)
        self.lagrangian.scale(stiffness=self.stiffness)

    def average(self, point: Point) -> None:
        """See whether a mean of the last dual points proves more than each: errors of their gradients cancel."""
        self.latest.appendleft(point)
        trace, worth, prices = 0.0, np.zeros(len(self.problem.edges)), np.zeros(self.problem.nodes)
        best, count = self.lower + NOTABLE * (self.upper - self.lower), 0
        for k, each in enumerate(self.latest, start=1):
            trace, worth, prices = trace + each.trace, worth + each.worth, prices + each.multipliers.nodes
            if k in MEANS:
                bound = dual_bound(self.problem, trace / k, worth / k, prices / k, self.upper)
                if bound > best:
                    best, count = bound, k
        if count:
            self.lower = best
            self.proof = partial(_certificate, self.problem, [each.multipliers for each in islice(self.latest, count)])


def _certificate(problem: WeightProblem, duals: list[Multipliers]) -> Certificate:
    return mean_multipliers(duals).certificate(problem)


class _QuasiNewton:
    """Directions by limited-memory BFGS.

    References
    ----------
    .. [1] D. C. Liu, J. Nocedal, "On the limited memory BFGS method for large scale optimization", Math. Program. 45,
       1989.
    """

    def __init__(self) -> None:
        self._pairs: deque[tuple[FloatArray, FloatArray, float]] = deque(maxlen=MEMORY)

    def forget(self) -> None:
        self._pairs.clear()

    def learn(self, step: FloatArray, change: FloatArray) -> None:
        product = float(step @ change)
        if product > 1e-10 * float(np.linalg.norm(step) * np.linalg.norm(change)):
            self._pairs.append((step, change, product))

    def direction(self, gradient: FloatArray) -> FloatArray:
        rest, parts = gradient.copy(), []
        for step, change, product in reversed(self._pairs):
            parts.append(float(step @ rest) / product)
            rest -= parts[-1] * change
        if self._pairs:
            rest *= self._pairs[-1][2] / float(self._pairs[-1][1] @ self._pairs[-1][1])
        else:
            rest *= FIRST_STEP
        for (step, change, product), part in zip(self._pairs, reversed(parts), strict=True):
            rest += (part - float(change @ rest) / product) * step
        return -rest
