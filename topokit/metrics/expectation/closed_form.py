"""The expected squared contraction of rounds drawn at random: the largest eigenvalue of E[W^T W] - J.

With doubly stochastic rounds that are drawn independently, the squared distance to the mean shrinks in expectation at
least by this factor in every round, whatever the values were: E||X(t+1) - mean||^2 <= lambda E||X(t) - mean||^2, with
equality for the worst direction. It is the figure that random schedules have in place of the norm of a period.

Formulas and sums over all that can be drawn come first; `topokit.metrics.expectation.estimation` bounds what has
neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any, Literal

import numpy as np
from scipy import sparse

from topokit.errors import ConvergenceError
from topokit.kinds import Cyclic, Drawn, Kind, Matchings, Pairwise, Sampled, Teleport
from topokit.kinds.samplers import decimal
from topokit.laplacian import weighted_laplacian
from topokit.matrix import FloatArray, IntArray
from topokit.metrics.modes import squared_symbols
from topokit.spectral.lanczos import Interval

__all__ = ["Expectation", "Unknown", "expectation_or_reason", "expected_contraction", "pairs_by_shift", "why_not"]

DENSE_LIMIT = 2000  # nodes up to which dense eigenvalues cost about a second
SECONDS = 10.0  # that an iterative eigenvalue may take
FAILURE = 1e-9  # probability with which its bounds may be wrong
WIDTH = 1e-10  # of its bounds
GAP_DIGITS = 1e4  # where it is near 1, its distance from 1 is to be known to width * this
SQUARE_WORK = 1e8  # terms of a sum of sparse squares

Method = Literal["closed form", "enumeration", "estimate"]


@dataclass(frozen=True)
class Expectation:
    """What a random round does to the squared consensus distance, in expectation.

    Attributes
    ----------
    value : float
        Largest eigenvalue of E[W^T W] - J: the factor for the worst direction, 0 (the mean in one round) to 1.
    method : {"closed form", "enumeration", "estimate"}
        A formula in the parameters and the expected matrix of the kind, a sum over all that can be drawn, or what
        some rounds that were drawn say about the rest.
    interval : tuple of float or None
        Of an estimate: the bounds between which the true value is, with the probability `confidence`.
    confidence : float or None
        Probability, over the draws, that the interval holds the true value.
    draws : int or None
        Number of rounds drawn for an estimate.
    """

    value: float
    method: Method
    interval: tuple[float, float] | None = None
    confidence: float | None = None
    draws: int | None = None

    def sentence(self) -> str:
        """Say the value and where it comes from.

        Examples
        --------
        >>> Expectation(0.5, "closed form").sentence()
        'a round shrinks the expected squared distance from the mean to 0.5 of it or less, by a closed form'
        >>> Expectation(0.5, "estimate", (0.46, 0.53), 0.99, 1000).sentence()[-71:]
        '0.5 of it or less, estimated from 1000 draws: 0.46 to 0.53, 99% certain'
        """
        how = {"closed form": "by a closed form", "enumeration": "by enumeration"}.get(self.method, "")
        if self.interval is not None and self.confidence is not None:
            low, high = self.interval
            how = f"estimated from {self.draws} draws: {low:.4g} to {high:.4g}, {100 * self.confidence:.4g}% certain"
        return f"a round shrinks the expected squared distance from the mean to {self.value:.6g} of it or less, {how}"


@dataclass(frozen=True)
class Unknown:
    """Why there is no expected contraction.

    Attributes
    ----------
    reason : str
        The rest of a sentence that begins with "the expected contraction".
    can_be_estimated : bool
        Whether it is defined, so that draws can bound it.
    """

    reason: str
    can_be_estimated: bool = False


def expected_contraction(kind: Kind, *, draws: int = 0, confidence: float = 0.99) -> Expectation | None:
    """Compute the expected squared contraction per round of a schedule that draws its rounds; of `Pairwise`, per event.

    Parameters
    ----------
    kind : Kind
        The rounds of a schedule.
    draws : int, default 0
        Rounds to draw for an estimate where neither a formula nor a sum is at hand; 0 for no estimates.
    confidence : float, default 0.99
        Of the interval of an estimate.

    Returns
    -------
    Expectation or None
        None where it is not defined (periods have a norm instead; rounds that are not doubly stochastic move the
        mean; values of TELEPORTATION travel besides), or would take more than seconds; `why_not` says which.

    Raises
    ------
    InputError
        If an estimate is asked for with fewer than 4 draws, or a confidence that is not between 0 and 1.

    Notes
    -----
    Dense eigenvalues up to 2,000 nodes; above, `Pairwise`, `Matchings` and lists of rounds without Fourier modes take
    the methods of `topokit.spectral` for the algebraic connectivity of a sparse graph, and have a value where the
    bounds of these come together to 1e-10 within 10 seconds.

    Examples
    --------
    >>> expected_contraction(Drawn(8, "matching", {}, seed=0)).value
    0.42857142857142855
    >>> expected_contraction(Pairwise(3, [(0, 1), (1, 2), (0, 2)], [1, 1, 1], seed=0)).method
    'closed form'
    """
    found = expectation_or_reason(kind)
    if isinstance(found, Expectation):
        return found
    if not draws or not found.can_be_estimated:
        return None
    from topokit.metrics.expectation.estimation import estimate_contraction  # which imports this module

    return estimate_contraction(kind, draws=draws, confidence=confidence)


def why_not(kind: Kind) -> str | None:
    """Say why `expected_contraction` gives nothing, as the rest of a sentence; None where it gives a value.

    Examples
    --------
    >>> why_not(Drawn(6, "epidemic-local", {}, 0))
    'is not defined: its rounds are row-stochastic, and the mean moves'
    """
    found = expectation_or_reason(kind)
    return found.reason if isinstance(found, Unknown) else None


def expectation_or_reason(kind: Kind) -> Expectation | Unknown:
    """Give the expected contraction where a closed form or an enumeration has it, else the reason why not.

    Examples
    --------
    >>> expectation_or_reason(Drawn(6, "groups", {"size": 3}, 0))
    Expectation(value=0.2, method='closed form', interval=None, confidence=None, draws=None)
    """
    if isinstance(kind, Cyclic):
        return Unknown("is not defined: nothing is drawn, and the norm of the period says what rounds do")
    if isinstance(kind, Teleport):
        return Unknown(
            "is not defined: values travel with the tokens, and among these nothing is drawn "
            "(topokit.metrics.expectation.tokens has their contraction)"
        )
    if kind.mixing != "doubly-stochastic" or kind.copies != 1:
        return Unknown(f"is not defined: its rounds are {kind.mixing}, and the mean moves")
    if isinstance(kind, Drawn) and kind.sampler.name in _OF_SAMPLER:
        return _OF_SAMPLER[kind.sampler.name](kind.nodes, **kind.parameters)
    rule = next((rule for known, rule in _OF_KIND.items() if isinstance(kind, known)), None)
    if rule is None:
        return Unknown("has no closed form for this kind of schedule, and is not estimated", can_be_estimated=True)
    try:
        return rule(kind)
    except ConvergenceError as error:
        return Unknown(f"is not computed: {error}")


def _largest(square: Any) -> float:
    """Largest eigenvalue of E[W^T W] - J on the complement of the constant vector."""
    nodes = square.shape[0]
    if nodes <= DENSE_LIMIT:
        # Up to rounding, the constant vector is an eigenvector of E[W^T W] with the eigenvalue 1.
        return max(float(np.linalg.eigvalsh(square.toarray() - 1 / nodes)[-1]), 0.0)
    from topokit.spectral.ends import laplacian_ends
    from topokit.spectral.sparse_forms import Weighted, as_csr

    # Symmetric, with row sums 1: the identity minus a Laplacian, whose second smallest eigenvalue is what is lost.
    found = laplacian_ends(
        Weighted.of(as_csr(square)), _too_wide, tolerance=WIDTH, failure=FAILURE, seed=0, max_seconds=SECONDS
    )
    if any(_too_wide(found.low, found.high, WIDTH)):
        raise ConvergenceError(
            f"after {SECONDS:g} seconds it is known to lie between {1 - found.low.upper:.9g} and "
            f"{1 - found.low.lower:.9g}"
        )
    return max(1 - found.low.upper, 0.0)


def _too_wide(low: Interval, high: Interval, width: float) -> tuple[bool, bool]:
    """Ask for the lower end, relative to itself where it is small."""
    del high
    return low.width > max(width * min(1.0, abs(low.upper) * GAP_DIGITS), 1e-15), False


def _of_sampled(kind: Sampled) -> Expectation:
    chances = np.array([float(p) for p in kind.probabilities])
    squares = squared_symbols(kind.rounds)
    if squares is not None:
        return Expectation(float((chances @ squares).max()), "enumeration")
    pairs = [(p, W.to_csr()) for p, W in zip(chances, kind.rounds, strict=True) if p]
    if sum(int(np.sum(np.diff(W.indptr).astype(np.int64) ** 2)) for _, W in pairs) > SQUARE_WORK:
        raise ConvergenceError(f"the squares of its rounds have more than {SQUARE_WORK:.0e} terms")
    return Expectation(_largest(sum(p * (W.T @ W) for p, W in pairs)), "enumeration")


def _of_matchings(kind: Matchings) -> Expectation:
    alpha = float(kind.weight)
    chance = np.array([float(p) for p in kind.probabilities])
    of_edge = np.repeat(chance, [len(edges) for edges in kind.matchings])
    edges = np.concatenate(kind.matchings)
    mean = weighted_laplacian(kind.nodes, edges, of_edge)
    # Independence leaves (E L)^2 + sum_m p_m (1 - p_m) L_m^2, and L_m^2 = 2 L_m for a matching.
    spread = weighted_laplacian(kind.nodes, edges, of_edge * (1 - of_edge))
    square = sparse.eye_array(kind.nodes) - 2 * alpha * mean + alpha**2 * (mean @ mean + 2 * spread)
    return Expectation(_largest(square), "closed form")


def _of_pairwise(kind: Pairwise) -> Expectation:
    rates = np.array([float(rate) for rate in kind.rates])
    # Averaging a pair is a projection: W^T W = W.
    mean = sparse.eye_array(kind.nodes) - weighted_laplacian(kind.nodes, kind.edges, rates / rates.sum()) / 2
    return Expectation(_largest(mean), "closed form")


_OF_KIND: dict[type[Kind], Callable[[Any], Expectation]] = {
    Sampled: _of_sampled,
    Matchings: _of_matchings,
    Pairwise: _of_pairwise,
}


def _exchangeable(nodes: int, square: Fraction) -> Expectation:
    """Take E||W||_F^2 where all numberings of the nodes are equally likely.

    Then E[W^T W] - J is a multiple of I - J, which its trace gives.
    """
    return Expectation(float((square - 1) / (nodes - 1)), "closed form")


def _of_matching(nodes: int, peers: int) -> Expectation:
    # Of the pairs of summands: equal ones give n; P_m and I agree on the idle node; P_m and P_l agree on a node with
    # the probability 1/(n - 1), or 1/n where nodes may be idle.
    idle = nodes % 2
    shared = Fraction(nodes, nodes - 1 + idle)
    total = (peers + 1) * nodes + 2 * peers * idle + peers * (peers - 1) * shared
    return _exchangeable(nodes, total / (peers + 1) ** 2)


def _of_groups(nodes: int, size: int) -> Expectation:
    return _exchangeable(nodes, Fraction(ceil(Fraction(nodes, size))))


def _of_epidemic(nodes: int, peers: int) -> Expectation:
    return _exchangeable(nodes, Fraction(nodes, peers + 1))


def _slowest_mode(nodes: int, shifts: Sequence[int] | IntArray, chances: FloatArray) -> float:
    """Largest sum_u p_u cos(2 pi u f / n) over the Fourier modes f that are not constant."""
    row = np.bincount(np.asarray(shifts), weights=chances, minlength=nodes)
    return float(np.fft.fft(row).real[1:].max())


def _of_shift(nodes: int, eta: str | float, shifts: Sequence[int] | None) -> Expectation:
    share = decimal(eta) * Fraction(nodes - 1, nodes)
    # |1 - b + b w|^2 = 1 - 2 b (1 - b) (1 - Re w) for the root of unity w of a mode, b the weight of the peer.
    fall = 2 * share * (1 - share)
    if shifts is None:
        return Expectation(float(1 - fall * Fraction(nodes, nodes - 1)), "closed form")
    slowest = _slowest_mode(nodes, shifts, np.full(len(shifts), 1 / len(shifts)))
    return Expectation(1 - float(fall) * (1 - slowest), "enumeration")


def pairs_by_shift(nodes: int, shifts: IntArray) -> IntArray:
    """Count the pairs that `topokit.kinds.samplers.matched_by_shift` finds, without finding them.

    Parameters
    ----------
    nodes : int
        Number of nodes n.
    shifts : ndarray of int64, shape (m,)
        From 1 to n - 1.

    Returns
    -------
    ndarray of int64, shape (m,)

    Notes
    -----
    From node 0 on, u nodes pair with the next u, again and again; of the last 2u nodes or fewer only those find a
    partner that is not around the corner. Where 2u > n, the first n - u nodes pair with the last, and what is between
    does the same with the shift u - n, that is, n - u backwards.

    Examples
    --------
    >>> pairs_by_shift(8, np.arange(1, 8)).tolist()
    [4, 4, 3, 4, 3, 4, 4]
    """
    step = np.minimum(shifts, nodes - shifts)
    around = np.where(2 * shifts > nodes, step, 0)  # pairs of the first nodes with the last
    blocks, rest = np.divmod(nodes - 2 * around, 2 * step)
    return np.asarray(around + blocks * step + np.maximum(rest - step, 0), dtype=np.int64)


def _of_shift_matching(nodes: int, eta: str | float, shifts: Sequence[int] | None) -> Expectation:
    of_shift = np.bincount(np.arange(1, nodes) if shifts is None else shifts)
    steps = np.flatnonzero(of_shift)
    share = decimal(eta) * Fraction(nodes - 1, nodes)
    # W = I - b L of a matching, so W^T W = I - 2 b (1 - b) L. Other starts turn the matching around: averaged over
    # them, each pair (i, i + u) is matched with the probability (number of pairs) / n.
    chances = of_shift[steps] / of_shift.sum() * pairs_by_shift(nodes, steps) / nodes
    # The symbol of 2 I - P^u - P^-u is 2 - 2 cos.
    lowest = 2 * float(chances.sum()) - 2 * _slowest_mode(nodes, steps, chances)
    return Expectation(1 - float(2 * share * (1 - share)) * lowest, "enumeration")


_OF_SAMPLER: dict[str, Callable[..., Expectation]] = {
    "matching": _of_matching,
    "groups": _of_groups,
    "shift": _of_shift,
    "shift-matching": _of_shift_matching,
    "epidemic": _of_epidemic,
}
