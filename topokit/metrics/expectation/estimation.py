"""Bounds on the expected squared contraction from rounds that were drawn, for schedules without a formula.

Both bounds come down to the mean of numbers between 0 and 1 that are drawn independently, ||W(t) v||^2 for one fixed
direction v, though for two different directions:

- from below, the direction in which the first half of the draws contracts least. The second half knows nothing of it,
  so that its mean bounds the Rayleigh quotient of E[W^T W] at v, which is at most the largest eigenvalue;
- from above, the direction u of the largest eigenvalue itself. Nobody knows it, but it does not depend on the draws,
  and in the mean of all draws it contracts at least as well as the direction that contracts least there. So the mean
  along u, whose expectation is the largest eigenvalue, is at most the largest eigenvalue of the sample. No inequality
  for sums of matrices is needed, and the bound does not grow with the number of nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from typing import Any

import numpy as np
from scipy import sparse

from topokit.errors import InputError
from topokit.kinds import Cyclic, Kind, Matchings, Teleport
from topokit.matrix import FloatArray, MixingMatrix
from topokit.metrics.expectation.closed_form import DENSE_LIMIT, Expectation

__all__ = ["estimate_contraction", "lower_bound_of_mean", "upper_bound_of_mean"]

SUM_TOLERANCE = 1e-9  # on row and column sums
MAX_ENTRIES = 20_000_000  # of all rounds together, in memory
DENSE_WORK = 2e9  # multiplications up to which the sum of the squares is formed
HALVINGS = 60  # of an interval that holds a bound
BOLDNESS = 0.75  # largest part of the capital that is bet

Apply = Callable[[FloatArray], FloatArray]


def estimate_contraction(
    kind: Kind, *, draws: int = 1000, confidence: float = 0.99, first: int = 0, norm: float | None = None
) -> Expectation:
    """Bound the expected squared contraction per round by rounds that the schedule draws.

    Parameters
    ----------
    kind : Kind
        The rounds of a schedule, doubly stochastic and drawn independently.
    draws : int, default 1000
        How many rounds to take, at least 4.
    confidence : float, default 0.99
        Probability with which the interval holds the true value.
    first : int, default 0
        Take the rounds ``first`` to ``first + draws - 1`` of the schedule itself, so that the estimate can be repeated
        by its seed.
    norm : float, optional
        What the norm ||W||_2 of a round never exceeds. By default 1, which is so where no weight is negative, and of
        `Matchings` what their degrees say.

    Returns
    -------
    Expectation
        Its value is the mean of the second half of the draws in the direction in which the first half contracts least:
        never above the true value but for the luck of the draws.

    Raises
    ------
    InputError
        If nothing is drawn, a round is not doubly stochastic, or has negative weights while nothing is known of its
        norm, or numbers are out of range.

    Notes
    -----
    The width of the interval shrinks like 1/sqrt(draws). The mean is bounded from below by betting against smaller
    values [1]_, and from above by Hoeffding's inequality in its sharp form, with the relative entropy [2]_; each may
    fail with half of what the confidence leaves. With m draws of k weights a node, memory is m n k entries. Up to
    2,000 nodes the eigenvalue of the sample is found by a dense decomposition; above, by Lanczos iterations, whose
    residual is added to the upper bound.

    References
    ----------
    .. [1] I. Waudby-Smith, A. Ramdas, "Estimating means of bounded random variables by betting", Journal of the Royal
       Statistical Society B 86(1), 2024, section 4.
    .. [2] W. Hoeffding, "Probability inequalities for sums of bounded random variables", Journal of the American
       Statistical Association 58, 1963, theorem 1.

    Examples
    --------
    >>> from topokit.kinds import Drawn
    >>> found = estimate_contraction(Drawn(8, "matching", {}, seed=0), draws=400)
    >>> low, high = found.interval
    >>> low < 3 / 7 < high, high - low < 0.2
    (True, True)
    """
    if isinstance(kind, (Cyclic, Teleport)) or kind.period is not None:
        raise InputError(f"the expected contraction is one of rounds drawn at random, not of a {kind.name} schedule")
    if kind.mixing != "doubly-stochastic" or kind.copies != 1:
        raise InputError(f"the expected contraction is defined for doubly stochastic rounds, these are {kind.mixing}")
    if draws < 4:
        raise InputError(f"an estimate needs at least 4 draws, got {draws}")
    if not 0 < confidence < 1:
        raise InputError(f"the confidence of an estimate is between 0 and 1, got {confidence}")
    norm = _norm(kind) if norm is None else norm
    if not norm >= 1:
        raise InputError(f"the norm of doubly stochastic rounds is at least 1, got {norm}")
    rounds = _drawn(kind, draws, first, norm)
    half = draws // 2
    direction = _slowest(rounds[:half])[1]
    quotients = np.array([float(np.sum(np.square(W @ direction))) for W in rounds[half:]]) / norm**2
    if quotients.max() > 1 + SUM_TOLERANCE:
        raise InputError(f"a round has a norm of {norm * np.sqrt(quotients.max()):.6g} at least, above norm={norm:g}")
    failure = (1 - confidence) / 2
    quotients = np.minimum(quotients, 1.0)
    value = float(quotients.mean())
    low = min(lower_bound_of_mean(quotients, failure), value)
    high = max(upper_bound_of_mean(min(_slowest(rounds)[0] / norm**2, 1.0), draws, failure), value)
    scale = norm**2
    return Expectation(value * scale, "estimate", (low * scale, high * scale), confidence, draws)


def _norm(kind: Kind) -> float:
    if not isinstance(kind, Matchings):
        return 1.0
    # I - weight L, and no eigenvalue of L is beyond twice the largest degree.
    degree = int(np.bincount(np.concatenate(kind.matchings).ravel(), minlength=1).max())
    return max(1.0, 2 * float(kind.weight) * degree - 1)


def _drawn(kind: Kind, draws: int, first: int, norm: float) -> list[sparse.csr_array]:
    """Draw the rounds, checking what both bounds rest on."""
    rounds, entries = [], 0
    for t in range(first, first + draws):
        W = kind.round(t)
        entries += W.nonzeros
        if entries > MAX_ENTRIES:
            raise InputError(
                f"{draws} rounds of {kind.nodes} nodes have more than {MAX_ENTRIES} weights; {t - first} draws would do"
            )
        _require(W, t, norm)
        rounds.append(W.to_csr())
    return rounds


def _require(W: MixingMatrix, t: int, norm: float) -> None:
    for name, side in (("row", W.target), ("column", W.source)):
        sums = np.bincount(side, weights=W.weight, minlength=W.nodes)
        worst = int(np.abs(sums - 1).argmax())
        if abs(sums[worst] - 1) > SUM_TOLERANCE:
            raise InputError(f"{name} {worst} of round {t} sums to {sums[worst]:.12g}; expected 1")
    if norm == 1 and W.weight.min() < 0:
        raise InputError(f"round {t} has negative weights: give norm, which ||W||_2 never exceeds, for its bounds")


def _slowest(rounds: Sequence[sparse.csr_array]) -> tuple[float, FloatArray]:
    """Largest eigenvalue of the mean of W^T W on the complement of 1 (or a little more), and a direction near it."""
    nodes = rounds[0].shape[0]
    entries = sum(W.nnz for W in rounds)
    stack: Any = sparse.vstack(rounds, format="csr")
    if nodes <= DENSE_LIMIT and entries**2 / stack.shape[0] <= DENSE_WORK:
        from scipy.linalg import eigh

        square = (stack.T @ stack).toarray() / len(rounds) - 1 / nodes
        values, vectors = eigh(square, subset_by_index=[nodes - 1, nodes - 1])
        return max(float(values[0]), 0.0), _unit(vectors[:, 0])
    transposed = stack.T.tocsr()

    def apply(x: FloatArray) -> FloatArray:
        y = np.ravel(x) - np.mean(x)
        y = transposed @ (stack @ y) / len(rounds)
        return np.asarray(y - y.mean(), dtype=np.float64)

    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    start = np.random.default_rng(0).standard_normal(nodes)
    operator = LinearOperator((nodes, nodes), matvec=apply, dtype=np.float64)
    try:
        values, vectors = eigsh(operator, k=1, which="LA", v0=start, ncv=min(40, nodes), tol=1e-5, maxiter=20)
    except ArpackNoConvergence as error:
        raise InputError(f"the eigensolver did not converge on {len(rounds)} rounds of {nodes} nodes") from error
    direction = _unit(vectors[:, 0])
    residual = float(np.linalg.norm(apply(direction) - values[0] * direction))
    return float(values[0]) + residual, direction


def _unit(direction: FloatArray) -> FloatArray:
    centred = direction - direction.mean()
    return np.asarray(centred / np.linalg.norm(centred), dtype=np.float64)


def lower_bound_of_mean(numbers: FloatArray, failure: float) -> float:
    """Bound the expectation of independent numbers between 0 and 1 from below, given some of them.

    Parameters
    ----------
    numbers : ndarray, shape (m,)
        Drawn independently from one distribution on [0, 1].
    failure : float
        Probability with which the bound may be too high.

    Notes
    -----
    Whoever holds that the mean is at most b must accept a bet on each number that pays in proportion to what it is
    above b. Stakes depend on earlier numbers only, and never exceed what can be lost: the capital is then a
    supermartingale, and multiplies by 1/failure with no more than the probability `failure`. The largest b at which it
    did is the bound.

    Examples
    --------
    >>> numbers = np.random.default_rng(0).uniform(0.4, 0.6, 1000)
    >>> round(lower_bound_of_mean(numbers, 0.01), 3)
    0.498
    """
    count = np.arange(1, numbers.size + 1)
    means = (0.5 + np.cumsum(numbers)) / (count + 1)
    variances = (0.25 + np.cumsum((numbers - means) ** 2)) / (count + 1)
    before = np.concatenate(([0.25], variances[:-1]))
    stakes = np.sqrt(2 * log(1 / failure) / (numbers.size * before))

    def refuted(bound: float) -> bool:
        gains = np.minimum(stakes, BOLDNESS / bound) * (numbers - bound)
        return bool(np.cumsum(np.log1p(gains)).max() >= log(1 / failure))

    return _last(refuted, 0.0, 1.0)


def upper_bound_of_mean(mean: float, count: int, failure: float) -> float:
    """Bound the expectation of independent numbers between 0 and 1 from above, given the mean of some of them.

    Parameters
    ----------
    mean : float
        Of the numbers, or more.
    count : int
        How many there are.
    failure : float
        Probability with which the bound may be too low.

    Notes
    -----
    P(mean <= p) <= exp(-count kl(p, b)) for every p below the expectation b, kl the relative entropy of two coins.

    Examples
    --------
    >>> round(upper_bound_of_mean(0.5, 1000, 0.01), 4), round(upper_bound_of_mean(0.01, 1000, 0.01), 4)
    (0.5479, 0.0227)
    """

    def entropy(bound: float) -> float:
        total = mean * log(mean / bound) if mean > 0 else 0.0
        return total + ((1 - mean) * log((1 - mean) / (1 - bound)) if mean < 1 else 0.0)

    return _last(lambda bound: bound < 1 and entropy(bound) <= log(1 / failure) / count, mean, 1.0)


def _last(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Find where something that holds up to some number ceases to hold; on the side that is safe to a last bit."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
