"""Weights for all rounds of a period: the norm of their product, not that of each round, is what counts.

Let W_t = I + sum_k w_tk D_tk, where D_tk moves what edge k of round t carries. In the weights of one round alone,
W_(p-1) ... W_0 - J is affine, and its norm convex. In all of them together it is not, but to first order it is affine
again: both problems are one, the least spectral norm of an affine matrix, solved here by a primal-dual interior-point
method whose dual point bounds the norm from below. Steps in all weights, kept short by a trust region, come first: near
the end each squares the error. Then a sweep over the rounds, one at a time, improves what is left or proves that no
round can be changed alone to any gain.

Rounds together may still have a better optimum elsewhere: no method is known that rules it out. What bounds the norm
from below without conditions is how far values can travel in a period.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from scipy import linalg, sparse

from topokit.adjacency import GraphLike, adjacency_of_edges
from topokit.errors import GraphError, InputError
from topokit.kinds import Cyclic
from topokit.matrix import FloatArray, IntArray, MixingMatrix
from topokit.proofs.arrival import TOLERANCE
from topokit.schedule import Schedule
from topokit.weights.messages import messages_of, require_connected

__all__ = ["PeriodWeights", "period_norm", "period_weights"]

RoundLike: TypeAlias = "MixingMatrix | GraphLike | IntArray"
Stopped: TypeAlias = Literal["exact", "optimum of every round", "time", "interrupt"]

STOPPED = {"time": "time was up", "interrupt": "interrupted"}
EPS = float(np.finfo(np.float64).eps)
NOTHING = 1e-6  # weights below are left out where that costs nothing
LARGEST = 100.0  # size of a weight that may have any sign
LARGEST_PERIOD = 2000  # nodes; a step takes seconds from 300 on


@dataclass(frozen=True)
class PeriodWeights:
    """Rounds of a period with their weights.

    Attributes
    ----------
    rounds : tuple of MixingMatrix
        Round 0 first; edges of weight 0 are left out.
    norm : float
        ||W_(p-1) ... W_0 - J||_2: errors shrink at least by this in a period.
    norm_before : float
        The same of the start.
    lower : float
        No weights on these edges have a smaller norm, as far as values can travel in a period.
    bounds : tuple of float
        For each round, no weights of it have a smaller norm while the other rounds stay as they are.
    exact : bool
        Whether the norm is 0 up to rounding: at most 1e-9/n.
    stopped : {"exact", "optimum of every round", "time", "interrupt"}
    steps : int
        Convex problems solved.
    seconds : float
    """

    rounds: tuple[MixingMatrix, ...]
    norm: float
    norm_before: float
    lower: float
    bounds: tuple[float, ...]
    exact: bool
    stopped: Stopped
    steps: int
    seconds: float

    @property
    def per_round(self) -> float:
        """Mean factor of a round, norm^(1/p)."""
        return float(self.norm ** (1 / len(self.rounds)))

    def provenance(self) -> dict[str, Any]:
        """Give what a schedule file says about the weights."""
        return {
            "method": "period",
            "steps": self.steps,
            "stopped": self.stopped,
            "norm": self.norm,
            "norm_before": self.norm_before,
            "lower": self.lower,
            "summary": self.sentence(),
        }

    def sentence(self) -> str:
        """Say it in one sentence."""
        if self.exact and self.norm_before == self.norm:
            return "the period averages exactly as it is: no weights are better"
        if self.exact:
            return (
                f"the period averages exactly with these weights (before, it shrank errors to {self.norm_before:.6g})"
            )
        proved = self.stopped == "optimum of every round"
        end = "; no round can be improved alone" if proved else f" when it was stopped ({STOPPED[self.stopped]})"
        return f"the period shrinks errors to {self.norm:.6g} (before, to {self.norm_before:.6g}){end}"


class _Pattern(NamedTuple):
    """What the weights of one round act on: W = I + sum of w[group[i]] left_i right_i^T.

    Of an exchange, left_i = e_a - e_b and right_i = e_b - e_a; of a message from b to a, left_i = e_a.
    """

    a: IntArray
    b: IntArray
    group: IntArray
    groups: int
    exchange: bool

    def matrix(self, nodes: int, weights: FloatArray) -> MixingMatrix:
        """Give W without its zeros."""
        target, source, weight = self._messages(weights)
        selves = 1 - np.bincount(target, weight, minlength=nodes)
        own = np.arange(nodes)
        rows, columns = np.concatenate((target, own)), np.concatenate((source, own))
        values = np.concatenate((weight, selves))
        keep = np.abs(values) > 4 * EPS
        return MixingMatrix.from_entries(nodes, rows[keep], columns[keep], values[keep])

    def apply(self, weights: FloatArray, X: FloatArray) -> FloatArray:
        """Give W X."""
        target, source, weight = self._messages(weights)
        n = X.shape[0]
        moves = sparse.csr_array((weight, (target, source)), shape=(n, n))
        selves = 1 - np.bincount(target, weight, minlength=n)
        return np.asarray(moves @ X + selves[:, None] * X, dtype=np.float64)

    def _messages(self, weights: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
        each = weights[self.group]
        if self.exchange:
            return np.concatenate((self.a, self.b)), np.concatenate((self.b, self.a)), np.tile(each, 2)
        return self.a, self.b, each

    def factors(self, after: FloatArray, before: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give `after` left_i and right_i^T `before` as rows, shape (terms, n) each."""
        left = after[:, self.a].T - after[:, self.b].T if self.exchange else after[:, self.a].T
        return left, before[self.b] - before[self.a]

    def node_sums(self, nodes: int) -> sparse.csr_array:
        """Give the matrix of the weights that meet at a node, of the nodes at which there are several."""
        ends = np.concatenate((self.a, self.b)) if self.exchange else self.a
        groups = np.concatenate((self.group, self.group)) if self.exchange else self.group
        ones = np.ones(ends.size)
        sums = sparse.csr_array((ones, (ends, groups)), shape=(nodes, self.groups))
        return sparse.csr_array(sums[np.diff(sums.indptr) > 1])


class _Limits(NamedTuple):
    """low <= w <= high, and sums w <= 1."""

    low: FloatArray
    high: FloatArray
    sums: sparse.csr_array

    def near(self, w: FloatArray, radius: float) -> _Limits:
        """Tighten the range of each weight to `radius` about w."""
        return _Limits(np.maximum(self.low, w - radius), np.minimum(self.high, w + radius), self.sums)

    def inside(self, w: FloatArray) -> FloatArray:
        """Give a point a little off w that touches no limit; w itself must keep them."""
        width = self.high - self.low
        room, need = 1 - self.sums @ self.low, self.sums @ width
        share = min(0.5, 0.5 * float(np.min(room / np.maximum(need, EPS), initial=1.0)))
        return np.asarray(w + 0.3 * (self.low + share * width - w), dtype=np.float64)


class _Affine(NamedTuple):
    """M(w) = constant + sum of w[group[i]] left_i right_i^T."""

    constant: FloatArray
    left: FloatArray
    right: FloatArray
    group: IntArray
    groups: int

    def at(self, w: FloatArray) -> FloatArray:
        return np.asarray(self.constant + self.change(w), dtype=np.float64)

    def change(self, w: FloatArray) -> FloatArray:
        return np.asarray((self.left * w[self.group, None]).T @ self.right, dtype=np.float64)

    def inner(self, G: FloatArray) -> FloatArray:
        """Give <G, derivative by w_k> for each k."""
        each = np.einsum("ri,ri->r", self.left @ G, self.right)
        return np.asarray(np.bincount(self.group, each, minlength=self.groups), dtype=np.float64)


def _least_affine_norm(
    affine: _Affine, limits: _Limits, start: FloatArray, *, tolerance: float = 1e-8, deadline: float = np.inf
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
            of_S, of_Y = (np.asarray(np.linalg.cholesky(T), dtype=np.float64) for T in (S, Y))
        except np.linalg.LinAlgError:
            break  # rounding errors: this is as near as it gets
        mu = (float(np.vdot(S, Y)) + float(z @ y)) / (2 * n + z.size)
        bound = max(bound, _affine_bound(affine, limits, Y, y[2 * K :]))
        norm = float(np.linalg.norm(M, 2))
        if norm < best_norm:
            best_w, best_norm = w, norm
        if best_norm - bound <= tolerance or mu < 1e-15 or time.monotonic() > deadline:
            break
        X = np.asarray(linalg.cho_solve((of_S, True), np.eye(2 * n), check_finite=False), dtype=np.float64)
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


def _pairing(affine: _Affine, T: FloatArray) -> FloatArray:
    """Give <[[0, D_k], [D_k^T, 0]], T> for each k."""
    n = len(affine.constant)
    return affine.inner(T[:n, n:] + T[n:, :n].T)


def _affine_bound(affine: _Affine, limits: _Limits, Y: FloatArray, prices: FloatArray) -> float:
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


def _schur(affine: _Affine, X: FloatArray, Y: FloatArray, sums: sparse.csr_array, ratio: FloatArray) -> FloatArray:
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
    T = linalg.solve_triangular(factor, dS, lower=True, check_finite=False)
    T = linalg.solve_triangular(factor, T.T, lower=True, check_finite=False)
    least = float(linalg.eigvalsh((T + T.T) / 2, subset_by_index=[0, 0], check_finite=False)[0])
    falling = dz < 0
    return min(np.inf if least >= 0 else -1 / least, float(np.min(-z[falling] / dz[falling], initial=np.inf)))


def period_norm(rounds: Sequence[MixingMatrix]) -> float:
    """Compute ||W_(p-1) ... W_0 - J||_2 with a dense decomposition.

    Examples
    --------
    >>> from topokit.topologies import one_peer_exponential
    >>> round(period_norm(one_peer_exponential(7)), 6)
    0.125
    """
    n = rounds[0].nodes
    product = reduce(lambda product, W: W.to_csr() @ product, rounds, np.eye(n))
    return float(np.linalg.norm(product - 1 / n, 2))


def period_weights(
    rounds: Schedule | Sequence[RoundLike],
    *,
    nodes: int | None = None,
    nonnegative: bool = True,
    time_limit: float | None = None,
    tolerance: float = 1e-6,
    starts: int = 1,
    seed: int = 0,
    progress: Callable[[float, float], None] | None = None,
) -> PeriodWeights:
    """Choose the weights of all rounds of a period so that the norm of their product is small.

    Parameters
    ----------
    rounds : Schedule, or sequence of MixingMatrix, graphs, or arrays of edges of shape (m, 2)
        Which nodes exchange values in each round, round 0 first. The weights of mixing matrices are the start; on
        graphs, it is 1/(1 + largest degree). A directed round must be a permutation: every node that sends, sends to
        one node and hears one. All messages along a cycle of it have the same weight then, as all sums are 1.
    nodes : int, optional
        Where the rounds are arrays of edges; by default one more than the largest.
    nonnegative : bool, default True
        Whether all weights, self weights too, are to be at least 0. Else they are at most 100 in size.
    time_limit : float, optional
        Seconds.
    tolerance : float, default 1e-6
        Ends where no round can be changed alone to gain more than this part of the norm.
    starts : int, default 1
        Starts beyond the first are drawn at random. Where all rounds are on one graph, Chebyshev weights are tried too.
    seed : int, default 0
        Of these.
    progress : callable, optional
        Called with the norm and the seconds, whenever it is smaller.

    Returns
    -------
    PeriodWeights
        Never worse than the start. Interrupted (``KeyboardInterrupt``), the best so far.

    Raises
    ------
    GraphError
        If the rounds together leave the graph disconnected, or a directed round is no permutation.
    InputError
        If a start is not doubly stochastic, sizes differ, or weights are negative and must not be.

    Notes
    -----
    It helps on the matchings of most graphs, and where rounds repeat. On one-peer exponential rounds it does not: 1/2
    was the optimum of every round for all numbers of nodes that were tried, up to 100.

    The problem is not convex: what is found is proved to be an optimum of each round alone, no more. It is exact
    averaging wherever the norm reaches 0.

    Examples
    --------
    >>> import networkx as nx
    >>> found = period_weights([np.array([[0, 1], [2, 3]]), np.array([[1, 2], [0, 3]])])
    >>> found.exact, found.rounds[0].to_dense()[0].tolist()
    (True, [0.5, 0.5, 0.0, 0.0])
    """
    clock = time.monotonic()
    if starts < 1 or not tolerance > 0:
        raise InputError(f"starts is at least 1 and the tolerance above 0, got {starts} and {tolerance}")
    if time_limit is not None and not time_limit > 0:
        raise InputError(f"the time limit must be a positive number of seconds, got {time_limit}")
    matrices = _matrices(rounds, nodes)
    n = matrices[0].nodes
    if n > LARGEST_PERIOD:
        raise InputError(f"weights of a period are optimised for at most {LARGEST_PERIOD} nodes, got {n}")
    patterns = [_pattern(W, t) for t, W in enumerate(matrices)]
    _require_mixing(n, patterns)
    first = [_start(W, pattern, t, nonnegative) for t, (W, pattern) in enumerate(zip(matrices, patterns, strict=True))]
    search = _Search(
        n, patterns, nonnegative, tolerance, np.inf if time_limit is None else clock + time_limit, progress
    )
    rng = np.random.default_rng(seed)
    stopped: Stopped = "optimum of every round"
    before = search.offer(first)
    try:
        for weights in search.starts(first, starts, rng):
            stopped = search.run(weights)
            if stopped != "optimum of every round" or search.norm <= TOLERANCE / n:
                break
    except KeyboardInterrupt:
        stopped = "interrupt"
    found = tuple(matrices)  # with exact fractions, where they are known
    if search.best is not first:
        found = tuple(pattern.matrix(n, w) for pattern, w in zip(patterns, search.best, strict=True))
    norm = period_norm(found)
    exact = norm <= TOLERANCE / n
    bounds = search.bounds if search.bounds_of is search.best else [search.lower] * len(patterns)
    return PeriodWeights(
        rounds=found,
        norm=norm,
        norm_before=norm if search.best is first else before,
        lower=search.lower,
        bounds=tuple(min(norm, max(bound, search.lower)) for bound in bounds),
        exact=exact,
        stopped="exact" if exact else stopped,
        steps=search.steps,
        seconds=time.monotonic() - clock,
    )


class _Search:
    """Weights under improvement, the best found so far, and what is proved about them."""

    def __init__(
        self,
        nodes: int,
        patterns: Sequence[_Pattern],
        nonnegative: bool,
        tolerance: float,
        deadline: float,
        progress: Callable[[float, float], None] | None,
    ) -> None:
        self.nodes, self.patterns, self.tolerance = nodes, patterns, tolerance
        self.deadline, self.progress, self.begin = deadline, progress, time.monotonic()
        self.limits = [_limits(nodes, pattern, nonnegative) for pattern in patterns]
        self.lower = _reach_bound(nodes, patterns)
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
            found, _, bound = _least_affine_norm(
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

    def _solve(self, affine: _Affine, limits: _Limits, w: FloatArray, norm: float) -> tuple[FloatArray, float]:
        self.steps += 1
        tolerance = 0.05 * self.tolerance * norm
        found, value, _ = _least_affine_norm(affine, limits, w, tolerance=tolerance, deadline=self.deadline)
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

    def _of_round(self, weights: list[FloatArray], t: int) -> _Affine:
        before, after = self._products(weights)
        pattern = self.patterns[t]
        left, right = pattern.factors(after[t + 1], before[t])
        constant = after[t + 1] @ before[t] - 1 / self.nodes
        return _Affine(constant, left, right, pattern.group, pattern.groups)

    def _first_order(self, weights: list[FloatArray]) -> _Affine:
        before, after = self._products(weights)
        factors = [pattern.factors(after[t + 1], before[t]) for t, pattern in enumerate(self.patterns)]
        left, right = (np.concatenate(side) for side in zip(*factors, strict=True))
        shift = np.cumsum([0] + [pattern.groups for pattern in self.patterns])
        group = np.concatenate([pattern.group + k for pattern, k in zip(self.patterns, shift[:-1], strict=True)])
        affine = _Affine(before[-1] - 1 / self.nodes, left, right, group, int(shift[-1]))
        return affine._replace(constant=affine.constant - affine.change(np.concatenate(weights)))

    def _all_limits(self) -> _Limits:
        sums = sparse.block_diag([limits.sums for limits in self.limits], format="csr")
        low, high = (np.concatenate([limits[k] for limits in self.limits]) for k in (0, 1))
        return _Limits(low, high, sparse.csr_array(sums))


def _same(one: _Pattern, other: _Pattern) -> bool:
    return other.exchange and np.array_equal(one.a, other.a) and np.array_equal(one.b, other.b)


def _limits(nodes: int, pattern: _Pattern, nonnegative: bool) -> _Limits:
    ones = np.ones(pattern.groups)
    if nonnegative:
        return _Limits(0 * ones, ones, pattern.node_sums(nodes))
    return _Limits(-LARGEST * ones, LARGEST * ones, sparse.csr_array((0, pattern.groups)))


def _reach_bound(nodes: int, patterns: Sequence[_Pattern]) -> float:
    """Bound the norm by how far values travel: k entries of sum 1 are at least sqrt(1/k - 1/n) off 1/n."""
    reached = np.eye(nodes, dtype=np.bool_)
    for pattern in patterns:
        target, source, _ = pattern._messages(np.ones(pattern.groups))
        links = sparse.csr_array((np.ones(target.size), (target, source)), shape=(nodes, nodes))
        reached = reached | ((links @ reached.astype(np.float64)) > 0)
    bound = 0.0
    for axis in (0, 1):
        off = np.maximum(0.0, 1 / reached.sum(axis=axis) - 1 / nodes)
        bound = max(bound, float(off.max()), float(off.sum()) / max(1, nodes - 1))
    return float(np.sqrt(bound) * (1 - 8 * EPS))


def _matrices(rounds: Schedule | Sequence[RoundLike], nodes: int | None) -> list[MixingMatrix]:
    """Give each round as a matrix whose weights are the start."""
    if isinstance(rounds, Schedule):
        rule = rounds.rule
        if not isinstance(rule, Cyclic) or rule.copies != 1 or rule.mixing != "doubly-stochastic":
            raise InputError(
                f"the weights of a period are optimised for doubly stochastic rounds that repeat, not for {rule.name} "
                f"rounds, {rule.mixing}"
            )
        rounds = rule.rounds
    given = list(rounds)
    if not given:
        raise InputError("a period needs at least one round, got none")
    arrays = [r for r in given if isinstance(r, np.ndarray) and r.ndim == 2 and np.issubdtype(r.dtype, np.integer)]
    if nodes is None and arrays:
        nodes = 1 + max((int(edges.max(initial=-1)) for edges in arrays), default=-1)
    matrices = [W if isinstance(W, MixingMatrix) else _first_weights(W, t, nodes) for t, W in enumerate(given)]
    for t, W in enumerate(matrices):
        if W.nodes != matrices[0].nodes:
            raise InputError(f"round {t} has {W.nodes} nodes, but round 0 has {matrices[0].nodes}; expected the same")
    return matrices


def _first_weights(graph: Any, t: int, nodes: int | None) -> MixingMatrix:
    if isinstance(graph, np.ndarray):
        if graph.ndim != 2 or graph.shape[1] != 2 or not np.issubdtype(graph.dtype, np.integer):
            raise InputError(
                f"round {t} is an array of shape {graph.shape}; expected edges, whole numbers of shape (m, 2)"
            )
        assert nodes is not None
        if graph.size and (graph.min() < 0 or graph.max() >= nodes):
            raise InputError(f"an edge of round {t} leaves the nodes 0 to {nodes - 1}")
        graph = adjacency_of_edges(nodes, graph)
    messages = messages_of(graph, "period", directed=True, require=lambda _: None)
    weight = 1 / (1 + int(messages.in_degree.max(initial=0)))
    W = sparse.csr_array(
        (np.full(messages.source.size, weight), (messages.target, messages.source)),
        shape=(messages.nodes, messages.nodes),
    )
    return MixingMatrix.from_matrix(sparse.csr_array(W + sparse.diags_array(1 - W.sum(axis=1))))


def _pattern(W: MixingMatrix, t: int) -> _Pattern:
    """Say what the weights of a round act on."""
    from scipy.sparse.csgraph import connected_components

    n = W.nodes
    apart = (W.target != W.source) & (W.weight != 0)
    target, source = W.target[apart], W.source[apart]
    if np.array_equal(np.sort(target * n + source), np.sort(source * n + target)):
        once = target < source
        edges = int(once.sum())
        return _Pattern(target[once], source[once], np.arange(edges), edges, exchange=True)
    heard, sent = W.in_degree, W.out_degree
    if (heard > 1).any() or (heard != sent).any():
        i = int(np.flatnonzero((heard > 1) | (heard != sent))[0])
        raise GraphError(
            f"round {t} is directed, and node {i} hears {heard[i]} and sends to {sent[i]}; in a directed round every "
            "node hears one and sends to one, or none, as in one-peer exponential rounds"
        )
    links = sparse.csr_array((np.ones(target.size), (target, source)), shape=(n, n))
    _, cycle = connected_components(links, directed=False)
    _, group = np.unique(cycle[target], return_inverse=True)
    return _Pattern(target, source, group.astype(np.int64), int(group.max()) + 1, exchange=False)


def _start(W: MixingMatrix, pattern: _Pattern, t: int, nonnegative: bool) -> FloatArray:
    """Take the weights of a round as they are, or refuse them."""
    dense = W.to_csr()
    weights = np.zeros(pattern.groups)
    if pattern.groups:
        weights[pattern.group] = dense[pattern.a, pattern.b]
    off = abs(sparse.csr_array(pattern.matrix(W.nodes, weights).to_csr() - dense))
    if off.nnz and off.max() > 1e-9:
        raise InputError(
            f"the weights of round {t} are no start: expected a symmetric matrix, or one weight along each cycle of "
            "messages, and rows that sum to 1"
        )
    if nonnegative and W.weight.min() < 0:
        raise InputError(f"round {t} has a weight of {W.weight.min():g}; nonnegative=False allows negative weights")
    return weights


def _require_mixing(nodes: int, patterns: Sequence[_Pattern]) -> None:
    edges = np.concatenate([np.stack((pattern.a, pattern.b), axis=1) for pattern in patterns])
    try:
        require_connected(adjacency_of_edges(nodes, np.unique(np.sort(edges, axis=1), axis=0)))
    except GraphError as error:
        raise GraphError(f"no weights of these rounds can mix: together {error}") from None
