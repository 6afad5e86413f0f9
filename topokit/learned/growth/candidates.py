"""Which edges may be added to a graph: pairs that are allowed, and how many each node may still have."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from topokit.errors import InputError
from topokit.matrix import IntArray

__all__ = ["BoolArray", "open_pairs", "room_of_nodes"]

BoolArray: TypeAlias = "NDArray[np.bool_]"


def open_pairs(edges: IntArray, nodes: int, allowed: Any = None) -> BoolArray:
    """Say which edges may be added.

    Parameters
    ----------
    edges : ndarray of int64, shape (m, 2)
        Those that there are, each once.
    nodes : int
        n.
    allowed : ndarray of bool, shape (n, n), or of int, shape (p, 2), optional
        Pairs that may become edges, as a mask or one by one; all by default.

    Returns
    -------
    ndarray of bool, shape (n, n)
        Symmetric.

    Raises
    ------
    InputError
        If an edge or an allowed pair is none, an edge is given twice, or the mask does not have the shape of a matrix
        of the nodes.

    Examples
    --------
    >>> open_pairs(np.array([[0, 1]]), 3).astype(int).tolist()
    [[0, 0, 1], [0, 0, 1], [1, 1, 0]]
    >>> open_pairs(np.array([[0, 1]]), 3, [(0, 1), (2, 0)]).astype(int).tolist()
    [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    """
    if nodes < 2:
        raise InputError(f"edges join two of at least 2 nodes, got {nodes}")
    u, v = _once(_pairs(edges, nodes, "an edge")).T
    if allowed is None:
        mask = np.ones((nodes, nodes), dtype=np.bool_)
    elif np.asarray(allowed).dtype == np.bool_:
        given = np.asarray(allowed)
        if given.shape != (nodes, nodes):
            raise InputError(f"the mask of allowed edges has the shape {given.shape}; expected ({nodes}, {nodes})")
        mask = given | given.T
    else:
        mask = np.zeros((nodes, nodes), dtype=np.bool_)
        a, b = _pairs(allowed, nodes, "an allowed edge").T
        mask[a, b] = mask[b, a] = True
    mask[u, v] = mask[v, u] = False
    np.fill_diagonal(mask, False)
    return mask


def room_of_nodes(edges: IntArray, nodes: int, max_degree: Any = None) -> IntArray:
    """Give how many edges each node may still get.

    Parameters
    ----------
    edges : ndarray of int64, shape (m, 2)
        Those that there are.
    nodes : int
        n.
    max_degree : int or ndarray of int, shape (n,), optional
        Largest degree, of all nodes or of each; n - 1 by default.

    Returns
    -------
    ndarray of int64, shape (n,)

    Raises
    ------
    InputError
        If a node has more edges than it may have already, or there is not one limit for each node.

    Examples
    --------
    >>> room_of_nodes(np.array([[0, 1]]), 3, 2).tolist()
    [1, 1, 2]
    """
    degree = np.bincount(np.asarray(edges, dtype=np.int64).reshape(-1), minlength=nodes)
    try:
        most = np.array(np.broadcast_to(nodes - 1 if max_degree is None else max_degree, (nodes,)), dtype=np.int64)
    except (TypeError, ValueError):
        raise InputError(f"the largest degree is one number, or one for each of the {nodes} nodes") from None
    over = np.flatnonzero(degree > most)
    if over.size:
        node = int(over[0])
        raise InputError(f"node {node} has {degree[node]} edges already, more than the {most[node]} that it may have")
    return np.asarray(most - degree, dtype=np.int64)


def _once(edges: IntArray) -> IntArray:
    different, count = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    if (count > 1).any():
        u, v = different[count > 1][0].tolist()
        raise InputError(f"the edge {u}-{v} is given {count[count > 1][0]} times; expected each edge once")
    return edges


def _pairs(pairs: Any, nodes: int, what: str) -> IntArray:
    array = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    wrong = (array < 0).any(axis=1) | (array >= nodes).any(axis=1) | (array[:, 0] == array[:, 1])
    if wrong.any():
        u, v = array[wrong][0].tolist()
        raise InputError(f"{what} is {u}-{v}; expected two different nodes from 0 to {nodes - 1}")
    return array
