"""Graphs as arrays of edges and as sparse adjacency matrices, which scale to millions of nodes, beside networkx."""

from __future__ import annotations

from typing import Any, TypeAlias

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from topokit.errors import GraphError
from topokit.matrix import Graph, IntArray

__all__ = [
    "GraphLike",
    "SparseGraph",
    "adjacency_of_edges",
    "asymmetric_pair",
    "graph_of_edges",
    "pattern_of",
    "reached_from",
    "sorted_edges",
]

SparseGraph: TypeAlias = "sparse.sparray | sparse.spmatrix"
GraphLike: TypeAlias = "Graph | sparse.sparray | sparse.spmatrix"


def sorted_edges(nodes: int, u: IntArray, v: IntArray) -> IntArray:
    """Give undirected edges with the smaller node first, sorted.

    Parameters
    ----------
    nodes : int
        Number of nodes; they are numbered 0 to nodes - 1.
    u, v : ndarray of int64, shape (m,)
        The two ends of each edge, in any order.

    Returns
    -------
    ndarray of int64, shape (m, 2)

    Examples
    --------
    >>> sorted_edges(4, np.array([3, 1]), np.array([2, 0])).tolist()
    [[0, 1], [2, 3]]
    """
    # Below 2^31 nodes, a pair is one number of 63 bits: one sort, instead of one for each end.
    code = np.sort(np.minimum(u, v) * nodes + np.maximum(u, v))
    return np.stack(np.divmod(code, nodes), axis=1)


def graph_of_edges(nodes: int, edges: IntArray, *, directed: bool = False) -> Graph:
    """Make a networkx graph of edges, each given once.

    Parameters
    ----------
    nodes : int
        Number of nodes; they are numbered 0 to nodes - 1.
    edges : ndarray of int64, shape (m, 2)
        Of a directed graph, (u, v) is the edge u -> v.
    directed : bool, default False

    Examples
    --------
    >>> list(graph_of_edges(3, np.array([[0, 2]])).edges)
    [(0, 2)]
    """
    graph: Graph = nx.DiGraph() if directed else nx.Graph()
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from(edges.tolist())
    return graph


def adjacency_of_edges(nodes: int, edges: IntArray, *, directed: bool = False) -> sparse.csr_array:
    """Make the adjacency matrix of edges, each given once: A[u, v] = 1 if u sends to v.

    Parameters
    ----------
    nodes : int
        Number of nodes; they are numbered 0 to nodes - 1.
    edges : ndarray of int64, shape (m, 2)
        Of a directed graph, (u, v) is the edge u -> v.
    directed : bool, default False

    Returns
    -------
    sparse array of int64, shape (nodes, nodes)
        Symmetric unless the graph is directed.

    Examples
    --------
    >>> adjacency_of_edges(3, np.array([[0, 2]])).toarray().tolist()
    [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    """
    # SciPy keeps the type of indices, and its graph algorithms convert what is not 32 bits wide, at every call.
    u, v = edges.astype(np.int32 if nodes < 2**31 else np.int64).T
    rows, columns = (u, v) if directed else (np.concatenate((u, v)), np.concatenate((v, u)))
    matrix = sparse.csr_array((np.ones(rows.size, dtype=np.int64), (rows, columns)), shape=(nodes, nodes))
    matrix.sort_indices()
    return matrix


def pattern_of(graph: SparseGraph) -> sparse.csr_array:
    """Give a graph's adjacency matrix in a canonical form: CSR, sorted, ones where the entry is not 0.

    Raises
    ------
    GraphError
        If the matrix is not square.

    Examples
    --------
    >>> pattern_of(sparse.coo_array(([2.0, 0.0], ([0, 1], [1, 0])))).toarray().tolist()
    [[0, 1], [0, 0]]
    """
    entries: Any = graph
    if len(entries.shape) != 2 or entries.shape[0] != entries.shape[1]:
        raise GraphError(f"an adjacency matrix is square, got shape {entries.shape}")
    matrix = sparse.csr_array(entries)
    if not matrix.has_canonical_format or (matrix.data == 0).any():
        matrix = matrix.copy()
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
    width = np.int32 if max(matrix.nnz, *matrix.shape) < 2**31 else np.int64
    ones = np.ones(matrix.nnz, dtype=np.int64)
    return sparse.csr_array((ones, matrix.indices.astype(width), matrix.indptr.astype(width)), shape=matrix.shape)


def asymmetric_pair(pattern: sparse.csr_array) -> tuple[int, int] | None:
    """Find the first edge u -> v of a canonical pattern without an edge v -> u.

    Examples
    --------
    >>> asymmetric_pair(pattern_of(sparse.coo_array(([1.0, 1.0, 1.0], ([0, 1, 2], [1, 0, 1]), ), shape=(3, 3))))
    (2, 1)
    """
    other = pattern.T.tocsr()
    other.sort_indices()
    if np.array_equal(pattern.indptr, other.indptr) and np.array_equal(pattern.indices, other.indices):
        return None
    single = sparse.csr_array(pattern - pattern.multiply(other))
    single.eliminate_zeros()
    if single.nnz == 0:
        return None
    row = int(np.flatnonzero(np.diff(single.indptr))[0])
    return row, int(single.indices[single.indptr[row] : single.indptr[row + 1]].min())


def reached_from(adjacency: sparse.csr_array, node: int) -> NDArray[np.bool_]:
    """Say of every node whether there is a path to it along the edges.

    Parameters
    ----------
    adjacency : sparse array, shape (n, n)
        A[u, v] is not 0 if there is an edge u -> v.
    node : int
        Where the paths start.

    Returns
    -------
    ndarray of bool, shape (n,)

    Examples
    --------
    >>> reached_from(adjacency_of_edges(3, np.array([[1, 2]]), directed=True), 1).tolist()
    [False, True, True]
    """
    from scipy.sparse.csgraph import breadth_first_order

    reached = np.zeros(adjacency.shape[0], dtype=np.bool_)
    reached[breadth_first_order(adjacency, node, directed=True, return_predecessors=False)] = True
    return reached
