"""Which extreme eigenvalues no graph of a family reaches, by the linear-programming bound of `linear_bound`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import optimize

from topokit.learned.bounds.linear_bound import Family, estimated_excess, excludes

__all__ = ["least_deviation", "least_eigenratio", "least_second_eigenvalue"]

EXACT = 4  # linear programmes of an estimate that is to be good to nine digits
CLOSE = 1e-9  # how near to its place an end is looked for
COARSE, FINE = 1e-3, 1e-7  # parts of the eigenratio that may be lost
MOST_PIECES, MOST_FINE_PIECES = 400, 150
CORNER = 32  # pieces that it takes at most where the best place is a corner
NEVER = -20.0  # logarithm of the nodes that are allowed, where none are
FEW = 64  # nodes up to which it is tried
HALVINGS = 6
PLACES = 12  # of the smallest eigenvalue, at first


def least_second_eigenvalue(family: Family) -> float:
    """Bound the second largest eigenvalue of A = d I - L from below.

    Parameters
    ----------
    family : Family

    Examples
    --------
    >>> round(least_second_eigenvalue(Family(10, 3, terms=6)), 4)
    1.0
    """
    return _largest_excluded(family, lambda high: (family.lowest, high), 0.0, float(family.degree))


def least_deviation(family: Family) -> float:
    """Bound max(|1 - mu_2/(d + 1)|, |1 - mu_n/(d + 1)|) of connected d-regular graphs from below.

    For regular graphs, it is the second largest eigenvalue modulus of their Metropolis-Hastings weights.

    Parameters
    ----------
    family : Family

    Examples
    --------
    >>> round(least_deviation(Family(10, 3, terms=6)), 6)  # Petersen graph: mu_2 = 2, mu_n = 5
    0.5
    """
    of = family.degree + 1.0

    def interval(slem: float) -> tuple[float, float]:
        return max(-1 - slem * of, family.lowest), -1 + slem * of

    return _largest_excluded(family, interval, 1 / of, 1.0)


def least_eigenratio(family: Family) -> float:
    """Bound mu_n / mu_2, the quotient of extreme Laplacian eigenvalues, from below.

    Parameters
    ----------
    family : Family
        Without loops.

    Notes
    -----
    Where the smallest eigenvalue of d I - L lies between a and a + h and the quotient is at most q, all but d lie in
    [a, d - (d - a - h)/q]. A walk over all a excludes this piece by piece, and lowers q where not even the smallest
    piece can be excluded.

    Examples
    --------
    That of the Petersen graph is 5/2:

    >>> 2.499999 < least_eigenratio(Family(10, 3, terms=6)) <= 2.5
    True
    """
    best, low, step = _estimated_ratio(family)
    ratio, pieces = _walk(family, best, COARSE, MOST_PIECES)
    # Where the best place is a corner, the digits beyond the third cost little, and graphs that reach the bound are
    # known by them. Elsewhere, they take too many pieces.
    if pieces <= CORNER and family.nodes <= FEW:
        best = _refined_ratio(family, best, low, step)
        ratio = max(ratio, _walk(family, best, FINE, MOST_FINE_PIECES)[0])
    return ratio


def _highest(family: Family) -> float:
    """No smallest eigenvalue is larger, as they sum to 0."""
    return -family.degree / (family.nodes - 1)


def _walk(family: Family, estimate: float, slack: float, most: int) -> tuple[float, int]:
    """Prove a bound of nearly the estimate, or one that is lower by some times the slack, or none; count the pieces."""
    ratio = estimate * (1 - slack)
    degree, low, end = family.degree, family.lowest, _highest(family)
    step = (end - low) / PLACES
    for pieces in range(1, most + 1):
        step = min(step, end - low)
        high = degree - (degree - low - step) / ratio
        # mu_2 is at most d unless the graph is complete.
        if high < 0 or excludes(family, low, high):
            low, step = low + step, 2 * step
            if low >= end:
                return ratio, pieces
        elif step > slack / 2 * (degree - low):
            step /= 2.5
        else:
            ratio = 1 + (ratio - 1) * (1 - slack)
    return 1.0, most


def _estimated_ratio(family: Family) -> tuple[float, float, float]:
    """Estimate the smallest quotient that cannot be excluded, where, and how far apart the places are."""
    start, end = family.lowest, _highest(family)
    best, where = float(family.nodes), start
    step = (end - start) / PLACES
    for low in np.linspace(start, end, PLACES, endpoint=False).tolist():
        found = _improved(family, low, best, COARSE / 10, 1)
        if found < best:
            best, where = found, low
    return _closer(family, best, where, step, COARSE / 10, 1)


def _refined_ratio(family: Family, best: float, where: float, step: float) -> float:
    """Estimate the same to more digits, from a first estimate."""
    best = _improved(family, where, best * (1 + COARSE), FINE / 10, EXACT)
    return _closer(family, best, where, step, FINE / 10, EXACT)[0]


def _closer(
    family: Family, best: float, where: float, step: float, close: float, exchanges: int
) -> tuple[float, float, float]:
    """Look for a better smallest eigenvalue beside the best one so far, nearer and nearer."""
    while step > close:
        for low in (where - step, where + step):
            found = _improved(family, low, best * (1 - close), close, exchanges)
            if found < best * (1 - close):
                best, where = found, low
                break
        else:
            step /= 3
    return best, where, 30 * step


def _improved(family: Family, low: float, ratio: float, close: float, exchanges: int) -> float:
    """Give a smaller quotient that cannot be excluded either, if there is one with this smallest eigenvalue."""

    def excess(quotient: float) -> float:
        high = family.degree - (family.degree - low) / quotient
        return estimated_excess(family, low, high, exchanges) if high > 0 else NEVER

    if not family.lowest <= low <= _highest(family) or excess(ratio) < 0:
        return ratio
    part = close
    while part < 1 and excess(ratio * (1 - part)) >= 0:
        part *= 10
    least = max(1.0, ratio * (1 - part))
    return float(optimize.brentq(excess, least, ratio, xtol=close / 2)) if excess(least) < 0 else least


def _largest_excluded(
    family: Family, interval: Callable[[float], tuple[float, float]], low: float, high: float
) -> float:
    """Find about the largest argument whose interval, which grows with it, is excluded, and never a larger one."""

    def excess(value: float) -> float:
        return estimated_excess(family, *interval(value), EXACT)

    if not excess(low) < 0 < excess(high - CLOSE):
        return low
    found = float(optimize.brentq(excess, low, high - CLOSE, xtol=CLOSE))

    def proved(less: float) -> bool:
        return excludes(family, *interval(found - less))

    # Where the programme has many solutions, it takes more of them to know on which side one is.
    more, less = 0.0, CLOSE
    while not proved(less):
        more, less = less, 8 * less
        if found - less < low:
            return low
    for _ in range(HALVINGS if more else 0):
        middle = (more + less) / 2
        more, less = (more, middle) if proved(middle) else (middle, less)
    return found - less
