"""Local search behind a barrier: moves that drive all eigenvalues away from levels, and levels that close in.

Both ends of the spectrum of a good graph are crowded: what moves one eigenvalue inwards, moves the next one out. The
potential of `topokit.learned.barrier` weighs them all, and its change by a move is exact, for thousands of moves at
once. A step takes one of them, mostly the best (heat bath: the best of gains with Gumbel noise). After some steps the
ends of the spectrum are computed, and the levels follow them, at a distance that shrinks and grows again in cycles.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components

from topokit.learned.barrier import Barrier
from topokit.learned.limits import Limits
from topokit.learned.moves import Moves, State, candidate_moves
from topokit.learned.objectives import Objective
from topokit.matrix import FloatArray

__all__ = ["Trail", "laplacian_of", "local_search"]

WIDE, NARROW = 0.15, 0.01  # slack of the levels at the beginning of a cycle and at its end
WIDEST, WIDER = 0.95, 1.5  # where no move is possible
HOT, COLD = 0.5, 0.005  # temperature in units of the potential, at the beginning of a cycle and at its end
COOLER = 16  # nodes from which on a cycle begins less hot
CYCLE = 60  # looks at the spectrum in a cycle, for small graphs
MOST_MOVES = 6000  # of each kind that are weighed in a step
WEIGHTED = 400  # the same where the weights of other edges change, too
LOOKED_AT = 20  # of these, until one leaves the graph connected
BETTER = 1e-9  # relative: what counts as an improvement
STEPS = 48  # nodes for each step between two looks at the spectrum


@dataclass
class Trail:
    """Where a search has come.

    Attributes
    ----------
    best : State
    cost : float
    steps, looks : int
        Moves made, and spectra computed.
    """

    best: State
    cost: float
    steps: int = 0
    looks: int = 0


def local_search(
    objective: Objective,
    start: State,
    limits: Limits,
    rng: np.random.Generator,
    *,
    cycles: int,
    wide: float = WIDE,
    bound: float = -math.inf,
    deadline: float = math.inf,
    on_better: Callable[[Trail], None] | None = None,
) -> Trail:
    """Search from a start until cycles bring nothing better.

    Parameters
    ----------
    objective : Objective
    start : State
        A connected graph within the limits.
    limits : Limits
    rng : Generator
    cycles : int
        Cycles without a better graph after which the search ends.
    wide : float
        Slack at the beginning of a cycle, as a share of the gap.
    bound : float, optional
        A cost that no graph can beat: the search ends where it is met.
    deadline : float, optional
        Of `time.monotonic`.
    on_better : callable, optional
        Called with the trail at every better graph.

    Examples
    --------
    >>> from topokit.learned.objectives import LaplacianSlem
    >>> from topokit.learned.starts import random_start
    >>> limits, rng = Limits(6, max_degree=3), np.random.default_rng(0)
    >>> trail = local_search(LaplacianSlem(), random_start(limits, rng), limits, rng, cycles=1)
    >>> round(trail.cost, 6)
    0.333333
    """
    state, trail = start, Trail(start, math.inf)
    steps = max(1, start.nodes // STEPS) if objective.fixed else 1
    at_most = bound + BETTER * max(abs(bound), 1) if math.isfinite(bound) else bound
    idle, widened = 0, 1.0
    hot = max(COLD, HOT * min(1.0, (COOLER / start.nodes) ** 2))
    while idle < cycles:
        idle += 1
        for k in range(CYCLE):
            laplacian = laplacian_of(state, objective.edge_weights(state))
            values = np.linalg.eigvalsh(laplacian)
            low, high = float(values[1]), float(values[-1])
            cost = objective.cost(state, low, high)
            trail.looks += 1
            if cost < trail.cost - BETTER * max(abs(cost), BETTER):
                trail.best, trail.cost, idle = state, cost, 0
                if on_better is not None:
                    on_better(trail)
                if cost <= at_most:
                    return trail
            if time.monotonic() > deadline:
                return trail
            done = k / (CYCLE - 1)
            slack = min(WIDEST, widened * wide * (NARROW / wide) ** done)
            temperature = hot * (COLD / hot) ** done
            barrier = Barrier(laplacian, *objective.levels(low, high, slack))
            for step in range(steps):
                moved = _step(objective, state, limits, rng, barrier, temperature)
                if moved is None:
                    # No move keeps behind the barrier: it steps back until one does.
                    widened *= WIDER if step == 0 else 1
                    break
                state, widened = moved, max(1.0, widened / WIDER)
                trail.steps += 1
    return trail


def _step(
    objective: Objective,
    state: State,
    limits: Limits,
    rng: np.random.Generator,
    barrier: Barrier,
    temperature: float,
) -> State | None:
    """Make one move behind the barrier, a good one; None where there is none."""
    weighted = objective.weight_changes(state, _no_moves()) is not None
    moves = candidate_moves(state, limits, rng, WEIGHTED if weighted else MOST_MOVES)
    changes = objective.weight_changes(state, moves)
    gains = barrier.gains(moves) if changes is None else barrier.weighted_gains(*changes)
    if not gains.size:
        return None
    noisy = gains + temperature * rng.gumbel(size=gains.size)
    if changes is None:
        k = int(noisy.argmax())
        if gains[k] == -math.inf:
            return None
        barrier.apply(moves, k)
        return state.after(moves, k)
    for k in np.argsort(-noisy, kind="stable")[:LOOKED_AT].tolist():
        if gains[k] == -math.inf:
            return None
        after = state.after(moves, k)
        # A determinant keeps its sign where two eigenvalues pass the level, as when a piece comes off.
        if connected_components(after.adjacency, directed=False)[0] == 1:
            barrier.apply_weighted(changes[0][k], changes[1][k])
            return after
    return None


def _no_moves() -> Moves:
    none = np.zeros((0, 2, 2), dtype=np.int64)
    return Moves(none, none)


def laplacian_of(state: State, weights: FloatArray) -> FloatArray:
    """Give the weighted Laplacian of a graph, shape (n, n).

    Examples
    --------
    >>> laplacian_of(State.of(2, np.array([[0, 1]])), np.array([0.5])).tolist()
    [[0.5, -0.5], [-0.5, 0.5]]
    """
    matrix = np.zeros((state.nodes, state.nodes))
    u, v = state.edges.T
    matrix[u, v] = matrix[v, u] = -weights
    matrix[np.diag_indices(state.nodes)] = -matrix.sum(axis=1)
    return matrix
