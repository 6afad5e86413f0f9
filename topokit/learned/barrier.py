"""A barrier before both ends of a Laplacian's spectrum, and what it says of every move, exactly.

Let the spectrum of a weighted Laplacian L, but for the constant vector, lie between two levels. The potential

    -log det(L - low I) - log det(high I - L)

grows without bounds where an eigenvalue comes near a level, and weighs all eigenvalues by how near they are.
Exchanging, adding or removing an edge changes L by a matrix U K U^T of rank two at most (a swap of the ends of two
edges, too: its four changes are (e_a - e_y)(e_b - e_x)^T and the transpose). With the resolvents R = (L - level I)^-1,
which are computed once, the potential after each of thousands of moves follows from numbers:

    det(L + U K U^T - level I) = det(L - level I) det(K) det(K^-1 + U^T R U),

and where the last product is positive at either level, the spectrum stays between them. A move that is made changes the
resolvents by a matrix of rank two.

References
----------
.. [1] J. Batson, D. A. Spielman, N. Srivastava, "Twice-Ramanujan sparsifiers", SIAM Journal on Computing 41(6), 2012
   (barrier functions of resolvents, for edges with weights).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from topokit.learned.moves import Moves
from topokit.matrix import FloatArray, IntArray

__all__ = ["Barrier"]

FAR = 1e-12  # of a determinant that is taken for 0


class _Change(NamedTuple):
    """U K U^T: the two pairs of nodes of U, shape (B, 2) each, and whether K is that of a swap."""

    first: IntArray
    second: IntArray
    swap: np.ndarray


class Barrier:
    """Resolvents at two levels, and the potential's change by moves of edges of weight 1.

    Parameters
    ----------
    laplacian : ndarray, shape (n, n)
    low, high : float or None
        Levels below mu_2 and above mu_n; None where an end does not matter.

    Examples
    --------
    A ring of six nodes, mu_2 = 1 and mu_n = 4, and the swap that makes it two triangles, with mu_2 = 0:

    >>> ring = 2 * np.eye(6) - np.roll(np.eye(6), 1, axis=0) - np.roll(np.eye(6), -1, axis=0)
    >>> apart = Moves.of([np.array([[1, 2]]), np.array([[5, 4]])], [np.array([[1, 5]]), np.array([[2, 4]])], 1)
    >>> Barrier(ring, 0.5, None).gains(apart)
    array([-inf])
    >>> chord = Moves.of([], [np.array([[0, 3]])], 1)
    >>> bool(Barrier(ring, 0.5, None).gains(chord)[0] > 0 > Barrier(ring, None, 6.5).gains(chord)[0])
    True
    """

    def __init__(self, laplacian: FloatArray, low: float | None, high: float | None) -> None:
        identity = np.eye(len(laplacian))
        levels = [level for level in (low, high) if level is not None]
        # The constant vector drops out of every difference between nodes.
        self.resolvents = [np.asarray(np.linalg.inv(laplacian - x * identity), dtype=np.float64) for x in levels]

    def gains(self, moves: Moves) -> FloatArray:
        """Give by how much each move lowers the potential; minus infinity where an eigenvalue passes a level.

        Parameters
        ----------
        moves : Moves

        Returns
        -------
        ndarray, shape (B,)
        """
        change = _change(moves)
        total = np.zeros(len(change.swap))
        for resolvent in self.resolvents:
            ratio = _ratio(resolvent, change)
            with np.errstate(divide="ignore"):
                total += np.log(np.where(ratio > FAR, ratio, 0.0))
        return total

    def weighted_gains(self, pairs: IntArray, delta: FloatArray) -> FloatArray:
        """Give the same for changes of the weights of any pairs.

        Parameters
        ----------
        pairs : ndarray of int64, shape (B, p, 2)
        delta : ndarray of float64, shape (B, p)

        Returns
        -------
        ndarray, shape (B,)
        """
        total = np.zeros(len(pairs))
        u, v = pairs[:, :, 0], pairs[:, :, 1]
        rows, columns = (slice(None), slice(None), None), (slice(None), None, slice(None))
        for resolvent in self.resolvents:
            middle = resolvent[u[rows], u[columns]] + resolvent[v[rows], v[columns]]
            middle -= resolvent[u[rows], v[columns]] + resolvent[v[rows], u[columns]]
            middle *= delta[rows]
            middle += np.eye(pairs.shape[1])
            sign, size = np.linalg.slogdet(middle)
            total += np.where(sign > 0, size, -np.inf)
        return total

    def apply(self, moves: Moves, which: int) -> None:
        """Make one of the moves."""
        (a, b), (x, y), swap = (part[which] for part in _change(moves))
        for resolvent in self.resolvents:
            columns = np.stack((resolvent[a] - resolvent[b], resolvent[x] - resolvent[y]), axis=1)
            middle = np.stack((columns[a] - columns[b], columns[x] - columns[y]))
            middle += np.array([[0.0, 1.0], [1.0, 0.0]]) if swap else np.diag([-1.0, 1.0])
            resolvent -= columns @ np.linalg.solve(middle, columns.T)

    def apply_weighted(self, pairs: IntArray, delta: FloatArray) -> None:
        """Change the weights of some pairs, shapes (p, 2) and (p,)."""
        pairs, delta = pairs[delta != 0], delta[delta != 0]
        u, v = pairs.T
        for resolvent in self.resolvents:
            columns = resolvent[:, u] - resolvent[:, v]
            middle = columns[u] - columns[v] + np.diag(1 / delta)
            resolvent -= columns @ np.linalg.solve(middle, columns.T)


def _change(moves: Moves) -> _Change:
    """Give the change of the Laplacian: of a swap of a-b and x-y by the differences of a and y, b and x."""
    removed, added = np.maximum(moves.removed, 0), np.maximum(moves.added, 0)
    swap = moves.removed[:, 1, 0] >= 0
    # An edge that is not there is a pair of node 0 with itself, whose difference is 0.
    first = np.where(swap[:, None], np.stack((removed[:, 0, 0], removed[:, 1, 1]), axis=1), removed[:, 0])
    second = np.where(swap[:, None], np.stack((removed[:, 0, 1], removed[:, 1, 0]), axis=1), added[:, 0])
    return _Change(first, second, swap)


def _ratio(resolvent: FloatArray, change: _Change) -> FloatArray:
    """Give det(L + U K U^T - level I) / det(L - level I)."""
    (a, b), (x, y) = change.first.T, change.second.T
    own = resolvent.diagonal()
    one = own[a] + own[b] - 2 * resolvent[a, b]
    other = own[x] + own[y] - 2 * resolvent[x, y]
    both = resolvent[a, x] - resolvent[a, y] - resolvent[b, x] + resolvent[b, y]
    swapped = (1 + both) ** 2 - one * other
    exchanged = (1 - one) * (1 + other) + both**2
    return np.asarray(np.where(change.swap, swapped, exchanged))
