"""The Laplacian of a graph that is given by its edges, as schedules have them."""

from __future__ import annotations

from typing import Any

from scipy import sparse
from scipy.sparse import csgraph

from topokit.matrix import FloatArray, IntArray

__all__ = ["weighted_laplacian"]


def weighted_laplacian(nodes: int, edges: IntArray, weights: FloatArray) -> sparse.csr_array:
    """Give sum over the edges of weight_e (e_u - e_v) (e_u - e_v)^T.

    Parameters
    ----------
    nodes : int
        Number of nodes n.
    edges : ndarray of int64, shape (m, 2)
        Undirected edges, each once.
    weights : ndarray of float64, shape (m,)

    Returns
    -------
    sparse array, shape (n, n)

    Examples
    --------
    >>> import numpy as np
    >>> weighted_laplacian(3, np.array([[0, 1], [1, 2]]), np.array([1.0, 2.0])).toarray().tolist()
    [[1.0, -1.0, 0.0], [-1.0, 3.0, -2.0], [0.0, -2.0, 2.0]]
    """
    half = sparse.coo_array((weights, (edges[:, 0], edges[:, 1])), shape=(nodes, nodes))
    laplacian: Any = csgraph.laplacian(half + half.T)
    return sparse.csr_array(laplacian)
