"""Inner products of the Laplacians of groups of edges with products of matrices: a linear system's entries."""

from __future__ import annotations

import numpy as np

from topokit.matrix import FloatArray
from topokit.optimal.connectivity_problem import ConnectivityProblem

__all__ = ["by_products", "congruences", "worth_of_product"]

BLOCK, TIED_BLOCK = 128, 32  # edges of which numbers are gathered at a time
GATHERED = 70  # multiplications of a matrix product that take as long as one number gathered


def worth_of_product(problem: ConnectivityProblem, X: FloatArray, Y: FloatArray) -> FloatArray:
    """Give <X^T Y^T, L_k> of each group.

    Parameters
    ----------
    problem : ConnectivityProblem
        Of n nodes and K groups of edges.
    X, Y : ndarray of float64, shape (n, n)
        By rows.

    Returns
    -------
    ndarray of float64, shape (K,)

    Examples
    --------
    >>> from scipy import sparse
    >>> problem = ConnectivityProblem(2, np.array([[0, 1]]), sparse.csr_array([[1.0]]), np.array([1.0]), np.array([0]))
    >>> worth_of_product(problem, np.eye(2), np.eye(2)).tolist()
    [2.0]
    """
    values = np.empty(len(problem.edges))
    for first in range(0, values.size, BLOCK):
        u, v = problem.edges[first : first + BLOCK].T
        values[first : first + BLOCK] = np.einsum("ij,ij->i", X[u] - X[v], Y[u] - Y[v])
    return problem.sums(values)


def congruences(problem: ConnectivityProblem, X: FloatArray, Y: FloatArray) -> FloatArray:
    """Give <L_k, X L_l Y> of each pair of groups.

    Parameters
    ----------
    problem : ConnectivityProblem
        Of n nodes and K groups of edges.
    X, Y : ndarray of float64, shape (n, n)
        Symmetric.

    Returns
    -------
    ndarray of float64, shape (K, K)

    Notes
    -----
    Each is the sum of (a_e^T X a_f) (a_e^T Y a_f) over the edges e of k and f of l. Where groups are large and edges
    many, products of matrices are faster.

    Examples
    --------
    >>> from scipy import sparse
    >>> problem = ConnectivityProblem(2, np.array([[0, 1]]), sparse.csr_array([[1.0]]), np.array([1.0]), np.array([0]))
    >>> congruences(problem, np.eye(2), np.eye(2)).tolist()
    [[4.0]]
    """
    n, m, K = problem.nodes, len(problem.edges), problem.count
    if m > K and n * n < GATHERED * m:
        return by_products(problem, X, Y)
    order = np.argsort(problem.groups, kind="stable")
    (u, v), of_edge = problem.edges[order].T, problem.groups[order]
    starts = np.searchsorted(of_edge, np.arange(K))
    half = np.zeros((K, K))
    size = BLOCK if m == K else TIED_BLOCK
    for first in range(0, m, size):
        part = slice(first, min(first + size, m))
        # Columns for a block of edges; rows are gathered from them, which copies whole lines of memory.
        left = np.ascontiguousarray((X[u[part]] - X[v[part]]).T)
        right = np.ascontiguousarray((Y[u[part]] - Y[v[part]]).T)
        # By symmetry only pairs with later edges are needed, and half of those within the block.
        lowest = of_edge[first]
        block = left[u[first:]] - left[v[first:]]
        block *= right[u[first:]] - right[v[first:]]
        block[: part.stop - first] /= 2
        if m == K:
            half[first:, part] = block
            continue
        within = np.flatnonzero(np.diff(of_edge[part], prepend=-1))
        block = np.add.reduceat(block, np.maximum(starts[lowest:] - first, 0), axis=0)
        half[lowest:, of_edge[part][within]] += np.add.reduceat(block, within, axis=1)
    return half + half.T


def by_products(problem: ConnectivityProblem, X: FloatArray, Y: FloatArray) -> FloatArray:
    """Give the same as `congruences`, by n^2 m multiplications instead of m^2.

    Examples
    --------
    >>> from scipy import sparse
    >>> problem = ConnectivityProblem(2, np.array([[0, 1]]), sparse.csr_array([[1.0]]), np.array([1.0]), np.array([0]))
    >>> by_products(problem, np.eye(2), np.eye(2)).tolist()
    [[4.0]]
    """
    result = np.empty((problem.count, problem.count))
    u, v = problem.edges.T
    for k in range(problem.count):
        mine = problem.groups == k
        T = (X[:, u[mine]] - X[:, v[mine]]) @ (Y[u[mine]] - Y[v[mine]])
        result[k] = problem.sums(T[u, u] + T[v, v] - T[u, v] - T[v, u])
    return (result + result.T) / 2
