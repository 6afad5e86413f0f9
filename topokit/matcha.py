"""MATCHA: matchings of a graph that are active with chosen probabilities, so that a round costs a part of the graph.

A graph is decomposed into matchings, whose exchanges can all happen at the same time. Given how many of them may be
active on average (the budget), their probabilities are chosen such that the expected graph is connected best, and then
the mixing weight such that a round contracts best in expectation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, log10
from typing import Any

import networkx as nx
import numpy as np
from scipy import optimize, sparse

from topokit.edge_colouring import decompose
from topokit.errors import ConvergenceError, InputError
from topokit.kinds import Matchings
from topokit.matrix import FloatArray, Graph, IntArray
from topokit.optimal.connectivity import connectivity_remark, maximal_connectivity
from topokit.optimal.connectivity_problem import ConnectivityProblem
from topokit.weights.messages import require_connected

__all__ = ["Activation", "activation_probabilities", "decompose", "matcha_rounds", "mixing_weight"]

TOLERANCE = 1e-8  # on the optimum, relative to it; nearer to it, rounding errors grow in what is the centre
ACCEPTED = 1e-4  # the same, where rounding errors allow no better
ROUNDING = 1e-13  # on eigenvalues, relative to the largest degree
DECIMALS = 6  # of the probabilities and the weight of a schedule


@dataclass(frozen=True)
class Activation:
    """Activation probabilities of matchings, with a proof of how good they are.

    Attributes
    ----------
    probabilities : ndarray of float64, shape (M,)
        One for each matching.
    mu2 : float
        Second smallest eigenvalue of the expected Laplacian sum_j p_j L_j.
    bound : float
        No probabilities within the budget reach more than this.
    """

    probabilities: FloatArray
    mu2: float
    bound: float


class _Laplacians:
    """The Laplacians of matchings, as one list of edges."""

    def __init__(self, nodes: int, matchings: Iterable[Any]) -> None:
        if nodes < 2:
            raise InputError(f"matchings need at least 2 nodes, got {nodes}")
        # The kind of schedule checks that they are matchings.
        listed = [list(edges) for edges in matchings]
        self.matchings = Matchings(nodes, listed, [1] * len(listed), 1, seed=0).matchings
        self.nodes, self.count = nodes, len(listed)
        self.edges: IntArray = np.concatenate(self.matchings)
        self.of_edge = np.repeat(np.arange(self.count), [len(edges) for edges in self.matchings])

    def require_connected(self, probabilities: FloatArray) -> None:
        graph: Graph = nx.empty_graph(self.nodes)
        graph.add_edges_from(self.edges[probabilities[self.of_edge] > 0].tolist())
        require_connected(graph)

    def mean(self, probabilities: FloatArray) -> FloatArray:
        """Give sum_j p_j L_j."""
        L = np.zeros((self.nodes, self.nodes))
        u, v = self.edges.T
        L[u, v] = L[v, u] = -probabilities[self.of_edge]
        L[np.diag_indices(self.nodes)] = -L.sum(axis=1)
        return L


def activation_probabilities(matchings: Sequence[Any], nodes: int, budget: float) -> Activation:
    """Choose activation probabilities p that maximise mu_2(sum_j p_j L_j) subject to sum_j p_j <= budget * M.

    Parameters
    ----------
    matchings : sequence of M array-likes of shape (m, 2)
        The edges of each matching.
    nodes : int
        Number of nodes n.
    budget : float
        Part of the matchings that may be active on average, more than 0 and at most 1.

    Returns
    -------
    Activation
        Where several choices are optimal, the one in their centre: matchings that a symmetry of the problem
        interchanges get the same probability.

    Raises
    ------
    InputError
        If the budget is out of range, or there are fewer than 2 nodes.
    ScheduleError
        If a matching is none.
    GraphError
        If all matchings together do not connect the nodes.
    ConvergenceError
        If rounding errors keep the solution from being proved optimal to a relative 1e-4 (graphs that are nearly
        disconnected).

    Notes
    -----
    A concave problem, solved by `topokit.optimal.connectivity.maximal_connectivity`, which also gives the bound: half
    a second for 300 nodes, some ten seconds for 1,000.

    References
    ----------
    .. [1] J. Wang, A. K. Sahu, Z. Yang, G. Joshi, S. Kar, "MATCHA: Speeding Up Decentralized SGD via Matching
       Decomposition Sampling", 2019 (arXiv 1905.09435).

    Examples
    --------
    A triangle with a tail: the edge opposite to the tail brings least.

    >>> best = activation_probabilities([[(0, 1), (2, 3)], [(0, 2)], [(1, 2)]], nodes=4, budget=0.5)
    >>> best.probabilities.round(4).tolist(), round(best.mu2, 4)
    ([0.6818, 0.4091, 0.4091], 0.5455)
    """
    if not 0 < budget <= 1:
        raise InputError(f"the budget must be more than 0 and at most 1 (all matchings active), got {budget}")
    laplacians = _Laplacians(nodes, matchings)
    everything = np.ones(laplacians.count)
    laplacians.require_connected(everything)
    if budget == 1:
        # No eigenvalue falls when a probability rises.
        mu2 = float(np.linalg.eigvalsh(laplacians.mean(everything))[1])
        return Activation(everything, mu2, mu2)
    limits = sparse.csr_array(np.vstack((np.eye(laplacians.count), everything)))
    problem = ConnectivityProblem(
        nodes, laplacians.edges, limits, np.append(everything, budget * laplacians.count), laplacians.of_edge
    )
    best = maximal_connectivity(problem, tolerance=TOLERANCE)
    if best.bound - best.mu2 > ACCEPTED * best.mu2 + ROUNDING * float(np.bincount(laplacians.edges.ravel()).max()):
        raise ConvergenceError(
            f"activation probabilities were found that reach mu_2 = {best.mu2:.6g}, but rounding errors leave open "
            f"whether others reach {best.bound:.6g}; try another budget"
        )
    return Activation(best.values, best.mu2, best.bound)


def mixing_weight(matchings: Sequence[Any], nodes: int, probabilities: Sequence[float]) -> tuple[float, float]:
    """Choose the mixing weight alpha of W = I - alpha sum_j B_j L_j that minimises rho = ||E[W^T W] - J||_2.

    Parameters
    ----------
    matchings : sequence of M array-likes of shape (m, 2)
        The edges of each matching.
    nodes : int
        Number of nodes n.
    probabilities : sequence of M floats
        B_j = 1 with probability p_j, independently.

    Returns
    -------
    weight : float
        alpha; with all probabilities 1 it is 2/(mu_2 + mu_n).
    rho : float
        The factor by which a round shrinks the expected squared distance to the mean at least.

    Raises
    ------
    ScheduleError
        If a matching is none, or a probability is missing or out of range.
    GraphError
        If the matchings that can be active do not connect the nodes.

    Notes
    -----
    With Lbar = sum_j p_j L_j and Ltilde = sum_j p_j (1 - p_j) L_j, independence and L_j^2 = 2 L_j give
    E[W^T W] = I - 2 alpha Lbar + alpha^2 (Lbar^2 + 2 Ltilde), whose largest eigenvalue is convex in alpha: the sign of
    its derivative along the eigenvector tells on which side the minimum is.

    Examples
    --------
    >>> weight, rho = mixing_weight([[(0, 1), (2, 3)], [(1, 2)]], nodes=4, probabilities=[0.4, 0.6])
    >>> round(weight, 4), round(rho, 4)
    (0.5862, 0.8093)
    """
    laplacians = _Laplacians(nodes, matchings)
    # The kind of schedule checks the probabilities.
    p = np.array([float(p) for p in Matchings(nodes, laplacians.matchings, probabilities, 1, seed=0).probabilities])
    laplacians.require_connected(p)
    mean = laplacians.mean(p)
    square = mean @ mean + 2 * laplacians.mean(p * (1 - p))
    eye = np.eye(nodes) - 1 / nodes

    def slowest(alpha: float) -> tuple[float, FloatArray]:
        expected = eye - 2 * alpha * mean + alpha**2 * square
        values, vectors = np.linalg.eigh(expected)
        return float(values[-1]), vectors[:, -1]

    def slope(alpha: float) -> float:
        x = slowest(alpha)[1]
        return float(alpha * (x @ square @ x) - x @ mean @ x)

    # Up to 1/(mu_n + 2) every direction still gains; at 2/mu_n W would not even contract if it always were its mean.
    largest = float(np.linalg.eigvalsh(mean)[-1])
    weight = float(optimize.brentq(slope, 0.5 / (largest + 2), 2 / largest, xtol=1e-15))
    return weight, max(slowest(weight)[0], 0.0)


def matcha_rounds(matchings: Sequence[Any], nodes: int, budget: float, seed: int = 0) -> Matchings:
    """Make the rounds of MATCHA from matchings: probabilities within the budget, then the mixing weight for them.

    Both are rounded, to six decimals (of the largest probability) and to six digits: the same schedule then comes out
    on machines whose last digits differ. Each probability may thereby be off by 5e-7, and the budget be missed by as
    much.

    Parameters
    ----------
    matchings : sequence of M array-likes of shape (m, 2)
        The edges of each matching, from `decompose` or of your own.
    nodes : int
        Number of nodes n.
    budget : float
        Part of the matchings that are active on average, more than 0 and at most 1.
    seed : int, default 0
        Decides which matchings are active in which round.

    Returns
    -------
    Matchings

    Raises
    ------
    InputError
        If the budget or the seed is out of range.
    ScheduleError
        If a matching is none.
    GraphError
        If all matchings together do not connect the nodes.

    Examples
    --------
    >>> kind = matcha_rounds(decompose(nx.path_graph(4)), nodes=4, budget=0.5)
    >>> kind.probabilities, kind.weight
    ((0.5, 0.5), 0.666667)
    """
    found = activation_probabilities(matchings, nodes, budget)
    p = found.probabilities
    p = p.round(DECIMALS - ceil(log10(p.max())))
    weight, _ = mixing_weight(matchings, nodes, p.tolist())
    kind = Matchings(nodes, matchings, p.tolist(), float(f"{weight:.{DECIMALS}g}"), seed)
    kind.remarks = connectivity_remark(found.mu2, found.bound)
    return kind
