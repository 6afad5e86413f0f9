"""How many rounds until exact averaging, started at round 0 or anywhere in the period.

A schedule that averages exactly over one period, started at its first round, may need nearly two periods when it is
started in the middle; one whose rounds commute does not care.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from topokit.circulant import circulant_row
from topokit.errors import InputError
from topokit.matrix import MixingMatrix
from topokit.proofs.contraction import run_contraction
from topokit.proofs.residues import exact_rounds
from topokit.proofs.runs import ExactRuns, exact_runs
from topokit.spectral import require_rounds
from topokit.words import factor

__all__ = ["Windows", "exact_after", "require_copies", "worst_window"]

SEARCHED = 64  # rounds that are searched even if the period is short: a static matrix may be a root of J
WINDOW_WORK = 5e9  # multiplications for all the windows of a period, some seconds

Rounds = Sequence[MixingMatrix]


@dataclass(frozen=True)
class Windows:
    """Runs of consecutive rounds of a cyclic schedule, wherever they start.

    Attributes
    ----------
    period : int
        Number of rounds after which the schedule repeats.
    rounds_to_exact : int or None
        The smallest T such that every run of T consecutive rounds averages exactly, proved. None if there is none
        among the lengths searched, or weights are not known exactly.
    start : int or None
        The first round of a run of T - 1 rounds that does not average exactly (0 if T is 1).
    contraction : float or None
        The largest norm, over all starts, of the product of as many rounds as the period has, minus J; exactly 0 where
        all are proved. None if it takes too long.
    contraction_start : int or None
        The first round of such a run.
    """

    period: int
    rounds_to_exact: int | None
    start: int | None
    contraction: float | None
    contraction_start: int | None

    def sentence(self) -> str:
        """Say it in one sentence.

        Examples
        --------
        >>> Windows(9, 17, 1, 0.6476, 4).sentence()
        'any 17 consecutive rounds are exact, proved; 9 rounds from round 4 on leave up to 0.6476 of an error'
        """
        text = "no number of consecutive rounds is proved exact from every start"
        if self.rounds_to_exact == 1:
            text = "any round is exact, proved"
        elif self.rounds_to_exact is not None:
            text = f"any {self.rounds_to_exact} consecutive rounds are exact, proved"
        if not self.contraction:
            return text
        where = f"{'1 round' if self.period == 1 else f'{self.period} rounds'} from round {self.contraction_start} on"
        if self.contraction > 1 + 1e-9:
            return f"{text}; {where} can multiply an error by {self.contraction:.4g}"
        return f"{text}; {where} leave up to {factor(self.contraction)} of an error"


def require_copies(rounds: Rounds, copies: int) -> int:
    """Check that there are rounds, all of one size that fits the copies, and give the number of nodes.

    Raises
    ------
    InputError
        If that is not so.

    Examples
    --------
    >>> require_copies([MixingMatrix.from_matrix(np.eye(6))], 2)
    3
    """
    rows = require_rounds(rounds)
    if copies not in (1, 2):
        raise InputError(f"a node keeps 1 or 2 copies of its values, got {copies}")
    if rows % copies:
        raise InputError(f"rounds of {rows} rows do not hold {copies} copies of every node; expected an even number")
    return rows // copies


def exact_after(
    rounds: Rounds, *, copies: int = 1, limit: int | None = None, max_work: float | None = None
) -> int | None:
    """Find the smallest number of rounds, from round 0 on, that average exactly, and prove it.

    Parameters
    ----------
    rounds : sequence of MixingMatrix
        One period, used again and again.
    copies : {1, 2}, default 1
        Number of values that each node keeps, see `prove_exact_averaging`.
    limit : int, optional
        The largest number of rounds to try; two periods, and 64 if they are shorter, by default.
    max_work : float, optional
        Give up on the proof rather than do more than about so many multiplications.

    Returns
    -------
    int or None
        None if no number of rounds up to the limit averages exactly, or weights are not known exactly.

    Raises
    ------
    InputError
        If there are no rounds, rounds of different sizes, or a number of rows that does not fit the copies.
    ConvergenceError
        If the proof would take more than `max_work`.

    Notes
    -----
    Random vectors are mixed round by round, modulo a prime: as long as they are not at their means, the product is
    not J. The first number of rounds after which they are is proved.

    Examples
    --------
    The de Bruijn matrix is a root of J, though it shrinks no error by itself:

    >>> W = np.zeros((8, 8))
    >>> for i in range(8):
    ...     W[i, [2 * i % 8, (2 * i + 1) % 8]] = 0.5
    >>> exact_after([MixingMatrix.from_matrix(W)])
    3
    """
    require_copies(rounds, copies)
    runs = exact_runs(rounds, copies, max_work)
    if runs is None:
        return None
    if limit is None:
        limit = max(2 * len(rounds), SEARCHED)
    if len(rounds) == 1 and copies == 1 and (_symmetric(rounds[0]) or circulant_row(rounds[0]) is not None):
        limit = min(limit, 2)  # a power of a normal matrix is J only if the matrix is J, or -J
    return next((length for length in runs.passing(0, limit) if runs.proved(0, length)), None)


def worst_window(rounds: Rounds, *, copies: int = 1, max_work: float = WINDOW_WORK) -> Windows:
    """Find out what a schedule does to whoever starts it anywhere in its period.

    Parameters
    ----------
    rounds : sequence of MixingMatrix
        One period, used again and again.
    copies : {1, 2}, default 1
        Number of values that each node keeps, see `prove_exact_averaging`.
    max_work : float, default 5e9
        Give up rather than do more than about so many multiplications; leave out the contraction if that takes more.

    Returns
    -------
    Windows
        Lengths are searched up to 2 tau - 1, tau the period, and at least up to 64. If a period of doubly stochastic
        rounds is exact, every run of 2 tau - 1 rounds is, for it contains one.

    Raises
    ------
    InputError
        If there are no rounds, rounds of different sizes, or a number of rows that does not fit the copies.
    ConvergenceError
        If the proofs would take more than `max_work`.

    Examples
    --------
    >>> from topokit.topologies import one_peer_exponential
    >>> worst_window(one_peer_exponential(8))
    Windows(period=3, rounds_to_exact=3, start=0, contraction=0.0, contraction_start=0)
    """
    require_copies(rounds, copies)
    period = len(rounds)
    runs = exact_runs(rounds, copies, max_work)
    exact: dict[int, set[int]] = {start: set() for start in range(period)}
    length = worst = None
    if runs is not None:
        limit = max(2 * period - 1, SEARCHED)
        for start in range(period):
            exact[start] = set(runs.passing(start, limit))
            if not exact[start]:
                break  # no length does for this start
        length = _common_length(runs, exact)
        if length is not None:
            worst = next((start for start in range(period) if length - 1 not in exact[start]), 0)
        if all(period in passed for passed in exact.values()) and all(runs.proved(s, period) for s in range(period)):
            return Windows(period, length, worst, 0.0, 0)
    if period * sum(W.nonzeros for W in rounds) > max_work:
        return Windows(period, length, worst, None, None)
    norms: dict[int, float] = {}
    for start in [s for s in range(period) if period not in exact[s]] or range(period):
        run = [*rounds[start:], *rounds[:start]]
        norm = run_contraction(run, copies=copies, max_work=max_work / period)
        if norm is None:
            return Windows(period, length, worst, None, None)
        norms[start] = norm
    largest = max(norms, key=lambda start: norms[start])
    return Windows(period, length, worst, norms[largest], largest)


def _common_length(runs: ExactRuns, exact: dict[int, set[int]]) -> int | None:
    """Find the smallest length that is proved exact for all starts."""
    for length in sorted(set.intersection(*exact.values())):
        # Short runs first: others contain them, and then need no proof of their own.
        shortest = sorted((min(lengths), start) for start, lengths in exact.items())
        if all(runs.proved(start, length, least) for least, start in shortest):
            return length
    return None


def _symmetric(matrix: MixingMatrix) -> bool:
    [W] = exact_rounds([matrix]) or [matrix]
    order = np.lexsort((W.target, W.source))
    values = [W.weight] if W.numerator is None or W.denominator is None else [W.numerator, W.denominator]
    pairs = [(W.source, W.target), (W.target, W.source), *((value, value) for value in values)]
    return all(np.array_equal(one[order], other) for one, other in pairs)
