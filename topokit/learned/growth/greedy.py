"""Edges that raise the algebraic connectivity most, one after the other."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import linalg

from topokit.adjacency import sorted_edges
from topokit.errors import InputError
from topokit.learned.growth.candidates import BoolArray, open_pairs, room_of_nodes
from topokit.matrix import FloatArray, IntArray
from topokit.optimal.dense import cholesky, inverse_of
from topokit.optimal.progress import News, Tell
from topokit.optimal.threads import few_threads

__all__ = ["GreedyGraph", "greedy_edges"]

DENSE = 300  # nodes up to which all eigenvectors are computed at every step
VECTORS = 12  # the smallest eigenvalues, whose eigenvectors tell which edge is best
SPARE = 8  # vectors beyond them in a subspace iteration
NEAR = 0.3  # distance of the barrier below mu_2, and the same relative to how far the eigenvalues are apart
ACCURATE = 1e-4  # residual of an eigenvector, relative to that distance
EXACT = 1e-8  # the same in the end, as the error of mu_2 is of the second order
MOST_ITERATIONS = 100
SHIFT = 1e-3  # of the matrix that is inverted, relative to the mean degree
RENEWED = 200  # edges after which the inverse is computed anew
MOST_NODES = 6000  # whose matrices fit into some gigabytes
SAME = 1e-9  # relative difference of values that are equal but for rounding
ROWS = 256  # of the matrix of pairs that are looked at together
EVERY = 0.5  # seconds between two lines of progress


@dataclass(frozen=True)
class GreedyGraph:
    """A graph with edges added one by one.

    Attributes
    ----------
    edges : ndarray of int64, shape (m, 2)
        All edges, sorted.
    added : ndarray of int64, shape (k, 2)
        Those that were added, in the order in which they were.
    fiedler : float
        mu_2 of the graph.
    trace : ndarray of float64, shape (k + 1,)
        mu_2 before the first and after each of them; within a graph of many nodes, to some digits.
    stopped : {"end", "full", "time", "interrupt"}
        Whether all edges were added, no more were allowed, time was up, or Ctrl-C was pressed.
    """

    edges: IntArray
    added: IntArray
    fiedler: float
    trace: FloatArray
    stopped: Literal["end", "full", "time", "interrupt"]


def greedy_edges(
    edges: IntArray,
    nodes: int,
    k: int,
    *,
    allowed: Any = None,
    max_degree: Any = None,
    deadline: float = math.inf,
    tell: Tell | None = None,
) -> GreedyGraph:
    """Add k edges to a graph, each time the one that promises to raise mu_2 most.

    Parameters
    ----------
    edges : ndarray of int64, shape (m, 2)
        Edges that there are; none will do.
    nodes : int
        n, at most 6,000.
    k : int
        Number of edges to add.
    allowed : ndarray of bool, shape (n, n), or of int, shape (p, 2), optional
        Pairs that may be added, as a mask or one by one; all by default.
    max_degree : int or ndarray of int, shape (n,), optional
        Largest degree, of all nodes or of each.
    deadline : float, optional
        Value of time.monotonic() at which to stop.
    tell : callable, optional
        Is told how far it is.

    Returns
    -------
    GreedyGraph
        With less than k new edges if no more are allowed, or time was up.

    Raises
    ------
    InputError
        If an edge is none or given twice, a node has more edges than it may have, or there are too many nodes.

    Notes
    -----
    To first order an edge u-v adds (x_u - x_v)^2 to mu_2, x its unit eigenvector. Where more eigenvalues are as small,
    or nearly, this says little: mu_2 stays what it is until edges have raised all of them. Instead, the edge is chosen
    that lowers trace (L - s)^-1 most, restricted to the eigenvectors of the smallest eigenvalues, with a barrier s
    somewhat below mu_2. If mu_2 stands alone this is the same, and if it is repeated, it is the sum of (x_u - x_v)^2
    over its eigenvectors.

    References
    ----------
    .. [1] A. Ghosh, S. Boyd, "Growing well-connected graphs", IEEE Conference on Decision and Control, 2006.
    .. [2] J. Batson, D. A. Spielman, N. Srivastava, "Twice-Ramanujan sparsifiers", SIAM Journal on Computing 41(6),
       2012.

    Examples
    --------
    >>> path = np.array([[0, 1], [1, 2], [2, 3]])
    >>> grown = greedy_edges(path, 4, 1)
    >>> grown.added.tolist(), round(grown.fiedler, 6)
    ([[0, 3]], 2.0)
    """
    if k < 0:
        raise InputError(f"the number of edges to add cannot be negative, got {k}")
    if nodes > MOST_NODES:
        raise InputError(f"edges are added one by one to graphs of at most {MOST_NODES:,} nodes, got {nodes:,}")
    mask = open_pairs(edges, nodes, allowed)
    room = room_of_nodes(edges, nodes, max_degree)
    full = room <= 0
    mask[full] = False
    mask[:, full] = False
    given = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    with few_threads(nodes):
        return _grown(given, nodes, k, mask, room, deadline, tell)


def _grown(
    edges: IntArray, nodes: int, k: int, mask: BoolArray, room: IntArray, deadline: float, tell: Tell | None
) -> GreedyGraph:
    start = said = time.monotonic()
    spectrum = _All(edges, nodes) if nodes <= DENSE else _Few(edges, nodes)
    added: list[tuple[int, int]] = []
    trace = [float(spectrum.values[0])]
    stopped: Literal["end", "full", "time", "interrupt"] = "end"
    try:
        while len(added) < k:
            if time.monotonic() >= deadline:
                stopped = "time"
                break
            pair = _best_pair(spectrum.values, spectrum.vectors, mask)
            if pair is None:
                stopped = "full"
                break
            u, v = pair
            added.append(pair)
            spectrum.add(u, v)
            trace.append(float(spectrum.values[0]))
            mask[u, v] = mask[v, u] = False
            room[[u, v]] -= 1
            for node in pair:
                if room[node] <= 0:
                    mask[node] = mask[:, node] = False
            now = time.monotonic()
            if tell is not None and now - said > EVERY:
                tell(News(now - start, f"{len(added):,} of {k:,} edges added, Fiedler value {trace[-1]:.6g}"))
                said = now
    except KeyboardInterrupt:
        stopped = "interrupt"
    new = np.array(added, dtype=np.int64).reshape(-1, 2)
    u, v = np.concatenate((edges, new)).T
    everything = sorted_edges(nodes, u, v)
    if stopped == "interrupt":
        # An edge may have been added to one part of what is known of the graph, and not to another.
        spectrum = _All(everything, nodes) if nodes <= DENSE else _Few(everything, nodes)
    fiedler = spectrum.exact()
    return GreedyGraph(everything, new, fiedler, np.array([*trace[: len(added)], fiedler]), stopped)


def _best_pair(values: FloatArray, vectors: FloatArray, mask: BoolArray) -> tuple[int, int] | None:
    """Find the pair that lowers the trace most, the first of those that are equally good."""
    apart = min(NEAR, NEAR * float(values[-1] - values[0]))
    distance = values - values[0] + max(apart, SAME * (1 + float(values[-1])))
    far, near = vectors / distance, vectors / np.sqrt(distance)
    best, pair = 0.0, None
    for first in range(0, len(mask), ROWS):
        # By Sherman and Morrison, from squared distances in two embeddings.
        rows = slice(first, first + ROWS)
        score = _squares(far, rows) / (1 + _squares(near, rows))
        score[~mask[rows]] = 0
        most = float(score.max())
        if most > best * (1 + SAME):
            best = most
            where = int(np.argmax(score >= most * (1 - SAME)))
            pair = first + where // len(mask), where % len(mask)
    if pair is None:
        # All pairs that are left lie within parts whose nodes no eigenvector tells apart.
        where = int(np.argmax(mask))
        pair = where // len(mask), where % len(mask)
        if not mask[pair]:
            return None
    return min(pair), max(pair)


def _squares(places: FloatArray, rows: slice) -> FloatArray:
    """Give the squared distance of each of some rows from all rows."""
    own = np.einsum("ij,ij->i", places, places)
    return np.asarray(np.maximum(own[rows, None] + own - 2 * (places[rows] @ places.T), 0))


class _All:
    """The smallest eigenvalues of a Laplacian after 0, and their eigenvectors, from a dense solver.

    Attributes
    ----------
    values : ndarray, shape (r,)
    vectors : ndarray, shape (n, r)
    """

    def __init__(self, edges: IntArray, nodes: int) -> None:
        self.L = _laplacian(edges, nodes)
        self._solve()

    def add(self, u: int, v: int) -> None:
        _join(self.L, u, v)
        self._solve()

    def exact(self) -> float:
        """Give mu_2."""
        return float(self.values[0])

    def _solve(self) -> None:
        values, vectors = np.linalg.eigh(self.L)
        # All of those that are the same: one without the others depends on the solver.
        count = int((values[1:] <= values[min(VECTORS, len(values) - 1)] + SAME * (1 + values[-1])).sum())
        self.values, self.vectors = np.maximum(values[1 : count + 1], 0), vectors[:, 1 : count + 1]


class _Few:
    """The same by inverse iteration, from the eigenvectors of the step before.

    (L + shift I + J)^-1 is kept, as an edge changes it by a matrix of rank one.
    """

    def __init__(self, edges: IntArray, nodes: int) -> None:
        self.L = _laplacian(edges, nodes)
        self._renew()
        basis = np.random.default_rng(0).standard_normal((nodes, VECTORS + SPARE))
        self._basis = np.linalg.qr(basis - basis.mean(axis=0))[0]
        self._iterate()

    def add(self, u: int, v: int) -> None:
        _join(self.L, u, v)
        self._count += 1
        if self._count % RENEWED:
            column = self._inverse[:, u] - self._inverse[:, v]
            # The symmetric matrix, as BLAS counts its columns.
            linalg.blas.dger(
                -1 / (1 + float(column[u] - column[v])), column, column, a=self._inverse.T, overwrite_a=True
            )
        else:
            self._renew()
        self._iterate()

    def exact(self) -> float:
        """Give mu_2 to more digits."""
        self._iterate(EXACT)
        return float(self.values[0])

    def _renew(self) -> None:
        self._count = 0
        nodes = len(self.L)
        shift = max(SHIFT * float(np.trace(self.L)) / nodes, SHIFT)
        matrix = self.L + 1.0
        matrix[np.diag_indices(nodes)] += shift
        self._inverse = np.ascontiguousarray(inverse_of(cholesky(matrix)))

    def _iterate(self, accuracy: float = ACCURATE) -> None:
        for _ in range(MOST_ITERATIONS):
            block = self._inverse @ self._basis
            basis = np.linalg.qr(block - block.mean(axis=0))[0]
            image = self.L @ basis
            values, turn = np.linalg.eigh(basis.T @ image)
            self._basis = basis @ turn
            residual = np.linalg.norm(image @ turn[:, 0] - self._basis[:, 0] * values[0])
            if residual <= accuracy * max(NEAR * float(values[VECTORS - 1] - values[0]), SAME):
                break
        self.values, self.vectors = np.maximum(values[:VECTORS], 0), self._basis[:, :VECTORS]


def _laplacian(edges: IntArray, nodes: int) -> FloatArray:
    L = np.zeros((nodes, nodes))
    u, v = edges.T
    L[u, v] = L[v, u] = -1.0
    L[np.diag_indices(nodes)] = -L.sum(axis=1)
    return L


def _join(L: FloatArray, u: int, v: int) -> None:
    L[u, u] += 1
    L[v, v] += 1
    L[u, v] -= 1
    L[v, u] -= 1
