"""Graphs that are being searched, and the moves from one to the next: swaps, exchanges, additions and deletions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from topokit.learned.limits import BoolArray, Limits
from topokit.matrix import IntArray

__all__ = ["Moves", "State", "candidate_moves"]

NONE = -1  # in place of a node, where a move removes or adds fewer than two edges


class Moves(NamedTuple):
    """Moves: the edges that each removes and adds, up to two of either.

    Attributes
    ----------
    removed, added : ndarray of int64, shape (B, 2, 2)
        Move, edge, end; -1 where there is no second (or first) edge.
    """

    removed: IntArray
    added: IntArray

    def take(self, which: IntArray | BoolArray | slice) -> Moves:
        """Give some of the moves."""
        return Moves(self.removed[which], self.added[which])

    @property
    def changes(self) -> tuple[IntArray, IntArray]:
        """Pairs that change, shape (B, 4, 2), and how: -1 for an edge removed, 1 for one added, 0 for none, (B, 4)."""
        pairs = np.concatenate((self.removed, self.added), axis=1)
        sign = np.where(pairs[:, :, 0] < 0, 0, np.array([-1, -1, 1, 1]))
        return np.maximum(pairs, 0), sign

    @staticmethod
    def joined(parts: list[Moves]) -> Moves:
        """Put moves together."""
        return Moves(np.concatenate([p.removed for p in parts]), np.concatenate([p.added for p in parts]))

    @staticmethod
    def of(removed: list[IntArray], added: list[IntArray], count: int) -> Moves:
        """Make moves of arrays of edges, each of shape (B, 2)."""
        none = np.full((count, 2), NONE, dtype=np.int64)

        def two(edges: list[IntArray]) -> IntArray:
            return np.stack([*edges, *[none] * (2 - len(edges))], axis=1)

        return Moves(two(removed), two(added))


@dataclass(frozen=True)
class State:
    """A simple graph that is being searched.

    Attributes
    ----------
    nodes : int
    edges : ndarray of int64, shape (m, 2)
        The smaller node first, in ascending order.
    """

    nodes: int
    edges: IntArray

    @cached_property
    def adjacency(self) -> BoolArray:
        """Shape (n, n)."""
        matrix = np.zeros((self.nodes, self.nodes), dtype=np.bool_)
        u, v = self.edges.T
        matrix[u, v] = matrix[v, u] = True
        return matrix

    @cached_property
    def degree(self) -> IntArray:
        """Neighbours of each node, shape (n,)."""
        return np.bincount(self.edges.ravel(), minlength=self.nodes)

    @classmethod
    def of(cls, nodes: int, edges: IntArray) -> State:
        """Put edges in order.

        Examples
        --------
        >>> State.of(3, np.array([[2, 1], [0, 2]])).edges.tolist()
        [[0, 2], [1, 2]]
        """
        ordered = np.sort(edges, axis=1)
        return cls(nodes, ordered[np.lexsort((ordered[:, 1], ordered[:, 0]))])

    def after(self, moves: Moves, which: int = 0) -> State:
        """Give the graph after one of the moves.

        Examples
        --------
        >>> square = State.of(4, np.array([[0, 1], [1, 2], [2, 3], [0, 3]]))
        >>> swap = Moves.of([np.array([[0, 1]]), np.array([[2, 3]])], [np.array([[0, 2]]), np.array([[1, 3]])], 1)
        >>> square.after(swap).edges.tolist()
        [[0, 2], [0, 3], [1, 2], [1, 3]]
        """
        keys = self.edges @ np.array([self.nodes, 1])
        gone, new = (np.sort(part[which][part[which][:, 0] >= 0], axis=1) for part in moves)
        keys = np.concatenate((np.setdiff1d(keys, gone @ np.array([self.nodes, 1])), new @ np.array([self.nodes, 1])))
        keys.sort()
        return State(self.nodes, np.stack((keys // self.nodes, keys % self.nodes), axis=1))


def candidate_moves(state: State, limits: Limits, rng: np.random.Generator, most: int) -> Moves:
    """Give moves that keep the limits (they may disconnect the graph): all of a kind, or a random part of many.

    Parameters
    ----------
    state : State
    limits : Limits
    rng : Generator
    most : int
        Of each kind.

    Examples
    --------
    >>> ring = State.of(5, np.array([[0, 1], [1, 2], [2, 3], [3, 4], [0, 4]]))
    >>> moves = candidate_moves(ring, Limits(5, max_degree=2), np.random.default_rng(0), 1000)
    >>> len(moves.removed)  # five pairs of edges without a common end, swapped one way; and five edges to remove
    10
    """
    parts = [_swaps(state, limits, rng, most)]
    count = len(state.edges)
    slack = state.degree < limits.degrees
    if count > limits.fewest_edges:
        parts.append(Moves.of([state.edges], [], count))
    free = limits.pairs & ~state.adjacency
    if slack.any():
        if count < limits.most_edges:
            parts.append(_additions(free & slack & slack[:, None], rng, most))
        parts.append(_exchanges(state, free, slack, rng, most))
    moves = Moves.joined(parts)
    return moves if limits.host_of is None else moves.take(_keeps_hosts(state, limits, moves))


def _swaps(state: State, limits: Limits, rng: np.random.Generator, most: int) -> Moves:
    """Edges a-b and x-y become a-x and b-y."""
    m = len(state.edges)
    if m * (m - 1) // 2 <= most // 2:
        i, j = np.triu_indices(m, 1)
    else:
        i, j = rng.integers(m, size=(2, most // 2))
        i, j = i[i != j], j[i != j]
    first, second = state.edges[i], state.edges[j]
    second = np.concatenate((second, second[:, ::-1]))
    first = np.concatenate((first, first))
    (a, b), (x, y) = first.T, second.T
    taken = state.adjacency | ~limits.pairs
    fits = ~(taken[a, x] | taken[b, y])  # the diagonal is taken, too
    fits &= (a != y) & (b != x)
    a, b, x, y = a[fits], b[fits], x[fits], y[fits]
    return Moves.of(
        [np.stack((a, b), axis=1), np.stack((x, y), axis=1)],
        [np.stack((a, x), axis=1), np.stack((b, y), axis=1)],
        a.size,
    )


def _additions(free: BoolArray, rng: np.random.Generator, most: int) -> Moves:
    u, v = np.nonzero(np.triu(free, 1))
    if u.size > most:
        some = rng.choice(u.size, most, replace=False)
        u, v = u[some], v[some]
    return Moves.of([], [np.stack((u, v), axis=1)], u.size)


def _exchanges(state: State, free: BoolArray, slack: BoolArray, rng: np.random.Generator, most: int) -> Moves:
    """Replace an edge by one at one of its ends, or between nodes that may have more neighbours."""
    loose = np.flatnonzero(slack)
    pairs = np.argwhere(np.triu(free & slack & slack[:, None], 1))
    m = len(state.edges)
    gone, new = [], []
    for end in (0, 1):  # the edge turns about one end
        edge, other = _some(rng, m, loose.size, most // 4)
        gone.append(state.edges[edge])
        new.append(np.stack((state.edges[edge, end], loose[other]), axis=1))
    if len(pairs):
        edge, pair = _some(rng, m, len(pairs), most // 2)
        gone.append(state.edges[edge])
        new.append(pairs[pair])
    removed, added = np.concatenate(gone), np.concatenate(new)
    fits = free[added[:, 0], added[:, 1]]
    return Moves.of([removed[fits]], [added[fits]], int(fits.sum()))


def _some(rng: np.random.Generator, first: int, second: int, most: int) -> tuple[IntArray, IntArray]:
    """Give all pairs of two numbers below limits, or so many at random."""
    if first * second <= most:
        one, other = np.divmod(np.arange(first * second), second)
        return one, other
    return rng.integers(first, size=most), rng.integers(second, size=most)


def _keeps_hosts(state: State, limits: Limits, moves: Moves) -> BoolArray:
    """Say which moves leave every host with as many edges to others as it may have."""
    assert limits.host_of is not None
    busy = limits.crossing(state.edges)
    pairs, sign = moves.changes
    ends = limits.host_of[pairs]
    sign = np.where(ends[:, :, 0] != ends[:, :, 1], sign, 0)
    more = np.zeros((len(pairs), busy.size), dtype=np.int64)
    rows = np.arange(len(pairs))
    for k in range(sign.shape[1]):
        for end in range(2):
            np.add.at(more, (rows, ends[:, k, end]), sign[:, k])
    return np.asarray((busy + more <= limits.leaving).all(axis=1))
