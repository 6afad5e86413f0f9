"""The search for the weights of a period: all rounds at once to first order, then one at a time.

Steps in all weights are kept short by a trust region; near the end each squares the error. Then a sweep over the
rounds improves what is left, or proves that no round can be changed alone to any gain.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeAlias

import numpy as np
from scipy import sparse

from topokit.matrix import FloatArray
from topokit.optimal.affine_norm import AffineMatrix, WeightLimits, least_affine_norm
from topokit.optimal.period_patterns import Pattern, reach_bound

__all__ = ["PeriodSearch", "Stopped", "limits_of"]

Stopped: TypeAlias = Literal["exact", "optimum of every round", "time", "interrupt"]

EPS = float(np.finfo(np.float64).eps)
NOTHING = 1e-6  # weights below are left out where that costs nothing
LARGEST = 100.0  # size of a weight that may have any sign


class PeriodSearch:
    """Weights under improvement, the best found so far, and what is proved about them."""

    def __init__(
        self,
        nodes: int,
        patterns: Sequence[Pattern],
        nonnegative: bool,
        tolerance: float,
        deadline: float,
        progress: Callable[[float, float], None] | None,
    ) -> None:
        self.nodes, self.patterns, self.tolerance = nodes, patterns, tolerance
        self.deadline, self.progress, self.begin = deadline, progress, time.monotonic()
        self.limits = [limits_of(nodes, pattern, nonnegative) for pattern in patterns]
        self.lower = reach_bound(nodes, patterns)
        self.zero = 64 * EPS * len(patterns) * float(np.sqrt(nodes))
        self.steps = 0
        self.best: list[FloatArray] = []
        self.norm = np.inf
        self.bounds: list[float] = []
        self.bounds_of: list[FloatArray] | None = None

    def offer(self, weights: list[FloatArray]) -> float:
        """Compute the norm, and keep the weights if they are the best."""
        norm = self._norm(weights)
        if norm < self.norm:
            self.best, self.norm = weights, norm
            if self.progress is not None:
                self.progress(norm, time.monotonic() - self.begin)
        return norm

    def _norm(self, weights: list[FloatArray]) -> float:
        product = np.eye(self.nodes)
        for pattern, w in zip(self.patterns, weights, strict=True):
            product = pattern.apply(w, product)
        return float(np.linalg.norm(product - 1 / self.nodes, 2))

    def starts(self, first: list[FloatArray], count: int, rng: np.random.Generator) -> Iterator[list[FloatArray]]:
        """Give the first start, that of Chebyshev where all rounds are on one graph, and random ones."""
        yield first
        one = self.patterns[0]
        if len(self.patterns) > 1 and one.exchange and all(_same(one, other) for other in self.patterns[1:]):
            yield self._chebyshev()
        for _ in range(count - 1):
            yield self._drawn(rng)

    def _chebyshev(self) -> list[FloatArray]:
        """Give weights 1/x of all edges of a round, x a root of the Chebyshev polynomial on the Laplacian's spectrum.

        Of constant weights of any sign, these are the best known (Golub, Varga 1961).
        """
        one, p = self.patterns[0], len(self.patterns)
        L = np.eye(self.nodes) - one.apply(np.ones(one.groups), np.eye(self.nodes))
        values = np.linalg.eigvalsh(L)
        low, high = float(values[1]), float(values[-1])
        roots = (high + low) / 2 + (high - low) / 2 * np.cos(np.pi * (2 * np.arange(p) + 1) / (2 * p))
        most = float(np.diag(L).max())
        weights = [min(1 / root, 1 / most) if self.limits[0].low.min() >= 0 else 1 / root for root in roots]
        return [np.full(one.groups, min(w, LARGEST)) for w in weights]

    def _drawn(self, rng: np.random.Generator) -> list[FloatArray]:
        crowded = [max(1.0, float((limits.sums @ np.ones(limits.low.size)).max(initial=1.0))) for limits in self.limits]
        return [rng.uniform(0.1, 0.9, pattern.groups) / k for pattern, k in zip(self.patterns, crowded, strict=True)]

    def run(self, weights: list[FloatArray]) -> Stopped:
        """Improve weights until no round can be changed alone to any gain."""
        norm = self.offer(weights)
        while norm > self.zero:
            weights, norm = self._together(weights, norm)
            weights, norm = self._tidied(weights, norm)
            weights, norm, again = self._one_by_one(weights, norm)
            if time.monotonic() > self.deadline:
                return "time"
            if not again:
                break
        return "optimum of every round"

    def _together(self, weights: list[FloatArray], norm: float) -> tuple[list[FloatArray], float]:
        """Improve all rounds at once: minimise the norm of the product to first order, within a radius."""
        parts = np.cumsum([w.size for w in weights])[:-1]
        radius = 0.25
        while norm > self.zero and radius > 1e-9 and time.monotonic() < self.deadline:
            w = np.concatenate(weights)
            affine, limits = self._first_order(weights), self._all_limits()
            trial, after = weights, norm
            while radius > 1e-9 and time.monotonic() < self.deadline:
                found, model = self._solve(affine, limits.near(w, radius), w, norm)
                trial = np.split(found, parts)
                after = self._norm(trial)
                kept = (norm - after) / max(norm - model, EPS * norm)
                radius = radius / 4 if kept < 0.25 else 2 * radius if kept > 0.75 else radius
                if after < norm or norm - model <= 0.1 * self.tolerance * norm:
                    break
            # Smaller gains are left: weights that are optimal already stay as they are.
            if after >= norm * (1 - self.tolerance):
                break
            weights, norm = trial, self.offer(trial)
        return weights, norm

    def _one_by_one(self, weights: list[FloatArray], norm: float) -> tuple[list[FloatArray], float, bool]:
        """Improve the rounds one at a time, each to its optimum, and say whether any gained."""
        again, bounds = False, []
        for t, pattern in enumerate(self.patterns):
            if norm <= self.zero or time.monotonic() > self.deadline:
                return weights, norm, again
            if not pattern.groups:
                bounds.append(norm)
                continue
            affine = self._of_round(weights, t)
            found, _, bound = least_affine_norm(
                affine,
                self.limits[t],
                weights[t],
                tolerance=0.25 * self.tolerance * norm,
                deadline=self.deadline,
            )
            self.steps += 1
            bounds.append(bound)
            trial = [*weights[:t], found, *weights[t + 1 :]]
            after = self._norm(trial)
            # Here too, so that all bounds hold for the same weights.
            if after < norm * (1 - self.tolerance):
                weights, norm, again = trial, self.offer(trial), True
        if not again and self.best is weights:
            self.bounds, self.bounds_of = bounds, weights
        return weights, norm, again

    def _tidied(self, weights: list[FloatArray], norm: float) -> tuple[list[FloatArray], float]:
        """Round weights near their limits to them, where it costs nothing: edges of weight 0 send no messages."""
        trial = [
            np.where(w - limits.low < NOTHING, limits.low, np.where(limits.high - w < NOTHING, limits.high, w))
            for w, limits in zip(weights, self.limits, strict=True)
        ]
        trial = [np.where(np.abs(w) < NOTHING, 0.0, w) for w in trial]
        after = self._norm(trial)
        if after > norm:
            return weights, norm
        if self.best is weights:
            self.best = trial
        return trial, self.offer(trial)

    def _solve(
        self, affine: AffineMatrix, limits: WeightLimits, w: FloatArray, norm: float
    ) -> tuple[FloatArray, float]:
        self.steps += 1
        tolerance = 0.05 * self.tolerance * norm
        found, value, _ = least_affine_norm(affine, limits, w, tolerance=tolerance, deadline=self.deadline)
        return found, value

    def _products(self, weights: list[FloatArray]) -> tuple[list[FloatArray], list[FloatArray]]:
        """Give the products of the rounds before each, and of those after each."""
        before, after = [np.eye(self.nodes)], [np.eye(self.nodes)]
        for pattern, w in zip(self.patterns, weights, strict=True):
            before.append(pattern.apply(w, before[-1]))
        for pattern, w in zip(self.patterns[::-1], weights[::-1], strict=True):
            # W^T differs from W where messages go one way.
            W = pattern.apply(w, np.eye(self.nodes))
            after.append(after[-1] @ W)
        return before, after[::-1]

    def _of_round(self, weights: list[FloatArray], t: int) -> AffineMatrix:
        before, after = self._products(weights)
        pattern = self.patterns[t]
        left, right = pattern.factors(after[t + 1], before[t])
        constant = after[t + 1] @ before[t] - 1 / self.nodes
        return AffineMatrix(constant, left, right, pattern.group, pattern.groups)

    def _first_order(self, weights: list[FloatArray]) -> AffineMatrix:
        before, after = self._products(weights)
        factors = [pattern.factors(after[t + 1], before[t]) for t, pattern in enumerate(self.patterns)]
        left, right = (np.concatenate(side) for side in zip(*factors, strict=True))
        shift = np.cumsum([0] + [pattern.groups for pattern in self.patterns])
        group = np.concatenate([pattern.group + k for pattern, k in zip(self.patterns, shift[:-1], strict=True)])
        affine = AffineMatrix(before[-1] - 1 / self.nodes, left, right, group, int(shift[-1]))
        return affine._replace(constant=affine.constant - affine.change(np.concatenate(weights)))

    def _all_limits(self) -> WeightLimits:
        sums = sparse.block_diag([limits.sums for limits in self.limits], format="csr")
        low, high = (np.concatenate([limits[k] for limits in self.limits]) for k in (0, 1))
        return WeightLimits(low, high, sparse.csr_array(sums))


def _same(one: Pattern, other: Pattern) -> bool:
    return other.exchange and np.array_equal(one.a, other.a) and np.array_equal(one.b, other.b)


def limits_of(nodes: int, pattern: Pattern, nonnegative: bool) -> WeightLimits:
    """Give the limits of the weights of a round: nonnegative with self weights, or at most 100 in size.

    Examples
    --------
    >>> pattern = Pattern(np.array([0, 1]), np.array([1, 2]), np.array([0, 1]), 2, exchange=True)
    >>> limits_of(3, pattern, nonnegative=True).sums.toarray().tolist()  # of the weights at node 1
    [[1.0, 1.0]]
    """
    ones = np.ones(pattern.groups)
    if nonnegative:
        return WeightLimits(0 * ones, ones, pattern.node_sums(nodes))
    return WeightLimits(-LARGEST * ones, LARGEST * ones, sparse.csr_array((0, pattern.groups)))
