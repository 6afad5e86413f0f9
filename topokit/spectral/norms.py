"""The norm ||W - J||_2 of a large matrix without structure that could be used, between bounds.

With row sums 1, a symmetric W is I - L with a weighted Laplacian L, and so is W^T W of any other: the norm comes from
the ends of the spectrum of L. Only where sums differ from 1, or W^T W is too dense, is the operator itself iterated.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
from scipy import sparse

from topokit.errors import ConvergenceError
from topokit.matrix import FloatArray
from topokit.spectral import limits
from topokit.spectral.bounds import Bounds, Spectrum, put_together
from topokit.spectral.ends import Ends, laplacian_ends, operator_ends
from topokit.spectral.lanczos import EPS, Interval
from topokit.spectral.sparse_forms import Weighted, absolute_sums, as_csr

__all__ = ["SUMS", "by_laplacian", "by_square", "square_entries"]

SUMS = 1e-9  # row and column sums that close to 1 are 1 up to rounding


def square_entries(W: sparse.csr_array) -> float:
    """Bound the number of entries of W^T W."""
    return float((np.diff(W.indptr).astype(np.float64) ** 2).sum())


def by_laplacian(graph: Weighted, own: FloatArray, error: float, settings: dict[str, Any]) -> Spectrum:
    """Bound the ends of L = I - W: the SLEM is the larger of 1 - mu_2 and mu_n - 1."""
    found = laplacian_ends(graph, _slem_needs, own=own, **settings)
    low, high = found.low, found.high
    norm = max(1 - low.upper, high.lower - 1, 0.0)
    upper = max(1 - low.lower, high.upper - 1)
    above = 1 - low.lower >= high.upper - 1
    # The other end matters only where its cheap bound does not settle it.
    settled_high, settled_low = graph.largest() - 1 <= upper, 1 - graph.smallest() <= upper
    failure = (0 if settled_low else found.failure_low) + (0 if settled_high else found.failure_high)
    bounds = Bounds(max(norm - error, 0.0), upper + error, failure, *_how(found, failure))
    return _checked(
        put_together(
            norm,
            bounds,
            True,
            found.method,
            gap=low.upper if above else 2 - high.lower,
            ends=(1 - low.upper, 1 - high.lower),
            residual=found.residual,
        ),
        settings,
    )


def _slem_interval(low: Interval, high: Interval) -> Interval:
    return Interval(max(1 - low.upper, high.lower - 1, 0.0), max(1 - low.lower, high.upper - 1, 0.0))


def _slem_needs(low: Interval, high: Interval, tolerance: float) -> tuple[bool, bool]:
    """Tell which end keeps the bounds of the SLEM apart."""
    norm = _slem_interval(low, high)
    allowed = norm.lower + max(tolerance * min(abs(1 - norm.lower), abs(1 - norm.upper)), 4 * EPS)
    return 1 - low.lower > allowed, high.upper - 1 > allowed


def _how(found: Ends, failure: float) -> tuple[str, str]:
    below = "a Rayleigh quotient"
    if found.method == "inertia" and not failure:
        return below, "the signs of pivots"
    if found.method == "inertia":
        return below, f"the signs of pivots and a random start ({found.steps} steps)"
    return below, f"a random start ({found.steps} steps)" if failure else "the sizes of the weights"


def by_square(W: sparse.csr_array, normal: bool, error: float, settings: dict[str, Any]) -> Spectrum:
    """Bound the largest eigenvalue of (W - J)^T (W - J), whose root is the norm."""
    nodes = W.shape[0]
    T = sparse.csr_array(W.T)
    most = sqrt(float(absolute_sums(W).max() * absolute_sums(T).max()))
    balanced = error <= SUMS
    if balanced and square_entries(W) <= limits.SQUARE_LIMIT:
        # W^T W is symmetric with row sums 1, and none of its eigenvalues is negative.
        graph = Weighted.of(as_csr(T @ W))
        found = laplacian_ends(graph, _square_needs, **settings)
        square = Interval(1 - found.low.upper, 1 - found.low.lower)
        gap, failure = found.low.upper, 0.0 if found.low.lower <= graph.smallest() else found.failure_low
    else:

        def apply(x: FloatArray) -> FloatArray:
            y = W @ x
            if not balanced:
                y -= x.mean()
            z = np.asarray(T @ y)
            return z if balanced else np.asarray(z - y.mean(), dtype=np.float64)

        within = Interval(0.0, most**2 if balanced else (most + 1) ** 2)
        work = 2.0 * W.nnz + 6 * nodes
        found = operator_ends(apply, nodes, _high_needs, work=work, within=within, mean_free=balanced, **settings)
        square, gap, failure = found.high, None, found.failure_high
    # Sums that are not quite 1 act on the square; where they are far from it, W - J itself was iterated.
    rounding = (2 * error + error**2 if balanced else 0.0) + 4 * EPS * max(most, 1.0) ** 2
    lower, upper = sqrt(max(square.lower - rounding, 0.0)), sqrt(max(square.upper + rounding, 0.0))
    if balanced:
        upper, failure = (most + error, 0.0) if upper >= most + error else (upper, failure)
    bounds = Bounds(lower, upper, failure, *_how(found, failure))
    norm = sqrt(max(square.lower, 0.0))
    half = None if gap is None else gap / (1 + norm)
    return _checked(put_together(norm, bounds, normal, found.method, gap=half, residual=found.residual), settings)


def _square_needs(low: Interval, _: Interval, tolerance: float) -> tuple[bool, bool]:
    """Ask for the gap of the square, which is 1 + norm times that of the norm."""
    allowed = max(tolerance * min(abs(low.lower), abs(low.upper)), 4 * EPS)
    return low.width > allowed, False


def _high_needs(_: Interval, high: Interval, tolerance: float) -> tuple[bool, bool]:
    norm = Interval(sqrt(max(high.lower, 0.0)), sqrt(max(high.upper, 0.0)))
    allowed = max(tolerance * min(abs(1 - norm.lower), abs(1 - norm.upper)), 4 * EPS * max(norm.upper, 1.0))
    return False, norm.width > allowed


def _checked(result: Spectrum, settings: dict[str, Any]) -> Spectrum:
    """Say so where the bounds are wider than was asked for; refuse where they say nothing."""
    if result.bounds.width <= 1e-12 or result.relative_width <= 1.01 * settings["tolerance"]:
        return result
    if not result.beta > 0:
        raise ConvergenceError("no bound on the norm was reached: allow more seconds")
    width = result.relative_width
    far = f"{width:.2g} of the gap" if np.isfinite(width) else f"{result.bounds.width:.2g}, and the norm may be 1"
    wide = f"the bounds are {far} apart, wider than the {settings['tolerance']:.2g} asked for"
    return replace(result, reason=wide if result.reason is None else f"{result.reason}; {wide}")
