"""The linear limits of a weight problem as slacks, and weights that keep all of them with room to spare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg, optimize, sparse

from topokit.errors import GraphError
from topokit.matrix import FloatArray, IntArray
from topokit.optimal.problem import WeightProblem

__all__ = ["LinearLimits", "linear_limits"]

ROOM = 0.1  # part of a bound that a start keeps away from it
FORCED = 1e-9  # room to the bounds, below which there is none
DEPENDENT = 1e-10


@dataclass(frozen=True)
class LinearLimits:
    """Slacks z = constant + slope x >= 0 and equations equal x = 1, for x the weights of K groups of edges.

    Attributes
    ----------
    slope : sparse array, shape (q, K)
    constant : ndarray, shape (q,)
    equal : ndarray, shape (p, K)
        Of full row rank; p = 0 where self weights need not be 0.
    freedom : ndarray, shape (K, K - p), or None
        Orthonormal columns that span what the equations leave free; None where there are no equations.
    equal_nodes : sparse array, shape (p, n)
        The nodes that have each equation, in equal shares that sum to 1: symmetric nodes have the same.
    node_slacks : slice
        Which of the slacks are the self weights of the nodes 0 to n - 1; empty if there are none.
    start : ndarray, shape (K,)
        Where all slacks are positive.
    """

    slope: sparse.csr_array
    constant: FloatArray
    equal: FloatArray
    freedom: FloatArray | None
    equal_nodes: sparse.csr_array
    node_slacks: slice
    start: FloatArray

    def slacks(self, x: FloatArray) -> FloatArray:
        """Give all slacks at x."""
        return np.asarray(self.constant + self.slope @ x, dtype=np.float64)


def linear_limits(problem: WeightProblem, groups: IntArray, start: FloatArray | None = None) -> LinearLimits:
    """State the limits in the weights of groups.

    Parameters
    ----------
    problem : WeightProblem
        Undirected.
    groups : ndarray of int64, shape (m,)
        The group of each edge; all edges of a group have one weight.
    start : ndarray, shape (K,), optional
        Weights to begin with, moved to where all slacks are positive.

    Raises
    ------
    GraphError
        If no weights keep the limits.

    Examples
    --------
    >>> import networkx as nx
    >>> from topokit.optimal.problem import weight_problem
    >>> limits = linear_limits(weight_problem(nx.path_graph(3), "fmmc"), np.array([0, 0]))
    >>> limits.slacks(np.array([0.25])).tolist()  # the weight itself, and what three nodes keep
    [0.25, 0.75, 0.5, 0.75]
    """
    count = int(groups.max(initial=-1)) + 1
    upper = np.full(count, np.inf)
    if problem.upper is not None:
        np.minimum.at(upper, groups, problem.upper)
    sums = _node_sums(problem, groups, count)
    rows: list[sparse.csr_array] = []
    constants: list[FloatArray] = []
    if problem.nonnegative:
        rows.append(sparse.eye_array(count, format="csr"))
        constants.append(np.zeros(count))
    bounded = np.flatnonzero(np.isfinite(upper))
    if bounded.size:
        rows.append(sparse.csr_array(-sparse.eye_array(count, format="csr")[bounded]))
        constants.append(upper[bounded])
    before = sum(row.shape[0] for row in rows)
    node_slacks = slice(before, before)
    if problem.self_weights == "nonnegative":
        rows.append(sparse.csr_array(-sums))
        constants.append(np.ones(problem.nodes))
        node_slacks = slice(before, before + problem.nodes)
    slope = sparse.csr_array(sparse.vstack(rows)) if rows else sparse.csr_array((0, count))
    constant = np.concatenate(constants) if constants else np.zeros(0)
    if problem.self_weights == "zero":
        inside = _centre_of_equations(problem, sums, upper)
        rows_kept = _independent_rows(sums)
        equal, equal_nodes = sums[rows_kept].toarray(), _sharing(sums, rows_kept)
        freedom = linalg.null_space(equal)
    else:
        inside = _inside(problem, groups, count, upper, start)
        equal, freedom, equal_nodes = np.zeros((0, count)), None, sparse.csr_array((0, problem.nodes))
    return LinearLimits(slope, constant, equal, freedom, equal_nodes, node_slacks, inside)


def _node_sums(problem: WeightProblem, groups: IntArray, count: int) -> sparse.csr_array:
    """Give the matrix that takes weights of groups to the sums at the nodes."""
    u, v = problem.edges.T
    ones = np.ones(2 * len(groups))
    entries = (ones, (np.concatenate((u, v)), np.concatenate((groups, groups))))
    matrix = sparse.csr_array(entries, shape=(problem.nodes, count))
    matrix.sum_duplicates()
    return matrix


def _inside(
    problem: WeightProblem, groups: IntArray, count: int, upper: FloatArray, start: FloatArray | None
) -> FloatArray:
    degree = problem.degrees()
    u, v = problem.edges.T
    safe = np.full(count, np.inf)  # Metropolis-Hastings weights keep a part at every node
    np.minimum.at(safe, groups, 1 / (1.0 + np.maximum(degree[u], degree[v])))
    x = safe if start is None else start.copy()
    if problem.nonnegative:
        x = np.maximum(x, ROOM * safe)
    below = (1 - ROOM) * upper if problem.nonnegative else np.minimum(upper, upper - ROOM * safe)
    x = np.minimum(x, below)
    if problem.self_weights == "nonnegative" and float(problem.node_sums(x[groups]).max(initial=0)) > 1 - ROOM / 10:
        x = (1 - ROOM) * x + ROOM * np.minimum(safe, (1 - ROOM) * upper)
    return x


def _independent_rows(sums: sparse.csr_array) -> IntArray:
    """Find a largest set of independent rows: symmetric nodes repeat an equation."""
    dense = sums.toarray()
    _, triangle, order = linalg.qr(dense.T, mode="economic", pivoting=True)
    size = np.abs(np.diag(triangle))
    return np.sort(order[: int((size > DEPENDENT * size[0]).sum())]).astype(np.int64)


def _sharing(sums: sparse.csr_array, rows: IntArray) -> sparse.csr_array:
    """Find the nodes whose equation is that of each given row."""
    dense = sums.toarray()
    _, classes = np.unique(dense, axis=0, return_inverse=True)
    classes = classes.ravel()
    same = classes[rows][:, None] == classes[None, :]
    return sparse.csr_array(same / same.sum(axis=1, keepdims=True))


def _centre_of_equations(problem: WeightProblem, sums: sparse.csr_array, upper: FloatArray) -> FloatArray:
    """Find weights with all node sums 1, as far as possible from their bounds."""
    nodes, count = sums.shape
    eye = sparse.eye_array(count, format="csr")
    bounded = np.flatnonzero(np.isfinite(upper))
    # Maximise t with sums x = 1, x >= t where weights may not be negative, x <= upper - t.
    below: list[Any] = [-eye] if problem.nonnegative else []
    below += [eye[bounded]] if bounded.size else []
    if not below:
        return np.asarray(sparse.linalg.lsqr(sums, np.ones(nodes), atol=1e-14, btol=1e-14)[0], dtype=np.float64)
    limits = np.concatenate((np.zeros(count if problem.nonnegative else 0), upper[bounded]))
    at_most: Any = sparse.block_array([[sparse.vstack(below), sparse.csr_array(np.ones((limits.size, 1)))]])
    equal: Any = sparse.block_array([[sums, sparse.csr_array((nodes, 1))]])
    found: Any = optimize.linprog(
        np.append(np.zeros(count), -1.0),
        A_ub=at_most,
        b_ub=limits,
        A_eq=equal,
        b_eq=np.ones(nodes),
        bounds=[(None, None)] * count + [(-1.0, 1.0)],
        method="highs",
    )
    if found.status != 0 or found.x[-1] < FORCED:
        raise GraphError(
            "without self-loops, no weights between their bounds sum to 1 at every node of this graph: raise the "
            "bounds, or allow self-loops"
        )
    return np.asarray(found.x[:-1], dtype=np.float64)
