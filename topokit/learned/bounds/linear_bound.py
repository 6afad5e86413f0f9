"""How many nodes a graph can have whose eigenvalues lie in an interval: a bound by linear programming.

Let F_i(A)[u, v] be the number of walks of length i from u to v in a d-regular graph that never go straight back:
F_0 = 1, F_1 = x, F_2 = x^2 - d, F_{i+1} = x F_i - (d - 1) F_{i-1}. A closed one has at least three steps, so that
trace F_1(A) = trace F_2(A) = 0, and trace F_i(A) >= 0 beyond. Let f = sum_i f_i F_i with f_0 = 1, f_i >= 0 for i >= 3,
and f <= 0 on an interval that has all eigenvalues but d, which is simple as the graph is connected. Then

    n <= trace f(A) = f(d) + sum of f over the other eigenvalues <= f(d).

A graph whose degrees are d at most becomes d-regular by loops, which leave its Laplacian d I - A what it is. A loop can
be walked, but not twice in succession, and all traces are nonnegative: f_1 and f_2 must be, too. If the nodes have l
loops in the mean, trace F_1(A) = n l and trace F_2(A) >= n (l^2 - l), rounded as that of whole numbers is, so that
f_0 + l f_1 + (l^2 - l) f_2 = 1 will do.

The best f of a degree solves a linear programme. Whatever its solver says, a bound is taken from the coefficients after
they have been made to keep the signs, and lowered by the maximum of f on the interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log, sqrt
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from scipy import optimize

from topokit.matrix import FloatArray

__all__ = ["Family", "estimated_excess", "excludes"]

POINTS = 4  # of the interval for each degree, at which f is not positive in the first programme
EXCHANGES = 12  # programmes, each with the maxima of f so far
POSITIVE = 1e-9  # how far above 0 a maximum may be
UNKNOWN = 1e12  # nodes, where no polynomial is found
NO_NODES = 1e-9
MARGIN = 1e-10  # part of the nodes that may be one of rounding


def _orthonormal(degree: int, terms: int, x: FloatArray) -> FloatArray:
    """Evaluate F_i / sqrt(d (d - 1)^(i - 1)) at points, shape (points, terms + 1)."""
    step = np.sqrt(degree - 1.0)
    values = [np.ones_like(x), x / np.sqrt(degree)]
    values.append((x * values[1] - np.sqrt(degree)) / step)
    for _ in range(3, terms + 1):
        values.append(x * values[-1] / step - values[-2])
    return np.stack(values, axis=1)


@dataclass(frozen=True)
class Family:
    """Connected graphs of so many nodes, made regular by loops if they are not.

    Parameters
    ----------
    nodes : int
        n, more than d + 1.
    degree : int
        d, at least 3; the largest degree if there are loops.
    loops : float, optional
        Loops of a node in the mean, at least; None if the graphs are regular without.
    terms : int, default 12
        Degree of the polynomials, at least 3.
    """

    nodes: int
    degree: int
    loops: float | None = None
    terms: int = 12

    @property
    def lowest(self) -> float:
        """No eigenvalue of A = d I - L is smaller: those of L are at most 2 d, and n."""
        return float(max(-self.degree, self.degree - self.nodes))


def excludes(family: Family, low: float, high: float) -> bool:
    """Say whether polynomials exclude a graph of the family whose eigenvalues, except d, lie in an interval.

    Parameters
    ----------
    family : Family
    low, high : float
        Ends of the interval, -d <= low <= high < d.

    References
    ----------
    .. [1] H. Nozaki, "Linear programming bounds for regular graphs", Graphs and Combinatorics 31, 2015.
    .. [2] S. M. Cioaba, J. H. Koolen, H. Nozaki, J. R. Vermette, "Maximizing the order of a regular graph of given
       valency and second eigenvalue", SIAM Journal on Discrete Mathematics 30(3), 2016.

    Examples
    --------
    The Petersen graph has the eigenvalues 3, 1 and -2, and no cubic graph with a second one of at most 1 has more
    nodes:

    >>> excludes(Family(12, 3), -2.0, 1.0), excludes(Family(10, 3), -2.0, 1.0)
    (True, False)
    """
    nodes = family.nodes * (1 - MARGIN)
    return _between(family, low, high, EXCHANGES, nodes)[1] < nodes


def estimated_excess(family: Family, low: float, high: float, exchanges: int = 1) -> float:
    """Give the logarithm of about how many nodes such a graph has at most, relative to the nodes of the family.

    With more exchanges the estimate grows towards what polynomials allow.

    Examples
    --------
    >>> abs(estimated_excess(Family(10, 3), -2.0, 1.0)) < 1e-4
    True
    """
    return log(max(_between(family, low, high, exchanges, None)[0], NO_NODES) / family.nodes)


def _between(family: Family, low: float, high: float, exchanges: int, against: float | None) -> tuple[float, float]:
    """Give the least that polynomials may allow, and what one does allow.

    Where there is a number against which they are held, that is all that is found out.
    """
    degree, terms = family.degree, family.terms
    at_degree = _orthonormal(degree, terms, np.array([float(degree)]))[0]
    traces = _traces(family)
    free = 3 if family.loops is None else 1
    nodes = np.cos(np.linspace(0, np.pi, POINTS * terms))
    reached, best = 0.0, np.inf
    for _ in range(exchanges):
        values = _orthonormal(degree, terms, (low + high) / 2 + (high - low) / 2 * nodes)
        # f_0 is what the others leave; and at d, f is not negative.
        others = np.vstack((values, -at_degree))
        others = others[:, 1:] - others[:, :1] * traces[1:]
        found: Any = optimize.linprog(
            at_degree[1:] - at_degree[0] * traces[1:],
            A_ub=others,
            b_ub=np.append(np.full(len(nodes), -1.0), 1.0),
            bounds=[(None, None)] * (free - 1) + [(0, None)] * (terms + 1 - free),
            method="highs",
        )
        if found.x is None:
            return max(reached, UNKNOWN), best
        f = np.append(0.0, found.x)
        f[free:] = np.maximum(f[free:], 0)
        f[0] = 1 - f @ traces
        # The programme has less inequalities than there are: no polynomial gives less than this.
        reached = max(float(at_degree @ f), 0.0)
        if exchanges == 1 or (against is not None and reached >= against):
            break
        where, most = _maxima(degree, f, low, high)
        top = max(float(most.max()), 0.0)
        if top < 1:
            best = min(best, max(reached - top, 0.0) / (1 - top))
        if top < POSITIVE or (against is not None and best < against):
            break
        nodes = np.append(nodes, where[most > 0])
    return reached, best


def _traces(family: Family) -> FloatArray:
    """Give the least traces of the orthonormal F_i, divided by n, as far as they are used."""
    traces = np.zeros(family.terms + 1)
    traces[0] = 1
    if family.loops is not None:
        whole = floor(family.loops)
        squares = whole * (whole - 1) + 2 * whole * (family.loops - whole)
        traces[1] = family.loops / sqrt(family.degree)
        traces[2] = squares / sqrt(family.degree * (family.degree - 1))
    return traces


def _maxima(degree: int, f: FloatArray, low: float, high: float) -> tuple[FloatArray, FloatArray]:
    """Give the values of a polynomial where it may be largest on the interval, which is [-1, 1] for the places."""
    terms = len(f) - 1

    def at(places: FloatArray) -> FloatArray:
        return np.asarray(_orthonormal(degree, terms, (low + high) / 2 + (high - low) / 2 * places) @ f)

    interpolate: Any = chebyshev.chebinterpolate
    derivative = chebyshev.chebder(interpolate(at, terms))
    # Roots that rounding made complex are near to real ones.
    flat = np.real(chebyshev.chebroots(chebyshev.chebtrim(derivative, 1e-14 * np.abs(derivative).max())))
    places = np.append(flat[np.abs(flat) < 1], (-1.0, 1.0))
    return places, at(places)
