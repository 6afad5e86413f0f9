"""The excess variance of the noisy walk (see `topokit.metrics.neighbours.walks`) by random vectors and random rounds.

Random signs z, with their mean taken off, give E||P z||^2 = ||P (I - J)||_F^2 for every product P of rounds. Each probe
is such a sum over the age of the noise; probes are independent, and Student's distribution says how far their mean may
be from the truth. That is an approximation, a good one: a probe is a sum over many nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from topokit.errors import ConvergenceError, InputError
from topokit.matrix import FloatArray, MixingMatrix
from topokit.metrics.neighbours.quadrature import discounted_forms
from topokit.metrics.neighbours.walks import require_stationary
from topokit.spectral.sparse_forms import as_csr, in_reading_order

__all__ = ["Sample", "by_quadrature", "by_windows"]

WHOLE = 64  # nodes up to which a probe is all of I - J
COLUMNS = 200_000  # nodes times vectors that a probe of rounds takes at once
QUADRATURE = 1e-4  # relative distance of the bounds of a quadratic form
NEGLIGIBLE = 1e-9  # of the sum: what older noise may still add
SUM_TOLERANCE = 1e-9  # on row sums
WORK = 4e10  # multiplications, about a minute


@dataclass(frozen=True)
class Sample:
    """The mean of some probes, and where the truth is with some probability, one of each for every decay.

    Attributes
    ----------
    mean, low, high : ndarray of float
    """

    mean: FloatArray
    low: FloatArray
    high: FloatArray


def _student(groups: FloatArray, confidence: float) -> Sample:
    """Take probes of shape (groups, probes in a group, decays); the groups are averaged, and their noise adds up."""
    from scipy.stats import t

    number, size = groups.shape[:2]
    mean = groups.mean(axis=(0, 1))
    spread = np.sqrt(groups.var(axis=1, ddof=1).sum(axis=0) / size) / number
    reach = float(t.ppf((1 + confidence) / 2, number * (size - 1))) * spread
    return Sample(mean, np.maximum(mean - reach, 0.0), mean + reach)


def _signs(nodes: int, columns: int, generator: np.random.Generator) -> FloatArray:
    signs = generator.integers(0, 2, (nodes, columns)).astype(np.float64) * 2 - 1
    return np.asarray(signs - signs.mean(axis=0), dtype=np.float64)


def by_quadrature(
    W: MixingMatrix, decays: FloatArray, *, probes: int, confidence: float, seed: int, top: float = 1.0
) -> Sample:
    """Estimate the excess of one symmetric matrix: quadratic forms of W^2 by Lanczos quadrature.

    Parameters
    ----------
    W : MixingMatrix
        Symmetric, rows summing to 1.
    decays : ndarray, shape (m,)
    probes : int
        At least 2.
    confidence : float
    seed : int
        Of the probes.
    top : float, default 1.0
        What no eigenvalue of W^2 exceeds.

    References
    ----------
    .. [1] S. Ubaru, J. Chen, Y. Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature", SIAM Journal on
       Matrix Analysis and Applications 38(4), 2017.
    """
    for decay in decays:
        require_stationary(decay * top, decay)
    generator = np.random.default_rng(seed)
    matrix = in_reading_order(as_csr(W))  # the trace does not mind

    def square(x: FloatArray) -> FloatArray:
        y = np.asarray(matrix @ (matrix @ x), dtype=np.float64)
        y -= y.mean(axis=0)
        return y

    lows, highs = [], []
    # A few vectors at once: a product reads the matrix once for all of them.
    for first in range(0, probes, 4):
        start = _signs(W.nodes, min(4, probes - first), generator)
        low, high = discounted_forms(square, start, decays, top=top, tolerance=QUADRATURE, steps=2000)
        lows.append(low.T)
        highs.append(high.T)
    below = _student(np.concatenate(lows)[None], confidence)
    above = _student(np.concatenate(highs)[None], confidence)
    return Sample((below.mean + above.mean) / 2, below.low, above.high)


def by_windows(
    round_: Callable[[int], MixingMatrix],
    nodes: int,
    decays: FloatArray,
    *,
    period: int | None,
    probes: int,
    confidence: float,
    seed: int,
) -> Sample:
    """Estimate the excess of any rounds by letting them act on random vectors, one probe after the other.

    Parameters
    ----------
    round_ : callable
        Gives round t.
    nodes : int
    decays : ndarray, shape (m,)
    period : int or None
        After how many rounds the schedule repeats: probes then start as often in each of them. None where rounds are
        drawn: every probe then takes rounds that no other has seen.
    probes : int
        At least 2; more where a period needs two for each of its rounds.
    confidence : float
    seed : int
        Of the random vectors.

    Raises
    ------
    InputError
        If the rounds enlarge differences without end, or a row does not sum to 1.
    ConvergenceError
        If it would take too long.
    """
    generator = np.random.default_rng(seed)
    work = _Work()
    matrices: dict[int, Any] = {}

    def drawn(t: int) -> Any:
        W = round_(t).to_csr()
        sums = W.sum(axis=1)
        if np.abs(sums - 1).max() > SUM_TOLERANCE:
            worst = int(np.abs(sums - 1).argmax())
            raise InputError(f"row {worst} of round {t} sums to {sums[worst]:.12g}; expected 1")
        return W

    def matrix(t: int) -> Any:
        if period is None:
            return drawn(t)
        phase = t % period
        if phase not in matrices:
            matrices[phase] = drawn(phase)
        return matrices[phase]

    phases = 1 if period is None else period
    size = max(2, -(-probes // phases))
    sums = np.empty((phases, size, decays.size))
    t = 0
    for phase in range(phases):
        for k in range(size):
            start, scale = _block(nodes, generator)
            t, total = _window(matrix, t if period is None else phase, start, decays, work)
            sums[phase, k] = total / scale
    return _student(sums, confidence)


def _block(nodes: int, generator: np.random.Generator) -> tuple[FloatArray, int]:
    """Give the vectors of a probe, and by how many its sum of squares is to be divided."""
    if nodes <= WHOLE:
        return np.eye(nodes) - 1 / nodes, 1
    columns = int(np.clip(COLUMNS // nodes, 1, 32))
    return _signs(nodes, columns, generator), columns


def _window(
    matrix: Callable[[int], Any], t: int, x: FloatArray, decays: FloatArray, work: _Work
) -> tuple[int, FloatArray]:
    """Add up decay^(k-1) ||W(t+k-1) ... W(t) x||^2 over k; give the next round and the sums."""
    total, weight = np.zeros(decays.size), np.ones(decays.size)
    nodes, began = x.shape[0], float(np.sum(x**2))
    while True:
        W = matrix(t)
        work.spend(W.nnz * x.shape[1])
        x = np.asarray(W @ x)
        t += 1
        mean = x.mean(axis=0)
        common = nodes * float(mean @ mean)
        apart = float(np.sum((x - mean) ** 2))
        if not apart < 1e30 * began:
            raise InputError("the walk has no stationary variance: the rounds enlarge differences between nodes")
        total += weight * (common + apart)
        weight *= decays
        # What all nodes share stays, as rows sum to 1; differences shrink, or the decay shrinks them.
        if (weight * apart <= NEGLIGIBLE * (1 - decays) * total).all():
            return t, total + weight * common / (1 - decays)


class _Work:
    """Counts multiplications, and gives up."""

    def __init__(self) -> None:
        self._left = WORK

    def spend(self, amount: float) -> None:
        self._left -= amount + 20_000  # a product costs something even if it is tiny
        if self._left < 0:
            raise ConvergenceError("the walk mixes too slowly to be simulated in a minute: take fewer probes")
