"""Optimal weights as a semidefinite program in cvxpy's terms, written so that solvers are quick.

Minimise s such that

    (s - 1) (I - J) + L(w) and (s + 1) I - L(w) are positive semidefinite,

and the limits of the weights hold. How this is written decides on the time as much as the solver does. J is in one of
the two matrices only, as ``(s - 1) I + J + L(w)``, so that the other one is as sparse as the graph; and L(w) is a
sparse matrix times w. A solver that makes use of sparsity gets the first matrix without J, too: as B^T (...) B, where
the columns of B are the differences of the two ends of each edge of a spanning tree. They are a basis of the complement
of the constant vector, and a sparse one, while orthonormal ones are dense.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.csgraph import breadth_first_order

from topokit.adjacency import adjacency_of_edges
from topokit.errors import InputError
from topokit.matrix import FloatArray, IntArray
from topokit.optimal.problem import WeightProblem

__all__ = ["Limits", "Program", "cvxpy_module", "sdp_program"]

REPAIRS = 20  # steps into the limits
EXACT = 1e-15
MISSED = 1e-12  # what a limit may be missed by in the end


def cvxpy_module() -> Any:
    """Give cvxpy, which takes a second to import.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        return import_module("cvxpy")
    except ImportError:
        raise InputError(
            "SDP weights need cvxpy: pip install 'topokit[sdp]'; the interior-point method needs nothing"
        ) from None


@dataclass(frozen=True)
class Limits:
    """What the weights x of K groups of edges may be.

    Attributes
    ----------
    problem : WeightProblem
        Undirected.
    groups : ndarray of int64, shape (m,)
        The group of each edge.
    sums : sparse array, shape (n, K)
        Takes x to the sums at the nodes.
    low, high : ndarray of float64, shape (K,)
    """

    problem: WeightProblem
    groups: IntArray
    sums: sparse.csr_array
    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, problem: WeightProblem, groups: IntArray) -> Limits:
        """Collect the limits of the edges of each group."""
        count = int(groups.max()) + 1
        high = np.full(count, np.inf)
        if problem.upper is not None:
            np.minimum.at(high, groups, problem.upper)
        entries = np.ones(2 * len(groups)), (problem.edges.T.ravel(), np.tile(groups, 2))
        sums = sparse.csr_array(entries, shape=(problem.nodes, count))
        return cls(problem, groups, sums, np.full(count, 0.0 if problem.nonnegative else -np.inf), high)

    def weights(self, x: FloatArray | None) -> FloatArray | None:
        """Give the weights of the edges, moved into their limits.

        Parameters
        ----------
        x : ndarray, shape (K,), or None
            That may miss the limits by little.

        Returns
        -------
        ndarray of float64, shape (m,), or None
            None if x is no numbers, or misses a limit by much.
        """
        if x is None or not np.isfinite(x).all():
            return None
        x = np.clip(x, self.low, self.high)
        if self.problem.self_weights == "nonnegative":
            x = self._scaled(x)
        if self.problem.self_weights == "zero":
            x = self._balanced(x)
        weights = np.asarray(x[self.groups], dtype=np.float64)
        return weights if self.problem.excess(weights) < MISSED else None

    def _scaled(self, x: FloatArray) -> FloatArray:
        """Divide by the larger sum at the ends, of all edges of a group: no sum stays above 1."""
        over = np.maximum(self.sums @ x, 1.0)
        u, v = self.problem.edges.T
        most = np.ones(x.size)
        np.maximum.at(most, self.groups, np.maximum(over[u], over[v]))
        return np.asarray(x / most, dtype=np.float64)

    def _balanced(self, x: FloatArray) -> FloatArray:
        """Bring all sums to 1. What is nearer to its limit moves less, and what is there already stays."""
        for _ in range(REPAIRS):
            missing = 1 - self.sums @ x
            if np.abs(missing).max() < EXACT:
                break
            room = np.minimum(np.minimum(x - self.low, self.high - x), 1.0)
            moved = self.sums @ sparse.diags_array(room)
            prices = linalg.lstsq((moved @ self.sums.T).toarray(), missing, check_finite=False)[0]
            x = np.clip(x + moved.T @ prices, self.low, self.high)
        return x


@dataclass(frozen=True)
class Program:
    """The program, and what is needed to read its variables.

    Attributes
    ----------
    program : cvxpy.Problem
    x : cvxpy.Variable
        Weights of the groups.
    matrices : tuple of cvxpy constraints
        The two matrices that are positive semidefinite.
    basis : sparse array, shape (n, n) or (n, n - 1)
        On which the first of them is given.
    at_nodes : cvxpy constraint, or None
        On the sums at the nodes.
    """

    program: Any
    x: Any
    matrices: tuple[Any, Any]
    basis: sparse.csr_array
    at_nodes: Any

    def duals(self) -> tuple[FloatArray, FloatArray]:
        """Give the dual matrices as n x n matrices without their constant parts; zeros where there are none."""
        first, second = (matrix.dual_value for matrix in self.matrices)
        nodes, order = self.basis.shape
        if first is None or second is None or not (np.isfinite(first).all() and np.isfinite(second).all()):
            return np.zeros((nodes, nodes)), np.zeros((nodes, nodes))
        first = np.reshape(first, (order, order))
        return _centred(self.basis @ first @ self.basis.T), _centred(np.reshape(second, (nodes, nodes)))

    def prices(self) -> FloatArray:
        """Give the prices of the nodes' sums, shape (n,)."""
        if self.at_nodes is None or self.at_nodes.dual_value is None:
            return np.zeros(self.basis.shape[0])
        return np.ravel(np.asarray(self.at_nodes.dual_value, dtype=np.float64))


def sdp_program(limits: Limits, *, sparse_basis: bool) -> Program:
    """State the program.

    Parameters
    ----------
    limits : Limits
        Of a problem with at least 2 nodes.
    sparse_basis : bool
        Whether to do without J in the first matrix.

    Raises
    ------
    InputError
        If cvxpy is not installed.
    """
    cp = cvxpy_module()
    problem = limits.problem
    basis = _tree_basis(problem) if sparse_basis else sparse.csr_array(sparse.eye_array(problem.nodes))
    nodes, order = basis.shape
    L = _laplacians(problem, limits.groups)
    x, s = cp.Variable(limits.high.size), cp.Variable()
    L_on_basis = sparse.kron(basis.T, basis.T, format="csr") @ L if order < nodes else L
    first = cp.reshape(L_on_basis @ x, (order, order), order="C") + (s - 1) * sparse.csr_array(basis.T @ basis)
    if order == nodes:
        first = first + np.full((nodes, nodes), 1 / nodes)
    second = (s + 1) * sparse.eye_array(nodes) - cp.reshape(L @ x, (nodes, nodes), order="C")
    matrices = first >> 0, second >> 0
    constraints = [*matrices]
    if problem.nonnegative:
        constraints.append(x >= 0)
    if (bounded := np.flatnonzero(np.isfinite(limits.high))).size:
        constraints.append(x[bounded] <= limits.high[bounded])
    at_nodes = None
    if problem.self_weights != "free":
        sums = limits.sums @ x
        at_nodes = sums <= 1 if problem.self_weights == "nonnegative" else sums == 1
        constraints.append(at_nodes)
    return Program(cp.Problem(cp.Minimize(s), constraints), x, matrices, basis, at_nodes)


def _centred(matrix: FloatArray) -> FloatArray:
    centred = matrix - matrix.mean(axis=0)
    return np.asarray(centred - centred.mean(axis=1)[:, None], dtype=np.float64)


def _laplacians(problem: WeightProblem, groups: IntArray) -> sparse.csr_array:
    """Give the matrix that takes the weights of groups to the n^2 entries of L."""
    u, v = problem.edges.T
    n, ones = problem.nodes, np.ones(2 * len(groups))
    rows = np.concatenate((u * n + u, v * n + v, u * n + v, v * n + u))
    entries = np.concatenate((ones, -ones)), (rows, np.tile(groups, 4))
    return sparse.csr_array(entries, shape=(n * n, int(groups.max()) + 1))


def _tree_basis(problem: WeightProblem) -> sparse.csr_array:
    """Give the incidence matrix of a spanning tree, shape (n, n - 1), as shallow as the graph allows."""
    root = int(np.argmax(problem.degrees()))
    order, parent = breadth_first_order(adjacency_of_edges(problem.nodes, problem.edges), root, directed=False)
    child, column = order[1:], np.arange(problem.nodes - 1)
    signs = np.repeat((1.0, -1.0), problem.nodes - 1)
    entries = signs, (np.concatenate((child, parent[child])), np.tile(column, 2))
    return sparse.csr_array(entries, shape=(problem.nodes, problem.nodes - 1))
