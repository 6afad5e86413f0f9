"""Weights that solve the equations of exact averaging up to rounding, made fractions that solve them exactly.

Solutions often come in families. As long as a weight can move with the equations holding, it is set to a simple
fraction nearby and the others follow; what is left are points, and weights of isolated rational points show in their
digits. Whether the fractions are right is for `prove_exact_averaging` to say, not for this file.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from topokit.learned.sequences.period_fit import Limits, fit_weights, incidence, mean_matrix, products
from topokit.matrix import FloatArray, IntArray, MixingMatrix

__all__ = ["exact_weights", "rounds_of"]

BoolArray = NDArray[np.bool_]

SOLVED = 1e-22  # ||product - J||_F^2 of a solution
LARGEST_DENOMINATOR = 5_000
ROUNDING = 1e-10  # a random number is this near such a fraction in 1 of 300 cases
TINY = 1e-15  # self weights that are rounding of 0
SIMPLE = 6  # largest denominator of the fractions that free weights are set to
TRIED = 8  # of them


def exact_weights(
    edges: IntArray,
    used: IntArray,
    weights: FloatArray,
    masses: FloatArray,
    *,
    nonnegative: bool = True,
    sums: FloatArray | None = None,
    deadline: float = np.inf,
) -> tuple[FloatArray, list[list[Fraction]] | None]:
    """Solve for exact averaging from weights close to it, and guess the fractions.

    Parameters
    ----------
    edges : ndarray of int64, shape (rounds, edges, 2)
    used : ndarray of int64, shape (rounds, edges)
        Zero for edges that carry nothing; else the largest weight, where weights are not to be negative.
    weights : ndarray of float64, shape (rounds, edges)
        The start.
    masses : ndarray of float64, shape (n,)
    nonnegative : bool, default True
    sums : ndarray of float64, shape (n,), optional
        Most of the sum of the weights at each node, where they are not to be negative; by default the masses.
    deadline : float
        A time of `time.monotonic`.

    Returns
    -------
    weights : ndarray of float64, shape (rounds, edges)
        Within 1e-11 of exact, or as near as steps go.
    fractions : list of lists of Fraction, or None
        The same, if they look like fractions.

    Examples
    --------
    >>> edges = np.array([[[0, 1]], [[1, 2]], [[0, 1]]])
    >>> _, found = exact_weights(edges, np.ones((3, 1)), np.full((3, 1), 0.55), np.ones(3))
    >>> [str(w) for row in found for w in row]
    ['1/2', '2/3', '1/2']
    """
    D = incidence(edges[None], used[None], masses)
    target = mean_matrix(masses)
    low, high = np.zeros(weights.shape), np.maximum(used, 1).astype(np.float64)
    if not nonnegative:
        low, high = low - 100.0, high * 0 + 100.0
    most = (masses if sums is None else sums) if nonnegative else None
    on = np.abs(D[0]).sum(axis=1) > 0
    w = np.where(on, weights, 0.0)
    low, high = np.where(on, low, 0.0), np.where(on, high, 0.0)

    def solved(start: FloatArray, fixed: FloatArray, iterations: int) -> tuple[FloatArray, bool]:
        known = ~np.isnan(fixed)
        start = np.where(known, fixed, start)
        limits = Limits(np.where(known, fixed, low)[None], np.where(known, fixed, high)[None], most)
        found, squares = fit_weights(D, start[None], target, limits, iterations)
        return found[0], bool(squares[0] < SOLVED)

    fixed = np.where(on, np.nan, 0.0)
    w, good = solved(w, fixed, 60)
    if not good:
        return w, None
    while time.monotonic() < deadline:
        at = _most_movable(D, w, np.isnan(fixed))
        if at is None:
            break
        for value in _simple_fractions(float(w[at]), float(low[at]), float(high[at])):
            trial = fixed.copy()
            trial[at] = value
            found, good = solved(w, trial, 30)
            if good:
                w, fixed = found, trial
                break
        else:
            fixed[at] = w[at]  # no simple fraction: the others may still be simple
    fractions = [[_fraction(float(x)) for x in row] for row in w]
    off = np.array([[float(f) for f in row] for row in fractions]) - w
    return w, fractions if (np.abs(off) < ROUNDING).all() else None


def _most_movable(D: FloatArray, w: FloatArray, free: BoolArray) -> tuple[int, int] | None:
    """Give the weight that moves most along the solutions, or None if they are isolated."""
    before, after = products(D, w[None])
    left = np.concatenate([(after[t] @ D[:, t])[0] for t in range(len(w))], axis=1)
    right = np.concatenate([(before[t].swapaxes(1, 2) @ D[:, t])[0] for t in range(len(w))], axis=1)
    which = np.flatnonzero(free)
    normal = (left[:, which].T @ left[:, which]) * (right[:, which].T @ right[:, which])
    values, vectors = np.linalg.eigh(normal)
    null = vectors[:, values < 1e-10]
    if not null.size:
        return None
    t, e = divmod(int(which[(null * null).sum(axis=1).argmax()]), w.shape[1])
    return t, e


def _fraction(value: float) -> Fraction:
    """Give the simplest fraction within rounding."""
    for largest in (12, 100, 1000, LARGEST_DENOMINATOR):
        found = Fraction(value).limit_denominator(largest)
        if abs(float(found) - value) < ROUNDING:
            return found
    return found


def _simple_fractions(value: float, low: float, high: float) -> list[float]:
    near = {Fraction(round(value * q) + shift, q) for q in range(1, SIMPLE + 1) for shift in (-1, 0, 1)}
    inside = [f for f in near if low <= f <= high]
    inside.sort(key=lambda f: (abs(float(f) - value) + 0.05 * f.denominator, f))
    return [float(f) for f in inside[:TRIED]]


def rounds_of(
    nodes: int, edges: Sequence[Sequence[tuple[int, int]]], weights: Sequence[Sequence[Fraction | float]]
) -> tuple[MixingMatrix, ...]:
    """Make the rounds I - sum w (e_a - e_b)(e_a - e_b)^T; parallel edges add up.

    Examples
    --------
    >>> rounds_of(2, [[(0, 1)]], [[Fraction(1, 3)]])[0].fractions()
    [Fraction(2, 3), Fraction(1, 3), Fraction(1, 3), Fraction(2, 3)]
    """
    rounds = []
    for pairs, values in zip(edges, weights, strict=True):
        entries: dict[tuple[int, int], Fraction | float] = {}
        own: list[Fraction | float] = [Fraction(1)] * nodes
        for (a, b), w in zip(pairs, values, strict=True):
            if a == b or w == 0:
                continue
            for i, j in ((a, b), (b, a)):
                entries[i, j] = entries.get((i, j), Fraction(0)) + w
                own[i] = own[i] - w
        entries.update(
            {
                (i, i): value
                for i, value in enumerate(own)
                if value and (isinstance(value, Fraction) or abs(value) > TINY)
            }
        )
        target, source = np.array(sorted(entries), dtype=np.int64).T
        listed = [entries[key] for key in sorted(entries)]
        if all(isinstance(value, Fraction) for value in listed):
            rounds.append(MixingMatrix.from_fractions(nodes, target, source, listed))  # type: ignore[arg-type]
        else:
            rounds.append(MixingMatrix.from_entries(nodes, target, source, [float(value) for value in listed]))
    return tuple(rounds)
