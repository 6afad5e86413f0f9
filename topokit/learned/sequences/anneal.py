"""Annealing over the edges of all rounds of a period, the weights of which follow by Levenberg-Marquardt steps.

A round is a list of stubs, as many of a node as it may have peers, and stubs 0 and 1, 2 and 3, ... are joined. To swap
two stubs joins others; degrees stay as they are. Edges from a node to itself and edges that are not allowed carry
nothing, so that every list is a round. Many chains run at a time, since arrays of a few small matrices cost as much as
one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topokit.learned.sequences.host_clock import HostClock
from topokit.learned.sequences.period_fit import Limits, error_norms, fit_weights, incidence, mean_matrix
from topokit.matrix import FloatArray, IntArray

__all__ = ["Anneal", "Candidate", "Objective", "SequenceProblem"]

Objective = Literal["exact", "norm", "seconds"]

SHRINK = 1000.0  # the factor of errors that seconds are counted for
HEAT = {"exact": (0.5, 0.02), "norm": (0.1, 0.003), "seconds": (0.2, 0.005)}  # first and last temperature, in ln(cost)
WORK = 150_000  # entries of normal equations that all chains solve together
LARGEST = 100.0  # size of a weight that may have any sign
CLOSE = 1e-6  # ||product - J||_F^2 from which a chain is worth an end
SMALLEST = 1e-15  # norms below do not count as smaller


@dataclass(frozen=True)
class SequenceProblem:
    """What rounds may be, and what is wanted of them.

    Attributes
    ----------
    masses : ndarray of float64, shape (n,)
        Of the nodes, all 1 where they are equal.
    degrees : ndarray of int64, shape (n,)
        Most peers of a node in a round.
    allowed : ndarray of bool, shape (n, n)
        Symmetric: which pairs may exchange.
    objective : {"exact", "norm", "seconds"}
    fixed : float or None
        The weight of every edge, where it is not free.
    nonnegative : bool
        Whether weights and self weights must be at least 0.
    clock : HostClock or None
        What rounds take; edges may be left out then, and may have several lanes.
    """

    masses: FloatArray
    degrees: IntArray
    allowed: NDArray[np.bool_]
    objective: Objective = "exact"
    fixed: float | None = None
    nonnegative: bool = True
    clock: HostClock | None = None

    @property
    def nodes(self) -> int:
        """Number of nodes n."""
        return int(self.masses.size)

    @property
    def sums(self) -> FloatArray:
        """Most of the sum of the nonnegative weights at each node; of a host, 1 for each node with links elsewhere."""
        return self.masses if self.clock is None else np.minimum(self.masses, self.clock.most_lanes)


class Candidate(NamedTuple):
    """One period: edges of shape (rounds, edges, 2), and lanes and weights of shape (rounds, edges)."""

    edges: IntArray
    lanes: IntArray
    weights: FloatArray
    squares: float
    cost: float


@dataclass
class _Chains:
    stubs: IntArray
    lanes: IntArray
    weights: FloatArray
    squares: FloatArray = field(default_factory=lambda: np.zeros(0))
    cost: FloatArray = field(default_factory=lambda: np.zeros(0))

    def copy(self) -> _Chains:
        return _Chains(self.stubs.copy(), self.lanes.copy(), self.weights)

    def take(self, other: _Chains, which: NDArray[np.bool_]) -> None:
        for name in ("stubs", "lanes", "weights", "squares", "cost"):
            getattr(self, name)[which] = getattr(other, name)[which]


class Anneal:
    """Chains of periods of one length.

    Parameters
    ----------
    problem : SequenceProblem
    period : int
    rng : numpy.random.Generator
    steps : int
        Moves of each chain.
    """

    def __init__(self, problem: SequenceProblem, period: int, rng: np.random.Generator, steps: int) -> None:
        self.problem, self.period, self.rng, self.steps = problem, period, rng, steps
        self.target = mean_matrix(problem.masses)
        stubs = np.repeat(np.arange(problem.nodes), problem.degrees)
        self.edges = stubs.size // 2
        self.count = max(6, min(48, WORK // max(1, (period * self.edges) ** 2)))
        self.pairs = np.argwhere(np.triu(problem.allowed, 1))
        self.evaluations = 0
        shape = (self.count, period, self.edges)
        lanes = np.ones(shape, dtype=np.int64)
        if problem.clock is not None:
            lanes = (self.rng.random(shape) < 0.5).astype(np.int64)
        weights = np.full(shape, 0.5 if problem.fixed is None else problem.fixed) / problem.degrees.max()
        if problem.fixed is None:
            weights = weights * self.rng.uniform(0.8, 1.2, shape) * min(problem.masses)
        else:
            weights = np.full(shape, problem.fixed)
        order = np.tile(np.stack(np.triu_indices(problem.nodes, 1), axis=1).ravel(), (self.count, period, 1))
        if not self._all_pairs:
            order = self.rng.permuted(np.tile(stubs, (self.count, period, 1)), axis=2)
        self.chains = self._judged(_Chains(order, lanes, weights), 15)
        self.best = self._candidate(int(self.chains.cost.argmin()))

    def run(
        self, deadline: float, seen: Callable[[Candidate], bool], better: Callable[[Candidate], None]
    ) -> Literal["end", "time", "found"]:
        """Anneal until the end, until time is up, or until `seen`, asked about periods near J, says it is enough."""
        hot, cold = HEAT[self.problem.objective]
        better(self.best)
        asked: set[bytes] = set()
        for step in range(self.steps):
            if time.monotonic() > deadline:
                return "time"
            chains = self.chains
            trial = self._judged(self._moved(chains), 6)
            temperature = hot * (cold / hot) ** (step / self.steps)
            loss = np.maximum(trial.cost - chains.cost, 0.0)
            chains.take(trial, self.rng.random(self.count) < np.exp(-loss / temperature))
            k = int(chains.cost.argmin())
            if chains.cost[k] < self.best.cost - 1e-9:
                self.best = self._candidate(k)
                better(self.best)
            if self.problem.objective == "exact":
                for k in np.flatnonzero(chains.squares < CLOSE).tolist():
                    pattern = chains.stubs[k].tobytes()
                    if pattern not in asked and seen(self._candidate(k)):
                        return "found"
                    asked.add(pattern)
        return "end"

    def _joined(self, stubs: IntArray) -> IntArray:
        return stubs[..., : 2 * self.edges].reshape(*stubs.shape[:-1], self.edges, 2)

    def _candidate(self, k: int) -> Candidate:
        chains, problem = self.chains, self.problem
        edges = self._joined(chains.stubs[k])
        carries = problem.allowed[edges[..., 0], edges[..., 1]]
        return Candidate(
            edges.copy(),
            chains.lanes[k] * carries,
            chains.weights[k].copy(),
            float(chains.squares[k]),
            float(chains.cost[k]),
        )

    def _moved(self, chains: _Chains) -> _Chains:
        """Join two nodes that may exchange, in one round of every chain, or open or close a lane of an edge.

        Where rounds hold all pairs, there are none to join, and lanes alone tell which of them exchange.
        """
        trial, rng, b = chains.copy(), self.rng, np.arange(self.count)
        t = rng.integers(self.period, size=self.count)
        pair = self.pairs[rng.integers(len(self.pairs), size=self.count)]
        pair = np.where(rng.random((self.count, 1)) < 0.5, pair, pair[:, ::-1])
        row = trial.stubs[b, t]
        one, other = (
            (rng.random(row.shape) * (row == pair[:, k : k + 1])).argmax(axis=1) for k in (0, 1)
        )  # one of the stubs of each node, drawn
        alone = (one ^ 1) >= row.shape[1]
        first, second = np.where(alone, one, one ^ 1), np.where(alone, np.minimum(other ^ 1, row.shape[1] - 1), other)
        clock = self.problem.clock
        lanes = np.zeros(self.count, dtype=bool)
        if clock is not None:
            lanes = rng.random(self.count) < (1.0 if self._all_pairs else 0.5)
            e = rng.integers(self.edges, size=self.count)
            now = trial.lanes[b, t, e]
            edge = self._joined(trial.stubs)[b, t, e]
            most = clock.most_lanes[edge].min(axis=1) if self.problem.nonnegative else np.ones_like(now)
            up = np.where(now == 0, True, (now < most) & (rng.random(self.count) < 0.5))
            trial.lanes[b[lanes], t[lanes], e[lanes]] = np.where(up, now + 1, now - 1)[lanes]
        b, t, first, second = b[~lanes], t[~lanes], first[~lanes], second[~lanes]
        trial.stubs[b, t, first], trial.stubs[b, t, second] = trial.stubs[b, t, second], trial.stubs[b, t, first]
        return trial

    @property
    def _all_pairs(self) -> bool:
        return self.problem.clock is not None and bool((self.problem.degrees == self.problem.nodes - 1).all())

    def _judged(self, chains: _Chains, iterations: int) -> _Chains:
        """Fit the weights, and count the cost."""
        problem = self.problem
        edges = self._joined(chains.stubs)
        lanes = chains.lanes * problem.allowed[edges[..., 0], edges[..., 1]]
        D = incidence(edges, lanes, problem.masses)
        self.evaluations += self.count
        if problem.fixed is None:
            zero = np.zeros(lanes.shape)
            limits = Limits(zero - LARGEST, zero + LARGEST, None)
            if problem.nonnegative:
                limits = Limits(zero, np.maximum(lanes, 1).astype(np.float64), problem.sums)
            start = np.clip(chains.weights, limits.low, limits.high)
            chains.weights, chains.squares = fit_weights(D, start, self.target, limits, iterations)
        if problem.objective == "exact" and problem.fixed is None:
            chains.cost = 0.5 * np.log(chains.squares + SMALLEST**2)
            return chains
        norms = error_norms(D, chains.weights, self.target)
        if problem.fixed is not None:
            chains.squares = norms**2
        chains.cost = np.log(norms + SMALLEST)
        if problem.objective == "seconds":
            assert problem.clock is not None
            total = problem.clock.seconds(edges, lanes).sum(axis=1)
            periods = math.log(SHRINK) / -np.log(np.clip(norms, SMALLEST, 1 - 1e-9))
            chains.cost = np.log(total + problem.clock.least) + np.log(np.maximum(1.0, periods))
            if problem.nonnegative:
                chains.cost += 50.0 * problem.clock.crowded(edges, lanes)
        return chains
