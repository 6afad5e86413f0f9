"""How far k more edges can raise the algebraic connectivity: a semidefinite bound that anyone can compute again.

Adding k of the candidate edges, with room for r_i more at node i, is choosing x_e in {0, 1}. With 0 <= x_e <= 1, the
best mu_2 is a bound. So is any point of the dual problem: let Z be positive semidefinite with Z 1 = 0 and trace 1, and
p >= 0 be prices of the nodes. Then

    mu_2(L + sum_e x_e a_e a_e^T) <= <Z, L> + sum_i p_i r_i + the sum of the k largest max(a_e^T Z a_e - p_u - p_v, 0).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_tree, connected_components

from topokit.adjacency import adjacency_of_edges, sorted_edges
from topokit.errors import InputError
from topokit.learned.growth.candidates import open_pairs, room_of_nodes
from topokit.learned.growth.soft_choice import soft_choice
from topokit.matrix import FloatArray, IntArray
from topokit.optimal.central_path import CentralPath
from topokit.optimal.connectivity_problem import ConnectivityProblem
from topokit.optimal.dense import centred, cholesky
from topokit.optimal.progress import News, Tell
from topokit.optimal.threads import few_threads

__all__ = ["FiedlerBound", "fiedler_upper_bound", "value_of_certificate"]

MOST_NODES = 2000  # whose matrices an interior-point method factorises in seconds
COLUMNS = 1200  # candidates up to which all are looked at together
FIRST = 500  # iterations of the method of first order, where there are more
SHARE = 1.0  # of what a candidate is worth, beside its weight, in the choice of the first ones
TINY = 1e-13  # that makes rounded matrices positive definite
MORE = 400  # candidates that are added to the others at a time
MIXTURES = 0.1, 0.2, 0.4, 0.7  # of the certificate of a round with the best before
MOST_ROUNDS = 60
MOST_ITERATIONS = 60
ROUNDING = 1e-12  # relative, by which the bound is raised


@dataclass(frozen=True)
class FiedlerBound:
    """No k candidates give the graph a larger mu_2 than this.

    Attributes
    ----------
    value : float
        The bound.
    mu2 : float
        What the relaxed weights reach: no relaxation of the same kind gives a bound below this.
    pairs : ndarray of int64, shape (p, 2)
        Candidates, without those that have no weight in a large problem.
    weights : ndarray of float64, shape (p,)
        x_e, the relaxed choice.
    factor : ndarray of float64, shape (n, r)
        F, whose Z = P F F^T P / trace(P F F^T P), P = I - J, is the certificate.
    prices : ndarray of float64, shape (n,)
        p_i.
    """

    value: float
    mu2: float
    pairs: IntArray = field(repr=False)
    weights: FloatArray = field(repr=False)
    factor: FloatArray = field(repr=False)
    prices: FloatArray = field(repr=False)

    def sentence(self) -> str:
        """Say it in a line.

        Examples
        --------
        >>> fiedler_upper_bound(np.zeros((0, 2), dtype=np.int64), 5, 6).sentence()
        'no choice of edges has a Fiedler value above 3 (semidefinite relaxation)'
        """
        return f"no choice of edges has a Fiedler value above {self.value:.6g} (semidefinite relaxation)"


class _Choice:
    """The graph, the candidates, and the limits of what can be chosen."""

    def __init__(self, edges: Any, nodes: int, k: int, allowed: Any, max_degree: Any) -> None:
        if k < 0:
            raise InputError(f"the number of edges to add cannot be negative, got {k}")
        mask = open_pairs(edges, nodes, allowed)
        self.room = room_of_nodes(edges, nodes, max_degree)
        mask &= (self.room > 0) & (self.room > 0)[:, None]
        self.nodes = nodes
        self.edges = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
        self.pairs = np.argwhere(np.triu(mask)).astype(np.int64)[: None if k else 0]
        self.k = min(k, len(self.pairs))

    def laplacian(self, pairs: IntArray, weights: FloatArray) -> FloatArray:
        L = np.zeros((self.nodes, self.nodes))
        for ends, of in ((self.edges, np.ones(len(self.edges))), (pairs, weights)):
            u, v = ends.T
            L[u, v] = L[v, u] = -of
        L[np.diag_indices(self.nodes)] = -L.sum(axis=1)
        return L

    def worth(self, factor: FloatArray, pairs: IntArray) -> FloatArray:
        """Give a_e^T Z a_e."""
        F = factor - factor.mean(axis=0)
        Z = F @ F.T
        Z /= np.trace(Z)
        u, v = pairs.T
        own = np.diag(Z)
        return np.asarray(own[u] + own[v] - 2 * Z[u, v])

    def value(self, factor: FloatArray, prices: FloatArray) -> float:
        """Give the bound that a certificate proves."""
        prices = np.maximum(prices, 0)
        u, v = self.pairs.T
        net = np.maximum(self.worth(factor, self.pairs) - prices[u] - prices[v], 0)
        if self.k < net.size:
            net = np.partition(net, net.size - self.k)[net.size - self.k :]
        total = float(self.worth(factor, self.edges).sum() + prices @ self.room + net.sum())
        return total * (1 + ROUNDING)


def value_of_certificate(
    edges: IntArray,
    nodes: int,
    k: int,
    factor: FloatArray,
    prices: FloatArray | None = None,
    *,
    allowed: Any = None,
    max_degree: Any = None,
) -> float:
    """Compute the bound that a certificate proves.

    Parameters
    ----------
    edges, nodes, k, allowed, max_degree
        As in `fiedler_upper_bound`.
    factor : ndarray of float64, shape (n, r)
        Any numbers, not all columns constant: the bound holds whatever they are.
    prices : ndarray of float64, shape (n,), optional
        Of the nodes' degrees; none by default.

    Examples
    --------
    The identity proves that the degrees have a mean:

    >>> round(value_of_certificate(np.zeros((0, 2), dtype=np.int64), 5, 6, np.eye(5)), 9)
    3.0
    """
    choice = _Choice(edges, nodes, k, allowed, max_degree)
    return choice.value(np.asarray(factor, dtype=np.float64), np.zeros(nodes) if prices is None else prices)


def fiedler_upper_bound(
    edges: IntArray,
    nodes: int,
    k: int,
    *,
    allowed: Any = None,
    max_degree: Any = None,
    tolerance: float = 1e-6,
    deadline: float = math.inf,
    tell: Tell | None = None,
) -> FiedlerBound:
    """Bound mu_2 of a graph with k edges added.

    Parameters
    ----------
    edges : ndarray of int64, shape (m, 2)
        Edges that there are; none will do.
    nodes : int
        n, at most 2,000; a few hundred take seconds.
    k : int
        Number of edges to add at most.
    allowed : ndarray of bool, shape (n, n), or of int, shape (p, 2), optional
        Pairs that may be added, as a mask or one by one; all by default.
    max_degree : int or ndarray of int, shape (n,), optional
        Largest degree, of all nodes or of each.
    tolerance : float, default 1e-6
        Relative width, from the relaxed weights to the bound, at which to stop.
    deadline : float, optional
        Value of time.monotonic() at which to stop. The bound holds all the same, but is larger.
    tell : callable, optional
        Is told of better bounds.

    Returns
    -------
    FiedlerBound

    Raises
    ------
    InputError
        If an edge is none or given twice, a node has more edges than it may have, or there are too many nodes.

    Notes
    -----
    A primal-dual interior-point method (`topokit.optimal.central_path`). Of many candidates it is given those that a
    method of first order likes best (`soft_choice`), and then those that its certificate finds too cheap, until none
    are. The best certificate is looked for between that of a round and the best before.

    References
    ----------
    .. [1] A. Ghosh, S. Boyd, "Growing well-connected graphs", IEEE Conference on Decision and Control, 2006.

    Examples
    --------
    A path of four nodes becomes a ring by one more edge, and none is better:

    >>> round(fiedler_upper_bound(np.array([[0, 1], [1, 2], [2, 3]]), 4, 1).value, 6)
    2.0
    """
    if nodes > MOST_NODES:
        raise InputError(f"the semidefinite bound is for at most {MOST_NODES:,} nodes, got {nodes:,}")
    choice = _Choice(edges, nodes, k, allowed, max_degree)
    with few_threads(nodes):
        return _bounded(choice, tolerance, deadline, tell)


def _bounded(choice: _Choice, tolerance: float, deadline: float, tell: Tell | None) -> FiedlerBound:
    start = time.monotonic()
    none = np.zeros(choice.nodes)
    everything = adjacency_of_edges(choice.nodes, np.concatenate((choice.edges, choice.pairs)))
    count, part = connected_components(everything, directed=False)
    if count > 1:
        cut = (part == 0).astype(np.float64)[:, None]
        return FiedlerBound(choice.value(cut, none), 0.0, choice.pairs[:0], np.zeros(0), cut, none)
    ends = np.bincount(choice.pairs.reshape(-1), minlength=choice.nodes)
    if choice.k == len(choice.pairs) and (ends <= choice.room).all():
        slowest = np.linalg.eigh(choice.laplacian(choice.pairs, np.ones(choice.k)))[1][:, 1:2]
        return _found(choice, choice.pairs, np.ones(choice.k), slowest, none)
    chosen, factor = _first_columns(choice, everything, deadline)
    best = _found(choice, chosen[:0], np.zeros(0), factor, none)
    for _ in range(MOST_ROUNDS):
        problem, limited = _restricted(choice, chosen)
        path = CentralPath(problem)
        _advance(path, tolerance / 4, deadline)
        factor = cholesky(centred(path.Y) + 1 / choice.nodes)
        prices = none.copy()
        prices[limited] = path.p[len(path.p) - limited.size :] / np.trace(path.Y)
        weights = np.minimum(path.x[-len(chosen) :], 1)
        found = _found(choice, chosen, weights, factor, prices)
        best = _mixed(choice, best, found)
        now = time.monotonic()
        if tell is not None:
            tell(News(now - start, best.sentence()))
        if best.value - best.mu2 <= tolerance * best.value or now >= deadline or len(chosen) == len(choice.pairs):
            break
        u, v = choice.pairs.T
        code = choice.pairs @ np.array([choice.nodes, 1])
        known = np.isin(code, chosen @ np.array([choice.nodes, 1]))
        cheap = np.zeros(len(known), dtype=np.bool_)
        for one in (best, found):
            net = choice.worth(one.factor, choice.pairs) - one.prices[u] - one.prices[v]
            net[known | cheap] = -np.inf
            cheap[np.argsort(-net)[: MORE // 2]] = True
        cheap &= ~known
        used = chosen[weights > tolerance]
        joined = np.concatenate((used if len(used) + MORE > COLUMNS else chosen, choice.pairs[cheap]))
        chosen = sorted_edges(choice.nodes, *joined.T)
    return best


def _found(
    choice: _Choice, pairs: IntArray, weights: FloatArray, factor: FloatArray, prices: FloatArray
) -> FiedlerBound:
    mu2 = max(float(np.linalg.eigvalsh(choice.laplacian(pairs, weights))[1]), 0.0)
    return FiedlerBound(choice.value(factor, prices), mu2, pairs, weights, factor, prices)


def _mixed(choice: _Choice, best: FiedlerBound, found: FiedlerBound) -> FiedlerBound:
    """Take the best certificate between two, as each of them knows only some candidates."""
    matrices = [one.factor - one.factor.mean(axis=0) for one in (best, found)]
    Z, other = (F @ F.T / np.vdot(F, F) for F in matrices)
    values = [best, found]
    for part in MIXTURES:
        factor = cholesky((1 - part) * Z + part * other + 1 / choice.nodes)
        prices = (1 - part) * best.prices + part * found.prices
        values.append(replace(found, value=choice.value(factor, prices), factor=factor, prices=prices))
    least = min(values, key=lambda one: one.value)
    return replace(found, value=least.value, factor=least.factor, prices=least.prices)


def _advance(path: CentralPath, tolerance: float, deadline: float) -> None:
    for _ in range(MOST_ITERATIONS):
        gap = path.bound - path.t
        if gap <= tolerance * abs(path.bound) or time.monotonic() >= deadline or not path.advance(gap / 100):
            break


def _restricted(choice: _Choice, chosen: IntArray) -> tuple[ConnectivityProblem, IntArray]:
    """State the problem with these candidates, and give the nodes whose limits are the last ones."""
    base = int(len(choice.edges) > 0)
    count = base + len(chosen)
    groups = np.concatenate((np.zeros(len(choice.edges), dtype=np.int64), base + np.arange(len(chosen))))
    total = np.ones((1, count))
    total[0, :base] = 0
    incidence = sparse.csr_array(
        (np.ones(2 * len(chosen)), (chosen.T.reshape(-1), base + np.tile(np.arange(len(chosen)), 2))),
        shape=(choice.nodes, count),
    )
    limited = np.flatnonzero(np.asarray(incidence.sum(axis=1)).ravel() > choice.room)
    rows: list[Any] = [sparse.eye_array(count), sparse.csr_array(total), incidence[limited]]
    limits = sparse.csr_array(sparse.vstack(rows))
    bounds = np.concatenate((np.ones(count), [float(choice.k)], choice.room[limited].astype(np.float64)))
    return ConnectivityProblem(choice.nodes, np.concatenate((choice.edges, chosen)), limits, bounds, groups), limited


def _first_columns(choice: _Choice, everything: sparse.csr_array, deadline: float) -> tuple[IntArray, FloatArray]:
    """Take all candidates, or of many the best by a method of first order, with its certificate."""
    if len(choice.pairs) <= COLUMNS:
        return choice.pairs, np.eye(choice.nodes)
    base = choice.laplacian(choice.pairs[:0], np.zeros(0))
    weights, Z = soft_choice(base, choice.pairs, choice.k, choice.room, iterations=FIRST, deadline=deadline)
    factor = cholesky(centred(Z) + 1 / choice.nodes + TINY * np.eye(choice.nodes))
    tree = np.argwhere(breadth_first_tree(everything, 0, directed=False).toarray())
    code = np.array([choice.nodes, 1])
    taken = np.isin(choice.pairs @ code, np.sort(tree, axis=1) @ code)  # to connect all nodes
    taken[np.argsort(-(weights + SHARE * choice.worth(factor, choice.pairs)))[:COLUMNS]] = True
    return choice.pairs[taken], factor
