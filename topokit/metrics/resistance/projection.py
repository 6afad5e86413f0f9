"""Effective resistances of graphs too large to factorise: random projections, and conjugate gradients.

The estimate of Spielman and Srivastava, with two changes that cost nothing. What the two ends of an edge see of each
other directly is a closed form and no part of the estimate; and the draws are normal, so that the bounds are those of
a chi-squared variable and hold for all edges at once with a stated probability.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np

from topokit.matrix import FloatArray, IntArray
from topokit.metrics.resistance.circuit import Circuit

__all__ = ["Projection", "conjugate_gradients", "local_bounds", "project"]

MISS = 1e-3  # probability that some bound does not hold
MOST_PROBES = 512
BLOCK = 16  # right-hand sides at once
SPAN = 16_000_000  # numbers in a block of vectors
DRAW = 40.0  # multiplications that a normal number takes, with its way to the ends of its edge and back
RESIDUAL = 1e-8  # relative, of the solutions
REFINED = 16  # edges whose resistance is computed after all


@dataclass(frozen=True, eq=False)
class Projection:
    """Estimates with the bounds that belong to them.

    Attributes
    ----------
    values, lower, upper : ndarray of float64, shape (m,)
        Effective resistances.
    kirchhoff : tuple of float
        Kirchhoff index: the estimate, a lower and an upper bound.
    probes : int
        Number of projections.
    largest : float
        The largest resistance of an edge is no smaller: that of an edge which was computed after all.
    confidence : float
        Probability with which all other bounds hold.
    """

    values: FloatArray
    lower: FloatArray
    upper: FloatArray
    largest: float
    kirchhoff: tuple[float, float, float]
    probes: int
    confidence: float = 1 - MISS


def local_bounds(circuit: Circuit) -> tuple[FloatArray, FloatArray]:
    """Bound the effective resistance of every edge by what its two ends see, proved by Rayleigh's monotonicity.

    From above, all other edges are cut; from below, all other nodes are joined into one.

    Examples
    --------
    >>> square = Circuit.of_edges(4, [(0, 1), (1, 2), (2, 3), (3, 0)])
    >>> [bound[0].round(4).item() for bound in local_bounds(square)]
    [0.6667, 1.0]
    """
    own = circuit.conductances
    ends = np.maximum(circuit.degrees[circuit.edges].T - own, 0.0)
    total = ends.sum(axis=0)
    around = np.divide(ends[0] * ends[1], total, out=np.zeros_like(own), where=total > 0)
    return 1 / (own + around), 1 / own


def conjugate_gradients(circuit: Circuit, right: FloatArray, max_work: float) -> tuple[FloatArray | None, float]:
    """Solve L X = B for columns that sum to 0, side by side, with the degrees as preconditioner.

    Parameters
    ----------
    circuit : Circuit
    right : ndarray of float64, shape (n, k)
    max_work : float
        Multiplications after which to give up.

    Returns
    -------
    tuple
        X, or None after `max_work`; and the multiplications done.

    Examples
    --------
    >>> ring = Circuit.of_edges(4, [(0, 1), (1, 2), (2, 3), (3, 0)])
    >>> X, _ = conjugate_gradients(ring, np.array([[1.0], [-1.0], [0.0], [0.0]]), 1e6)
    >>> (X[0] - X[1]).round(6).tolist()
    [0.75]
    """
    L, weight = circuit.laplacian, 1 / circuit.degrees[:, None]
    step = (L.nnz + 12.0 * circuit.nodes) * right.shape[1]
    goal = RESIDUAL * np.linalg.norm(right, axis=0)
    X, R = np.zeros_like(right), right.copy()
    Z = weight * R
    P, energy, work = Z.copy(), np.einsum("ij,ij->j", R, Z), 0.0
    while (np.linalg.norm(R, axis=0) > goal).any():
        work += step
        if work > max_work:
            return None, work
        Q = np.asarray(L @ P)
        curvature = np.einsum("ij,ij->j", P, Q)
        length = np.divide(energy, curvature, out=np.zeros_like(energy), where=curvature > 0)
        X += length * P
        R -= length * Q
        np.multiply(weight, R, out=Z)
        before, energy = energy, np.einsum("ij,ij->j", R, Z)
        P *= np.divide(energy, before, out=np.zeros_like(energy), where=before > 0)
        P += Z
    return X - X.mean(axis=0), work


def project(circuit: Circuit, max_work: float, seed: int) -> Projection | None:
    """Estimate the effective resistances of all edges, and compute those of the edges where they seem largest.

    Parameters
    ----------
    circuit : Circuit
    max_work : float
        Multiplications that decide about the number of projections.
    seed : int
        Of the projections.

    Returns
    -------
    Projection or None
        None where the work is not enough for the first few.

    Notes
    -----
    With D the degrees and A the conductances, b^T L^+ b = b^T (1/D + 1/D A 1/D) b + y^T L^+ y for y = A/D b. The last
    term is the squared length of a vector, which projections on q normal vectors estimate: q times the quotient is
    chi-squared with q degrees of freedom, whose tails Chernoff's bound limits.
    """
    rng = np.random.default_rng(seed)
    u, v = circuit.edges.T
    degrees, root = circuit.degrees, np.sqrt(circuit.conductances)[:, None]
    block = int(np.clip(SPAN // circuit.nodes, 1, BLOCK))
    rest, trace, probes, used, planned = np.zeros(len(u)), 0.0, 0, 0.0, MOST_PROBES
    while probes < planned:
        flow = root * rng.standard_normal((len(u), block))
        right = np.zeros((circuit.nodes, block))
        for column in range(block):
            right[:, column] = np.bincount(u, flow[:, column], circuit.nodes)
            right[:, column] -= np.bincount(v, flow[:, column], circuit.nodes)
        X, work = conjugate_gradients(circuit, right, max_work - used)
        work += DRAW * len(u) * block
        if X is None:
            if probes == 0:
                return None
            break
        if probes == 0:  # the same again for each block, and for the edges that are computed
            planned = int(np.clip((0.9 * max_work / work - 1) * block, block, MOST_PROBES))
        trace += float((X**2).sum())
        smooth = np.asarray(circuit.adjacency @ X) / degrees[:, None]
        rest += ((smooth[u] - smooth[v]) ** 2).sum(axis=1)
        probes, used = probes + block, used + work
    rest /= probes
    direct = 1 / degrees[u] + 1 / degrees[v] - 2 * circuit.conductances / (degrees[u] * degrees[v])
    low, high = _quantiles(probes, MISS / (2 * len(u) + 2))
    least, most = local_bounds(circuit)
    lower, upper = np.maximum(direct + rest / high, least), np.minimum(direct + rest / low, most)
    values = np.clip(direct + rest, lower, upper)
    which = np.argsort(-values)[:REFINED]
    found = _attained(circuit, which, max_work - used)
    largest = float(least.max())
    if found is not None:
        values[which], lower[which] = found, np.maximum(found, lower[which])
        upper[which] = np.maximum(found, upper[which])
        largest = max(largest, float(found.max()))
    kirchhoff = circuit.nodes * trace / probes
    return Projection(values, lower, upper, largest, (kirchhoff, kirchhoff / high, kirchhoff / low), probes)


def _attained(circuit: Circuit, which: IntArray, max_work: float) -> FloatArray | None:
    """Compute the resistance of some edges, from below: (b^T x)^2 / x^T L x is a lower bound for any x."""
    unit = np.zeros((circuit.nodes, which.size))
    u, v = circuit.edges[which].T
    unit[u, np.arange(which.size)], unit[v, np.arange(which.size)] = 1, -1
    X, _ = conjugate_gradients(circuit, unit, max_work)
    if X is None:
        return None
    across = X[u, np.arange(which.size)] - X[v, np.arange(which.size)]
    return np.asarray(across**2 / np.einsum("ij,ij->j", X, np.asarray(circuit.laplacian @ X)), dtype=np.float64)


def _quantiles(freedom: int, miss: float) -> tuple[float, float]:
    """Solve x - 1 - ln x = 2 ln(1/miss) / q on both sides of 1: Chernoff's bounds of a chi-squared mean."""
    from scipy.special import lambertw

    far = 2 * log(1 / miss) / freedom
    low, high = (-lambertw(-np.exp(-1 - far), branch).real for branch in (0, -1))
    # Where the exponential underflows the upper solution is about 1 + far + ln(1 + far).
    return max(float(low), 1e-300), float(high) if np.isfinite(high) else 1 + far + 2 * log(1 + far)
