"""What no graph can beat: lower bounds on the objectives of a search, and the Ramanujan graphs beside it.

Costs are as in a search: everything is minimised, so that the cost of a Fiedler value is its negative.

=======================  ===============================================================================================
laplacian                SLEM with the best constant weight, (mu_n - mu_2)/(mu_n + mu_2)
metropolis-hastings      SLEM with Metropolis-Hastings weights
fmmc, fdla               SLEM with optimal weights, nonnegative ones or any
fiedler                  -mu_2
eigenratio               mu_n / mu_2
mixing-time              1/(1 - SLEM^2) with the best constant weight
=======================  ===============================================================================================

Three bounds hold for every n:

- Linear programming (`linear_bound`): for mu_2, and for all that the Laplacian of a regular graph tells. It bounds the
  ratio mu_n/mu_2 of others, too, but never above what balls do.
- Balls: let W be symmetric with W 1 = 1, p a polynomial of degree k with p(1) = 1 and V_i the number of nodes within
  distance k of node i. Row i of p(W) sums to 1 and has V_i entries that are not 0, so that its squares sum to 1/V_i at
  least; and they all sum to 1 + (n - 1) max p^2 at most, the maximum over [-SLEM, SLEM]. By the best p, Chebyshev's,
  T_k(1/SLEM)^2 <= (n - 1)/(sum_i 1/V_i - 1). For k = 1 this is the second moment of W. For large n and k the bound
  tends to 2 sqrt(d - 1)/d, which Alon and Boppana found for uniform weights of regular graphs, whatever the weights.
- mu_2 is at most the smallest degree unless the graph is complete (Fiedler).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import acosh, cos, cosh, pi, sqrt

from topokit.errors import InputError
from topokit.learned.bounds.extreme_eigenvalues import least_deviation, least_eigenratio, least_second_eigenvalue
from topokit.learned.bounds.linear_bound import Family

__all__ = ["OBJECTIVES", "Bound", "ball_slem", "lower_bound", "moore_diameter", "ramanujan_cost", "ramanujan_slem"]

OBJECTIVES = ("laplacian", "metropolis-hastings", "fiedler", "eigenratio", "fmmc", "fdla", "mixing-time")
UNIFORM = ("laplacian", "metropolis-hastings", "fiedler", "eigenratio", "mixing-time")  # known by the Laplacian
LEAST_TERMS, MOST_TERMS = 4, 30  # degree of the polynomials of linear programming
TRIVIAL = {"eigenratio": 1.0, "mixing-time": 1.0}
MOST_DISTANCE = 2000  # of balls that grow slowly


@dataclass(frozen=True)
class Bound:
    """No graph within the limits costs less.

    Attributes
    ----------
    cost : float
    name : str
        Of the argument.
    """

    cost: float
    name: str


def ramanujan_slem(degree: int) -> float:
    """Give the SLEM, with the best constant weight, of a Ramanujan graph whose eigenvalues reach both ends.

    That is 2 sqrt(d - 1)/d, which large graphs approach and cannot beat in the limit (Alon and Boppana). It is no bound
    for a given number of nodes: small graphs are better.

    Parameters
    ----------
    degree : int
        d, at least 2.

    Examples
    --------
    >>> round(ramanujan_slem(3), 6)
    0.942809
    """
    if degree < 2:
        raise InputError(f"a Ramanujan graph has a degree of at least 2, got {degree}")
    return 2 * sqrt(degree - 1) / degree


def ramanujan_cost(objective: str, degree: int) -> float:
    """Give what `ramanujan_slem` is in terms of another objective.

    Parameters
    ----------
    objective : str
    degree : int
        d, at least 2.

    Raises
    ------
    InputError
        If there is no such objective, or the degree is too small.

    Examples
    --------
    >>> round(ramanujan_cost("fiedler", 3), 6), round(ramanujan_cost("metropolis-hastings", 3), 6)
    (-0.171573, 0.957107)
    """
    slem = ramanujan_slem(degree)
    if objective == "fiedler":
        return -degree * (1 - slem)
    if objective == "metropolis-hastings":
        return (1 + degree * slem) / (1 + degree)
    return _cost_of_slem(_known(objective), slem)


def moore_diameter(nodes: int, degree: int) -> int:
    """Give the least diameter that a graph of so many nodes and this largest degree can have.

    Parameters
    ----------
    nodes : int
        n, at least 1.
    degree : int
        d, at least 2, or 1 for two nodes.

    Examples
    --------
    >>> [moore_diameter(nodes, 3) for nodes in (4, 10, 11, 22)]
    [1, 2, 3, 3]
    """
    if degree < 2 and nodes > degree + 1:
        raise InputError(f"no connected graph on {nodes} nodes has no degree above {degree}")
    distance, ball, sphere = 0, 1, degree
    if degree == 2:
        return nodes // 2
    while ball < nodes:
        distance, ball, sphere = distance + 1, ball + sphere, sphere * (degree - 1)
    return distance


def ball_slem(nodes: int, *, degree: int | None = None, edges: int | None = None) -> float:
    """Bound the SLEM of symmetric matrices with unit row sums on the edges of a graph from below, by sizes of balls.

    Parameters
    ----------
    nodes : int
        n, at least 2.
    degree, edges : int, optional
        Largest degree, largest number of edges.

    Examples
    --------
    The second moment of the weights of cubic graphs on 10 nodes, and how far a large n is from Alon and Boppana:

    >>> round(ball_slem(10, degree=3), 6), round(ball_slem(10**9, degree=3), 6)
    (0.408248, 0.925571)
    """
    return _ball_slem(nodes, degree, edges)[0]


def lower_bound(
    objective: str, nodes: int, *, degree: int | None = None, edges: int | None = None, regular: bool = False
) -> Bound:
    """Bound what connected graphs within limits cost from below.

    Parameters
    ----------
    objective : str
        One of `OBJECTIVES`.
    nodes : int
        n, at least 2.
    degree : int, optional
        Largest degree.
    edges : int, optional
        Largest number of edges.
    regular : bool, default False
        Whether all nodes have the largest degree.

    Returns
    -------
    Bound
        The best of those that apply, and a trivial one where none does.

    Raises
    ------
    InputError
        If there is no such objective, or no graph within the limits.

    References
    ----------
    .. [1] A. Nilli, "On the second eigenvalue of a graph", Discrete Mathematics 91(2), 1991.
    .. [2] M. Fiedler, "Algebraic connectivity of graphs", Czechoslovak Mathematical Journal 23(98), 1973.
    .. [3] H. Nozaki, "Linear programming bounds for regular graphs", Graphs and Combinatorics 31, 2015.

    Examples
    --------
    >>> bound = lower_bound("laplacian", 10, degree=3, regular=True)
    >>> round(bound.cost, 6), bound.name
    (0.428571, 'linear programming')
    >>> bound = lower_bound("fdla", 10, degree=3)
    >>> round(bound.cost, 6), bound.name
    (0.408248, 'second moment')
    """
    _known(objective)
    _require_possible(nodes, degree, edges, regular)
    most = nodes - 1 if degree is None else min(degree, nodes - 1)
    return _lower_bound(objective, nodes, most, None if regular else edges, regular)


@lru_cache(maxsize=256)
def _lower_bound(objective: str, nodes: int, degree: int, edges: int | None, regular: bool) -> Bound:
    slem, distance = _ball_slem(nodes, degree, edges)
    found = [Bound(TRIVIAL.get(objective, 0.0), "trivial")]
    name = "second moment" if distance == 1 else f"sizes of balls of radius {distance}"
    if objective == "fiedler":
        least = degree if edges is None else min(degree, 2 * edges // nodes)
        found[0] = Bound(-float(nodes), "complete graph")
        if least < nodes - 1:
            found.append(Bound(-float(least), "smallest degree"))
        # The largest eigenvalue is twice the largest degree at most.
        found.append(Bound(-min(nodes, 2 * degree) * (1 - slem) / (1 + slem), name))
    else:
        found.append(Bound(_cost_of_slem(objective, slem), name))
    complete = degree == nodes - 1 and (edges is None or edges >= nodes * degree // 2)
    if regular and degree in (2, nodes - 1):
        found.append(_only_one(objective, nodes, degree))
    elif objective in (UNIFORM if regular else ("fiedler",)) and degree >= 3 and not complete:
        found.append(_linear_bound(objective, nodes, degree, edges, regular))
    return max(found, key=lambda bound: bound.cost)


def _only_one(objective: str, nodes: int, degree: int) -> Bound:
    """Give the cost of the only regular graph of a degree."""
    if degree == nodes - 1:
        return Bound(_cost_of_ends(objective, degree, nodes, nodes), "only the complete graph")
    low, high = (2 - 2 * cos(2 * pi * k / nodes) for k in (1, nodes // 2))
    return Bound(_cost_of_ends(objective, degree, low, high), "only the ring")


def _linear_bound(objective: str, nodes: int, degree: int, edges: int | None, regular: bool) -> Bound:
    loops = None if regular else max(0.0, degree - 2 * edges / nodes) if edges is not None else 0.0
    terms = max(LEAST_TERMS, min(2 * moore_diameter(nodes, degree), MOST_TERMS))
    family = Family(nodes, degree, loops, terms)
    if objective == "fiedler":
        cost = least_second_eigenvalue(family) - degree
    elif objective == "metropolis-hastings":
        cost = least_deviation(family)
    else:
        ratio = _least_eigenratio(family)
        cost = _cost_of_slem(objective, (ratio - 1) / (ratio + 1))
    return Bound(cost, "linear programming")


# The slowest of the bounds is that of three objectives.
_least_eigenratio = lru_cache(maxsize=64)(least_eigenratio)


def _ball_slem(nodes: int, degree: int | None, edges: int | None) -> tuple[float, int]:
    """Give the bound of balls, and the distance at which they are best."""
    most = nodes - 1 if degree is None else min(degree, nodes - 1)
    ends = nodes * most if edges is None else min(2 * edges, nodes * most)
    each, more = divmod(ends, nodes)
    inverse = (nodes - more) / (each + 1) + more / (each + 2)  # sum of 1/(d_i + 1), least if degrees hardly differ
    best, at = 0.0, 1
    paths = float(most - 1)  # from the end of an edge, without going back, to a distance of at most k - 2
    for distance in range(1, MOST_DISTANCE):
        if inverse <= 1:
            break
        slem = 1 / cosh(acosh(sqrt((nodes - 1) / (inverse - 1))) / distance)
        if slem > best:
            best, at = slem, distance
        inverse = nodes / (1 + ends / nodes * (1 + paths))
        paths = (most - 1) * (1 + paths)
    return best, at


def _cost_of_slem(objective: str, slem: float) -> float:
    if objective == "eigenratio":
        return (1 + slem) / (1 - slem)
    if objective == "mixing-time":
        return 1 / (1 - slem**2)
    return slem


def _cost_of_ends(objective: str, degree: int, low: float, high: float) -> float:
    """Give the cost of a regular graph by mu_2 and mu_n."""
    if objective == "fiedler":
        return -low
    if objective == "metropolis-hastings":
        return max(abs(1 - low / (degree + 1)), abs(1 - high / (degree + 1)))
    return _cost_of_slem(objective, (high - low) / (high + low))


def _known(objective: str) -> str:
    if objective not in OBJECTIVES:
        raise InputError(f"there is no objective {objective!r}; expected one of {', '.join(OBJECTIVES)}")
    return objective


def _require_possible(nodes: int, degree: int | None, edges: int | None, regular: bool) -> None:
    if nodes < 2:
        raise InputError(f"a graph to be bounded has at least 2 nodes, got {nodes}")
    if degree is not None and degree < min(2, nodes - 1):
        raise InputError(f"no connected graph on {nodes} nodes has no degree above {degree}")
    if edges is not None and edges < nodes - 1:
        raise InputError(f"{edges} edges cannot connect {nodes} nodes: it takes {nodes - 1}")
    if regular and (degree is None or degree >= nodes or nodes * degree % 2):
        raise InputError(f"there is no regular graph of degree {degree} on {nodes} nodes")
