"""A²CiD²: the constants of a graph whose edges average at random times, and the parameters they lead to.

Every edge e fires as a Poisson process of rate lambda_e; the unit of time is that of one gradient. Two numbers describe
how well that connects the nodes: chi1 says how slowly the slowest direction averages, chi2 how much an edge is needed.
Plain averaging takes time proportional to chi1, A²CiD² to sqrt(chi1 chi2), where chi2 <= chi1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from topokit.errors import ConvergenceError, InputError
from topokit.kinds import Pairwise
from topokit.laplacian import weighted_laplacian
from topokit.matrix import FloatArray, Graph, IntArray
from topokit.weights.messages import require_connected

__all__ = ["AcidConstants", "acid_constants"]

DENSE_LIMIT = 1000  # nodes up to which dense decompositions cost less than a second
COLUMNS = 256  # of an inverse, solved for at once


@dataclass(frozen=True)
class AcidConstants:
    """Constants of a graph with rates, and the parameters of A²CiD² on it.

    Attributes
    ----------
    chi1 : float
        1 / mu_2 of the Laplacian of the rates.
    chi2 : float
        Half the largest effective resistance of an edge, the rates being conductances.
    eta : float
        Rate at which the two values of a node mix with each other: 1 / (2 sqrt(chi1 chi2)).
    alpha, alpha_tilde : float
        How far an averaging moves the value of a node, 1/2, and its other value, sqrt(chi1 / chi2) / 2.
    """

    chi1: float
    chi2: float
    eta: float
    alpha: float
    alpha_tilde: float


def acid_constants(nodes: int, edges: ArrayLike, rates: ArrayLike) -> AcidConstants:
    """Compute chi1 and chi2 of a graph with rates, and the parameters of A²CiD².

    Parameters
    ----------
    nodes : int
        Number of nodes n, at least 2.
    edges : array-like of int, shape (m, 2)
        Undirected edges, each once.
    rates : array-like, shape (m,)
        Expected averagings of each edge in one unit of time; positive numbers, or fractions.

    Returns
    -------
    AcidConstants

    Raises
    ------
    InputError
        If there are fewer than 2 nodes.
    ScheduleError
        If an edge is none, or a rate is not positive or missing.
    GraphError
        If the edges do not connect the nodes.
    ConvergenceError
        If the eigensolver (above 1,000 nodes) does not converge.

    Notes
    -----
    Up to 1,000 nodes by a dense eigendecomposition and inverse; above, by one sparse factorisation, with one solve for
    every node: for 10,000 nodes 8 seconds on a torus, most of a minute on a random graph of degree 4.

    References
    ----------
    .. [1] A. Nabli, E. Belilovsky, E. Oyallon, "A²CiD²: Accelerating Asynchronous Communication in Decentralized Deep
       Learning", NeurIPS 2023 (arXiv 2306.08289).

    Examples
    --------
    A ring of 16 nodes that each average once in a unit of time:

    >>> ring = [(i, (i + 1) % 16) for i in range(16)]
    >>> constants = acid_constants(16, ring, [0.5] * 16)
    >>> round(constants.chi1, 4), round(constants.chi2, 4), round(constants.alpha_tilde, 4)
    (13.1371, 0.9375, 1.8717)
    """
    if nodes < 2:
        raise InputError(f"the constants of A²CiD² need at least 2 nodes, got {nodes}")
    # The kind of schedule checks edges and rates.
    checked = Pairwise(nodes, list(np.asarray(edges)), list(np.asarray(rates)), seed=0)
    graph: Graph = nx.empty_graph(nodes)
    graph.add_edges_from(checked.edges.tolist())
    require_connected(graph)
    laplacian = weighted_laplacian(nodes, checked.edges, np.array([float(rate) for rate in checked.rates])).tocsc()
    mu2, resistance = (_dense if nodes <= DENSE_LIMIT else _sparse)(laplacian, checked.edges)
    chi1, chi2 = 1 / mu2, resistance / 2
    return AcidConstants(chi1, chi2, 1 / (2 * sqrt(chi1 * chi2)), 0.5, sqrt(chi1 / chi2) / 2)


def _dense(laplacian: sparse.csc_array, edges: IntArray) -> tuple[float, float]:
    """Give mu_2 and the largest effective resistance of an edge."""
    matrix = laplacian.toarray()
    grounded = np.linalg.inv(matrix[1:, 1:])
    inverse = np.pad(grounded, ((1, 0), (1, 0)))
    u, v = edges.T
    resistances = inverse[u, u] + inverse[v, v] - 2 * inverse[u, v]
    return float(np.linalg.eigvalsh(matrix)[1]), float(resistances.max())


def _sparse(laplacian: sparse.csc_array, edges: IntArray) -> tuple[float, float]:
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh, splu

    nodes = laplacian.shape[0]
    # Node 0 is grounded: what is left of the Laplacian is positive definite.
    factors: Any = splu(
        laplacian[1:, 1:], permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0, options={"SymmetricMode": True}
    )

    def pseudo_inverse(x: FloatArray) -> FloatArray:
        y = np.append(0, factors.solve((x.ravel() - x.mean())[1:]))
        return np.asarray(y - y.mean(), dtype=np.float64)

    start = np.random.default_rng(0).standard_normal(nodes)
    operator = LinearOperator((nodes, nodes), matvec=pseudo_inverse, dtype=np.float64)
    try:
        largest = eigsh(operator, k=1, which="LA", v0=start, return_eigenvectors=False)[0]
    except ArpackError as error:
        raise ConvergenceError(f"the eigensolver gave up on {nodes} nodes: {error}") from error
    return 1 / float(largest), _largest_resistance(factors, edges, nodes)


def _largest_resistance(factors: Any, edges: IntArray, nodes: int) -> float:
    """Solve for the columns of the grounded inverse, some at a time, and keep what belongs to edges."""
    own, across = np.zeros(nodes), np.zeros(len(edges))
    order = np.argsort(edges[:, 1], kind="stable")
    u, v = edges[order].T
    for first in range(1, nodes, COLUMNS):
        last = min(first + COLUMNS, nodes)
        unit = np.zeros((nodes - 1, last - first))
        unit[np.arange(first - 1, last - 1), np.arange(last - first)] = 1
        columns = np.pad(factors.solve(unit), ((1, 0), (0, 0)))
        own[first:last] = columns[np.arange(first, last), np.arange(last - first)]
        here = slice(*np.searchsorted(v, (first, last)))
        across[here] = columns[u[here], v[here] - first]
    return float((own[u] + own[v] - 2 * across).max())
