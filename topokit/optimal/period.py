"""Weights for all rounds of a period: the norm of their product, not that of each round, is what counts.

Let W_t = I + sum_k w_tk D_tk, where D_tk moves what edge k of round t carries. In the weights of one round alone,
W_(p-1) ... W_0 - J is affine, and its norm convex. In all of them together it is not, but to first order it is affine
again: both problems are one, the least spectral norm of an affine matrix, solved by a primal-dual interior-point
method whose dual point bounds the norm from below. Steps in all weights come first, then a sweep over the rounds, one
at a time.

Rounds together may still have a better optimum elsewhere: no method is known that rules it out. What bounds the norm
from below without conditions is how far values can travel in a period.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from topokit.errors import InputError
from topokit.matrix import MixingMatrix
from topokit.optimal.period_patterns import RoundLike, pattern_of, require_mixing, start_matrices, start_weights
from topokit.optimal.period_search import PeriodSearch, Stopped
from topokit.optimal.threads import few_threads
from topokit.proofs.arrival import TOLERANCE
from topokit.schedule import Schedule

__all__ = ["PeriodWeights", "period_norm", "period_weights"]

STOPPED = {"time": "time was up", "interrupt": "interrupted"}
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
    matrices = start_matrices(rounds, nodes)
    n = matrices[0].nodes
    if n > LARGEST_PERIOD:
        raise InputError(f"weights of a period are optimised for at most {LARGEST_PERIOD} nodes, got {n}")
    patterns = [pattern_of(W, t) for t, W in enumerate(matrices)]
    require_mixing(n, patterns)
    first = [
        start_weights(W, pattern, t, nonnegative) for t, (W, pattern) in enumerate(zip(matrices, patterns, strict=True))
    ]
    deadline = np.inf if time_limit is None else clock + time_limit
    search = PeriodSearch(n, patterns, nonnegative, tolerance, deadline, progress)
    rng = np.random.default_rng(seed)
    stopped: Stopped = "optimum of every round"
    with few_threads(n):
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
