"""Weights, rates and probabilities of edges that maximise the algebraic connectivity within linear limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from scipy import sparse

from topokit.adjacency import GraphLike, sorted_edges
from topokit.errors import InputError
from topokit.matrix import FloatArray, IntArray
from topokit.optimal.central_path import CentralPath
from topokit.optimal.connectivity_problem import ConnectivityProblem
from topokit.optimal.dense import cholesky
from topokit.optimal.threads import few_threads
from topokit.weights.messages import messages_of

__all__ = [
    "Connectivity",
    "connectivity_remark",
    "edge_groups",
    "edge_numbers",
    "edges_of",
    "fastest_mixing_process",
    "maximal_connectivity",
]

TOLERANCE = 1e-8  # relative width at which to stop
MAX_ITERATIONS = 100  # some 15 are usual
PATIENCE = 4  # iterations in which the width halves, or near to the end rounding errors are all that is left
NEAR = 1e-5  # relative width near to the end
CENTRING = 2  # iterations to the centre of the optima
REMNANTS = 1e-5, 1e-7, 1e-9  # of the largest value, below which others may be left out
PROBED = 1000  # unknowns of a linear system by which the time that larger ones take is told
SYSTEM = 2.0  # times as long as its Cholesky factorisation (1 to 3 were measured)
MEMORY = 4e9  # bytes, for some 12 matrices of n^2 numbers and 4 of K^2


@dataclass(frozen=True)
class Connectivity:
    """Weights of edges, the connectivity that they reach, and a proof of how much more others could.

    Attributes
    ----------
    edges : ndarray of int64, shape (m, 2)
    groups : ndarray of int64, shape (m,)
        Number of the group of each edge.
    values : ndarray of float64, shape (K,)
        Weight of the edges of each group, within the limits.
    mu2 : float
        Second smallest eigenvalue of the weighted Laplacian, computed from the values.
    bound : float
        No values within the limits reach more than this.
    iterations : int
    seconds : float
    """

    edges: IntArray
    groups: IntArray
    values: FloatArray
    mu2: float
    bound: float
    iterations: int
    seconds: float

    @property
    def weights(self) -> FloatArray:
        """Weight of each edge, shape (m,)."""
        return np.asarray(self.values[self.groups])

    @property
    def width(self) -> float:
        """How much more others could reach at most, relative to what these do."""
        return (self.bound - self.mu2) / self.mu2 if self.mu2 > 0 else np.inf


def maximal_connectivity(
    problem: ConnectivityProblem, *, tolerance: float = TOLERANCE, time_limit: float | None = None
) -> Connectivity:
    """Maximise mu_2(sum_k x_k L_k) subject to A x <= b and x >= 0.

    Parameters
    ----------
    problem : ConnectivityProblem
        Of so many nodes and groups of edges that matrices fit into 4 GB: 6,000 nodes, or 11,000 groups.
    tolerance : float, default 1e-8
        Relative width of the interval from mu_2 to its bound at which to stop. Rounding errors allow some 1e-9, and
        less of graphs that are nearly disconnected.
    time_limit : float, optional
        Seconds after which to stop with the best values so far, and their bound. It acts between iterations: one that
        would not end in time, by the last or by a test of the machine, is not begun. With 10,000 different weights an
        iteration takes some 20 s of a core, and if not even the first is possible, the values are in proportion to what
        the limits leave each group.

    Returns
    -------
    Connectivity
        Where several values are optimal, those close to the centre of all optima: groups that a symmetry of the
        problem interchanges get the same.

    Raises
    ------
    InputError
        If the graph is too large, or the tolerance or the time is not positive.

    Notes
    -----
    A primal-dual interior-point method, some 15 iterations of some n^3 + m^2 + K^3 operations. The bound is dual: let
    Z be positive semidefinite with Z 1 = 0 and trace 1, and p >= 0 prices of the limits, then

        mu_2(sum_k x_k L_k) <= sum_k x_k <Z, L_k> <= b^T p + sum_k x_k (<Z, L_k> - (A^T p)_k).

    Z is multiplied out of a factor and prices are cut to what they may be, so that the bound holds whatever they are.

    References
    ----------
    .. [1] S. Mehrotra, "On the implementation of a primal-dual interior point method", SIAM Journal on Optimization
       2(4), 1992.
    .. [2] C. Helmberg, F. Rendl, R. J. Vanderbei, H. Wolkowicz, "An interior-point method for semidefinite
       programming", SIAM Journal on Optimization 6(2), 1996.

    Examples
    --------
    A path of three edges, the outer ones together at most 2, the inner one at most 1:

    >>> edges, groups = np.array([[0, 1], [1, 2], [2, 3]]), np.array([0, 1, 0])
    >>> limits = sparse.csr_array(np.diag([2.0, 1.0]))
    >>> best = maximal_connectivity(ConnectivityProblem(4, edges, limits, np.array([2.0, 1.0]), groups))
    >>> best.values.round(6).tolist(), round(best.mu2, 6)
    ([1.0, 1.0], 0.585786)
    """
    _require_manageable(problem, tolerance, time_limit)
    with few_threads(problem.nodes):
        return _maximised(problem, tolerance, time_limit)


def _maximised(problem: ConnectivityProblem, tolerance: float, time_limit: float | None) -> Connectivity:
    start = perf_counter()
    path = CentralPath(problem)
    # An iteration takes at least as long as what comes before the first, and as its linear system.
    expected = 0.0 if time_limit is None else perf_counter() - start + _system_seconds(problem.count)

    def in_time() -> bool:
        return time_limit is None or perf_counter() - start + expected < time_limit

    most, values = path.t, path.x
    iterations, halved = 0, (0, np.inf)
    while path.bound - most > tolerance / 2 * abs(most) and iterations < MAX_ITERATIONS and in_time():
        began = perf_counter()
        if not path.advance(tolerance / 4 * abs(most)):
            break
        expected = perf_counter() - began
        iterations += 1
        if path.t > most:
            most, values = path.t, path.x
        gap = path.bound - most
        if gap < halved[1] / 2:
            halved = iterations, gap
        elif iterations - halved[0] >= PATIENCE and gap < NEAR * abs(most):
            break
    gap = path.bound - most
    for _ in range(CENTRING if gap < NEAR * abs(most) else 0):
        if not in_time() or not path.centre():
            break
        iterations += 1
        if path.t > most - gap:
            values = path.x
    bound = path.bound
    values, mu2 = _without_remnants(problem, problem.filled(values), tolerance)
    return Connectivity(problem.edges, problem.groups, values, mu2, max(bound, mu2), iterations, perf_counter() - start)


def _system_seconds(count: int) -> float:
    """Estimate how long it takes to set up and solve a linear system in so many unknowns, by a smaller one."""
    if count <= PROBED:
        return 0.0
    start = perf_counter()
    cholesky(np.eye(PROBED) + 1)
    return SYSTEM * (perf_counter() - start) * (count / PROBED) ** 3


def _without_remnants(problem: ConnectivityProblem, values: FloatArray, tolerance: float) -> tuple[FloatArray, float]:
    """Leave out what an interior point keeps of groups that bring nothing, and give the connectivity, too."""
    mu2 = problem.connectivity(values)
    for most in REMNANTS:
        remnants = values < most * values.max()
        if not remnants.any():
            break
        cut = problem.filled(np.where(remnants, 0, values))
        after = problem.connectivity(cut)
        if after >= mu2 * (1 - tolerance):
            return cut, after
    return values, mu2


def _require_manageable(problem: ConnectivityProblem, tolerance: float, time_limit: float | None) -> None:
    memory = 8 * (12 * problem.nodes**2 + 4 * problem.count**2)
    if memory > MEMORY:
        raise InputError(
            f"optimal connectivity of {problem.nodes:,} nodes with {problem.count:,} different weights would take "
            f"{memory / 1e9:.1f} GB of memory, more than {MEMORY / 1e9:g} GB: take fewer nodes, or tie the weights of "
            "some edges by groups"
        )
    if not tolerance > 0:
        raise InputError(f"the tolerance must be a positive number, got {tolerance!r}")
    if time_limit is not None and not time_limit > 0:
        raise InputError(f"the time limit must be a positive number of seconds, got {time_limit!r}")


def fastest_mixing_process(
    graph: GraphLike,
    *,
    costs: Sequence[float] | FloatArray | None = None,
    budget: float = 1.0,
    groups: IntArray | None = None,
    tolerance: float = TOLERANCE,
    time_limit: float | None = None,
) -> Connectivity:
    """Choose rates w_e of the edges that maximise mu_2 of their Laplacian subject to sum_e c_e w_e <= budget, w >= 0.

    A continuous-time Markov chain that moves along e at the rate w_e then mixes fastest: its distance to the uniform
    distribution shrinks as exp(-mu_2 t).

    Parameters
    ----------
    graph : networkx.Graph or sparse array, shape (n, n)
        Connected, undirected, nodes 0 to n - 1, without self-loops. Of an adjacency matrix, only the pattern counts.
    costs : array of shape (m,), optional
        Positive cost of each edge (sorted, smaller node first), d_e^2 in the paper; 1 by default.
    budget : float, default 1.0
        The number of edges, costs being 1, gives the absolute algebraic connectivity.
    groups : ndarray of int64, shape (m,), optional
        Edges of a group, 0 to K - 1, get the same rate; by default each edge is one.
    tolerance, time_limit
        As in `maximal_connectivity`.

    Returns
    -------
    Connectivity

    Raises
    ------
    InputError
        If the budget or a cost is not positive, or there are fewer than 2 nodes or too many.
    GraphError
        If the graph cannot be given weights.

    Notes
    -----
    The dual problem is that of maximum-variance unfolding: points in space, those of an edge at most sqrt(c_e) apart,
    that lie as far from their mean as possible. The largest sum of squares is budget / mu_2.

    References
    ----------
    .. [1] J. Sun, S. Boyd, L. Xiao, P. Diaconis, "The fastest mixing Markov process on a graph and a connection to a
       maximum variance unfolding problem", SIAM Review 48(4), 2006.
    .. [2] M. Fiedler, "Absolute algebraic connectivity of trees", Linear and Multilinear Algebra 26, 1990.

    Examples
    --------
    >>> import networkx as nx
    >>> best = fastest_mixing_process(nx.path_graph(4), budget=3)
    >>> best.weights.round(5).tolist(), round(best.mu2, 6)
    ([0.9, 1.2, 0.9], 0.6)
    """
    nodes, edges = edges_of(graph, "optimal")
    if nodes < 2:
        raise InputError(f"a Markov process needs at least 2 nodes, got {nodes}")
    price = np.ones(len(edges)) if costs is None else edge_numbers(edges, costs, "the cost")
    if not (np.isfinite(price) & (price > 0)).all():
        k = int(np.flatnonzero(~(np.isfinite(price) & (price > 0)))[0])
        raise InputError(f"the cost of edge {edges[k, 0]}-{edges[k, 1]} is {price[k]:g}; expected a positive number")
    if not 0 < budget < np.inf:
        raise InputError(f"the budget must be a positive number, got {budget!r}")
    tied = edge_groups(edges, groups)
    limits = sparse.csr_array(np.bincount(tied, weights=price)[np.newaxis])
    problem = ConnectivityProblem(nodes, edges, limits, np.array([float(budget)]), tied)
    return maximal_connectivity(problem, tolerance=tolerance, time_limit=time_limit)


def connectivity_remark(mu2: float, bound: float) -> dict[str, Any]:
    """Give what the provenance of a schedule says about its connectivity, in digits that all machines agree on.

    Examples
    --------
    >>> connectivity_remark(0.123456789, 0.12345679)
    {'connectivity': {'mu2': 0.123457, 'bound': 0.123457}}
    """
    return {"connectivity": {"mu2": float(f"{mu2:.6g}"), "bound": float(f"{bound:.6g}")}}


def edges_of(graph: GraphLike, what: str) -> tuple[int, IntArray]:
    """Give the number of nodes and the edges of a connected, undirected graph, sorted, smaller node first.

    Raises
    ------
    GraphError
        If the graph is empty, directed, disconnected, not simple or not numbered 0 to n - 1.

    Examples
    --------
    >>> import networkx as nx
    >>> edges_of(nx.star_graph(2), "optimal")[1].tolist()
    [[0, 1], [0, 2]]
    """
    messages = messages_of(graph, what)
    once = messages.source < messages.target
    return messages.nodes, sorted_edges(messages.nodes, messages.source[once], messages.target[once])


def edge_groups(edges: IntArray, groups: Any) -> IntArray:
    """Check the group of each edge; by default, each edge is one.

    Raises
    ------
    InputError
        If it is not one number for each edge, or they are not 0 to K - 1.

    Examples
    --------
    >>> edge_groups(np.array([[0, 1], [1, 2]]), None).tolist()
    [0, 1]
    """
    if groups is None:
        return np.arange(len(edges))
    tied = np.asarray(groups)
    if tied.shape != (len(edges),) or not np.issubdtype(tied.dtype, np.integer):
        raise InputError(f"groups are one whole number for each of the {len(edges)} edges")
    if not np.array_equal(np.unique(tied), np.arange(tied.max(initial=-1) + 1)):
        raise InputError("groups are numbered 0 to K - 1, and each has an edge")
    return tied.astype(np.int64)


def edge_numbers(edges: IntArray, values: Any, what: str) -> FloatArray:
    """Give one number, or one for each edge, as an array of shape (m,).

    Raises
    ------
    InputError
        If they are no numbers, or too many or too few.

    Examples
    --------
    >>> edge_numbers(np.array([[0, 1], [1, 2]]), 0.5, "the cost").tolist()
    [0.5, 0.5]
    """
    try:
        return np.array(np.broadcast_to(np.asarray(values, dtype=np.float64), (len(edges),)))
    except (TypeError, ValueError):
        raise InputError(f"{what} is one number, or one for each of the {len(edges)} edges, got {values!r}") from None
