"""Metropolis-Hastings weights in a graph that changes: a new edge also changes the weights of those at its ends."""

from __future__ import annotations

import numpy as np

from topokit.learned.moves import Moves, State
from topokit.matrix import FloatArray, IntArray

__all__ = ["by_degree", "changes_by_degree"]


def by_degree(degree: IntArray, pairs: IntArray) -> FloatArray:
    """Give 1/(1 + larger degree) of each pair of nodes.

    Parameters
    ----------
    degree : ndarray of int64, shape (n,)
    pairs : ndarray of int64, shape (..., 2)

    Examples
    --------
    >>> by_degree(np.array([1, 2, 1]), np.array([[0, 1], [1, 2]])).round(6)
    array([0.333333, 0.333333])
    """
    return np.asarray(1.0 / (1 + degree[pairs].max(axis=-1)))


def changes_by_degree(state: State, moves: Moves) -> tuple[IntArray, FloatArray]:
    """Give all pairs whose weights moves change, and by how much.

    Parameters
    ----------
    state : State
    moves : Moves

    Returns
    -------
    pairs : ndarray of int64, shape (B, p, 2)
        No pair twice in a move.
    delta : ndarray of float64, shape (B, p)
        0 where a move changes fewer.

    Examples
    --------
    The path 0-1-2 becomes a triangle, whose edges weigh 1/3 as before:

    >>> path = State.of(3, np.array([[0, 1], [1, 2]]))
    >>> pairs, delta = changes_by_degree(path, Moves.of([], [np.array([[0, 2]])], 1))
    >>> delta[delta != 0].round(6)
    array([0.333333])
    """
    pairs, sign = moves.changes  # (B, 4, 2), (B, 4)
    nodes = pairs.reshape(len(pairs), 8)
    change = np.repeat(sign, 2, axis=1)
    same = nodes[:, :, None] == nodes[:, None, :]
    net = (same * change[:, None, :]).sum(axis=2)  # of the degree of each node, (B, 8)
    now = by_degree(state.degree, pairs)
    degree = state.degree[nodes] + net
    later = 1.0 / (1 + degree.reshape(-1, 4, 2).max(axis=2))
    toggled = np.where(sign < 0, -now, sign * later)
    if not net.any():
        return pairs, toggled
    used = change != 0
    seen = (same & used[:, None, :] & np.tri(8, k=-1, dtype=np.bool_)).any(axis=2)
    once = used & ~seen & (net != 0)
    around = _neighbours(state)[nodes]  # (B, 8, d)
    there = (around >= 0) & once[:, :, None]
    around = np.maximum(around, 0)
    # Removed edges have been counted, and an edge between two nodes whose degrees change counts for the first of them.
    own = np.broadcast_to(nodes[:, :, None], around.shape)
    for k in range(4):
        u, v = pairs[:, k, 0, None, None], pairs[:, k, 1, None, None]
        gone = (sign[:, k] < 0)[:, None, None]
        there &= ~(gone & (((own == u) & (around == v)) | ((own == v) & (around == u))))
    other_net = np.zeros_like(around)
    for k in range(8):
        match = (around == nodes[:, k, None, None]) & once[:, k, None, None]
        other_net += match * net[:, k, None, None]
        there &= ~(match & (np.arange(8) > k)[None, :, None])
    before = 1.0 / (1 + np.maximum(state.degree[own], state.degree[around]))
    after = 1.0 / (1 + np.maximum((state.degree[nodes] + net)[:, :, None], state.degree[around] + other_net))
    delta = np.where(there, after - before, 0.0).reshape(len(pairs), -1)
    both = np.stack((own, around), axis=3).reshape(len(pairs), -1, 2)
    # Most nodes lie next to no change: only as many columns are kept as some move needs.
    order = np.argsort(delta == 0, axis=1, kind="stable")[:, : int((delta != 0).sum(axis=1).max(initial=0))]
    both, delta = np.take_along_axis(both, order[:, :, None], axis=1), np.take_along_axis(delta, order, axis=1)
    return np.concatenate((pairs, both), axis=1), np.concatenate((toggled, delta), axis=1)


def _neighbours(state: State) -> IntArray:
    """Neighbours of each node, filled up with -1, shape (n, largest degree)."""
    result = np.full((state.nodes, int(state.degree.max())), -1, dtype=np.int64)
    for node, row in enumerate(state.adjacency):
        own = np.flatnonzero(row)
        result[node, : own.size] = own
    return result
