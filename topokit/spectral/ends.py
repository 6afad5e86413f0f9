"""Second smallest and largest eigenvalue of a weighted Laplacian, between bounds, by whatever method reaches them.

Lanczos comes first: on graphs that mix well it is done after some hundred products. Where it would take too long and
the graph has small separators, triangular factorisations find and prove what it cannot resolve.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log, sqrt

import numpy as np
from scipy import sparse

from topokit.matrix import FloatArray
from topokit.spectral import limits
from topokit.spectral.dissection import Cost, estimate_cost
from topokit.spectral.inertia import Smallest, smallest_eigenvalue
from topokit.spectral.lanczos import EPS, Apply, Interval, Lanczos, smallest_mass
from topokit.spectral.sparse_forms import Weighted, components, in_reading_order

__all__ = ["Ends", "Needs", "laplacian_ends", "operator_ends"]

FINEST = 1e-12  # relative width beyond which narrowing is of no use
WORTHWHILE = 4  # times the cheap work from which on a factorisation may pay
STEP_COST = 4000  # multiplications that the bookkeeping of a step is worth
FEWEST = 8  # steps, whatever time is left
LOOK = 20_000  # multiplications a step done that a look at the bounds costs

Needs = Callable[[Interval, Interval, float], tuple[bool, bool]]
"""Which of the intervals of the low and the high end are too wide, at a relative tolerance."""


@dataclass(frozen=True)
class Ends:
    """Bounds on the ends of a spectrum.

    Attributes
    ----------
    low, high : Interval
        Where the smallest and the largest eigenvalue on the complement of the constant vector lie.
    steps : int
        Lanczos steps done.
    failure_low, failure_high : float
        Probabilities, over the random start, that the bound of the low end from below and that of the high end from
        above are wrong; 0 where they are proved.
    method : {"Lanczos", "inertia"}
    residual : float or None
        Relative residual of the vector that an inverse iteration found.
    """

    low: Interval
    high: Interval
    steps: int
    failure_low: float
    failure_high: float
    method: str = "Lanczos"
    residual: float | None = None


def operator_ends(
    apply: Apply,
    nodes: int,
    needs: Needs,
    *,
    work: float,
    within: Interval,
    mean_free: bool,
    tolerance: float,
    failure: float,
    seed: int,
    max_seconds: float,
) -> Ends:
    """Bound the ends of an operator that is only applied, ``work`` multiplications a time."""
    run = Lanczos(apply, nodes, mean_free=mean_free, within=within, seed=seed)
    return _iterate(run, needs, work, tolerance, failure, time.perf_counter() + max_seconds)


def laplacian_ends(
    graph: Weighted,
    needs: Needs,
    *,
    tolerance: float,
    failure: float,
    seed: int,
    max_seconds: float,
    own: FloatArray | None = None,
) -> Ends:
    """Bound the second smallest and the largest eigenvalue of a weighted Laplacian L.

    Parameters
    ----------
    graph : Weighted
        At least 2 nodes.
    needs : callable
        What has to become narrower.
    tolerance : float
        Handed to `needs`.
    failure : float
        Probability with which a bound of Lanczos may be wrong.
    seed : int
        Of the random start.
    max_seconds : float
        After which the bounds that were reached are given.
    own : ndarray, shape (n,), optional
        Self weights of W = I - L. With them the high end is resolved relative to its distance from 2.
    """
    deadline = time.perf_counter() + max_seconds
    within = Interval(graph.smallest(), graph.largest())
    if graph.nonnegative and components(graph.weights) > 1:
        return _of_disconnected(graph, needs, within, tolerance, failure, seed, deadline)
    L = in_reading_order(graph.laplacian())
    work = float(L.nnz + 6 * graph.nodes + STEP_COST)
    run = Lanczos(lambda x: np.asarray(L @ x), graph.nodes, mean_free=True, within=within, seed=seed)
    pilot = _iterate(run, needs, work, tolerance, failure, deadline, limits.PILOT_STEPS)
    if not any(needs(pilot.low, pilot.high, tolerance)):
        return _iterate(run, needs, work, tolerance, failure, deadline)
    ahead = work * _steps_ahead(pilot, run.dimension, tolerance, failure)
    if ahead > WORTHWHILE * limits.FREE_WORK and time.perf_counter() < deadline:
        cost = estimate_cost(graph.weights, Cost(limits.FILL_LIMIT, min(limits.FACTOR_LIMIT, ahead)))
        if cost is not None:
            found = _factorised(graph, own, pilot, needs, tolerance, seed)
            if found is not None and own is None:
                return _with_high_iterated(run, found, needs, work, tolerance, failure, deadline)
            if found is not None:
                return found
    return _iterate(run, needs, work, tolerance, failure, deadline)


def _iterate(
    run: Lanczos, needs: Needs, work: float, tolerance: float, failure: float, deadline: float, most: float = np.inf
) -> Ends:
    """Go on until nothing needs to be narrower, and some steps further where these cost nothing."""
    low, high = run.ends(failure)
    while run.steps < most and not run.exhausted and (run.steps < FEWEST or time.perf_counter() < deadline):
        free = run.steps * work < limits.FREE_WORK
        wide = needs(low, high, FINEST if free else tolerance)
        # Nothing is gained once rounding alone keeps the bounds apart.
        if run.steps and not any(w and end.width > 4 * run.rounding for w, end in zip(wide, (low, high), strict=True)):
            break
        # A look costs less than a tenth of the steps before it.
        ahead = max(FEWEST, min(run.steps // 8, int(10 * LOOK * run.steps / work)))
        run.advance(int(min(ahead, most - run.steps)))
        low, high = run.ends(failure)
    within = run.within
    return Ends(
        low,
        high,
        run.steps,
        0.0 if low.lower <= within.lower else failure / 2,
        0.0 if high.upper >= within.upper else failure / 2,
    )


def _steps_ahead(ends: Ends, dimension: int, tolerance: float, failure: float) -> float:
    """Predict after how many steps the bound of the low end is sure to be close, if the gap is what it seems."""
    spread = max(ends.high.upper - ends.low.lower, 1e-300)
    wanted = tolerance * max(abs(ends.low.upper), 1e-300)
    return (log(2) - smallest_mass(dimension, failure / 2) / 2) / (2 * sqrt(wanted / spread))


def _of_disconnected(
    graph: Weighted, needs: Needs, within: Interval, tolerance: float, failure: float, seed: int, deadline: float
) -> Ends:
    """Bound the high end alone: every component has the eigenvalue 0."""
    zero = Interval(0.0, 0.0)
    L = graph.laplacian()
    run = Lanczos(lambda x: np.asarray(L @ x), graph.nodes, mean_free=True, within=within, seed=seed)
    work = float(L.nnz + 6 * graph.nodes + STEP_COST)

    def of_high(low: Interval, high: Interval, width: float) -> tuple[bool, bool]:
        return False, needs(zero, high, width)[1]

    if not of_high(zero, within, tolerance)[1]:
        return Ends(zero, within, 0, 0.0, 0.0, "components")
    found = _iterate(run, of_high, work, tolerance, failure, deadline)
    return replace(found, low=zero, failure_low=0.0)


def _factorised(
    graph: Weighted, own: FloatArray | None, pilot: Ends, needs: Needs, tolerance: float, seed: int
) -> Ends | None:
    """Replace the intervals that are too wide by those of factorisations."""
    found = pilot
    if needs(found.low, found.high, tolerance)[0]:
        laplacian, definite = sparse.csc_array(graph.laplacian()), graph.nonnegative
        low = smallest_eigenvalue(
            laplacian, graph.quotient, constant=True, definite=definite, tolerance=tolerance, seed=seed
        )
        if low is None:
            return None
        found = _with_low(found, low)
    if needs(found.low, found.high, tolerance)[1] and own is not None:
        # The high end of L = I - W is the low end of I + W.
        mirrored = sparse.csc_array(sparse.diags_array(1 + own) + graph.weights)

        def quotient(x: FloatArray) -> float:
            return graph.quotient(x, 1, 2 * own)

        definite = graph.nonnegative and bool((own >= 0).all())
        high = smallest_eigenvalue(
            mirrored, quotient, constant=False, definite=definite, tolerance=tolerance, seed=seed
        )
        if high is None:
            return None
        found = _with_high(found, high)
    return None if found is pilot else found


def _with_high_iterated(
    run: Lanczos, found: Ends, needs: Needs, work: float, tolerance: float, failure: float, deadline: float
) -> Ends:
    """Go on with the high end, which Lanczos usually reaches, where factorisations settled the low one alone."""

    def of_high(_: Interval, high: Interval, width: float) -> tuple[bool, bool]:
        return False, needs(found.low, high, width)[1]

    if not of_high(found.low, found.high, tolerance)[1]:
        return found
    more = _iterate(run, of_high, work, tolerance, failure, deadline)
    return replace(found, high=more.high, failure_high=more.failure_high, steps=more.steps)


def _with_low(ends: Ends, found: Smallest) -> Ends:
    return replace(ends, low=found.interval, failure_low=0.0, method="inertia", residual=found.residual)


def _with_high(ends: Ends, found: Smallest) -> Ends:
    upper, lower = 2 - found.interval.lower * (1 - EPS), 2 - found.interval.upper * (1 + EPS)
    high = Interval(lower - EPS, upper + EPS)
    return replace(ends, high=high, failure_high=0.0, method="inertia", residual=found.residual)
