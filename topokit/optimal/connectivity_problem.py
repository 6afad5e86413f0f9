"""What the best algebraic connectivity is asked for: groups of edges, and linear limits to their weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from topokit.adjacency import adjacency_of_edges
from topokit.errors import InputError
from topokit.matrix import FloatArray, IntArray
from topokit.weights.messages import require_connected

__all__ = ["ConnectivityProblem"]

BLOCK = 256  # edges
EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class ConnectivityProblem:
    """Maximise mu_2(sum_k x_k L_k) subject to A x <= b and x >= 0, L_k being the Laplacian of a group of edges.

    Parameters
    ----------
    nodes : int
        Number of nodes n, at least 2.
    edges : ndarray of int64, shape (m, 2)
        Undirected edges.
    limits : sparse array of float64, shape (R, K)
        A, without negative entries; every group has an entry in some row, or its weight had no limit.
    bounds : ndarray of float64, shape (R,)
        b, positive.
    groups : ndarray of int64, shape (m,)
        Number of the group of each edge, from 0 to K - 1; all edges of a group have the same weight.

    Raises
    ------
    InputError
        If there are fewer than 2 nodes, an edge is none, a bound or an entry of the limits is no number or has the
        wrong sign, or a group has no edge or no limit.
    GraphError
        If the edges do not connect the nodes.

    Examples
    --------
    Two edges that share a budget of 1:

    >>> edges, budget = np.array([[0, 1], [1, 2]]), sparse.csr_array(np.ones((1, 2)))
    >>> problem = ConnectivityProblem(3, edges, budget, np.array([1.0]), np.arange(2))
    >>> round(problem.connectivity(np.array([0.5, 0.5])), 12)
    0.5

    That no weights reach more follows from Z = z z^T, z = (1, 0, -1)/sqrt(2), and a price of 1/2:

    >>> round(problem.bound(np.array([[1.0], [0.0], [-1.0]]), np.array([1.0])), 12)
    0.5
    """

    nodes: int
    edges: IntArray
    limits: sparse.csr_array
    bounds: FloatArray
    groups: IntArray

    def __post_init__(self) -> None:
        if self.nodes < 2:
            raise InputError(f"the connectivity of a graph needs at least 2 nodes, got {self.nodes}")
        u, v = self.edges.T
        if (self.edges < 0).any() or (self.edges >= self.nodes).any() or (u == v).any():
            raise InputError(f"edges join two of the nodes 0 to {self.nodes - 1}")
        if self.groups.shape != u.shape or (self.groups < 0).any() or (self.groups >= self.count).any():
            raise InputError(f"each of the {u.size} edges belongs to one of the groups 0 to {self.count - 1}")
        if self.bounds.shape != self.limits.shape[:1]:
            raise InputError(
                f"there are {self.limits.shape[0]} limits and {self.bounds.size} bounds; expected one each"
            )
        for what, values in (("an entry of the limits", self.limits.data), ("a bound", self.bounds)):
            if not np.isfinite(values).all() or (values < 0).any():
                raise InputError(f"{what} is negative or no number")
        if (self.bounds == 0).any():
            raise InputError("a bound is 0: leave out the groups of edges that may have no weight")
        if (np.bincount(self.groups, minlength=self.count) == 0).any():
            raise InputError("a group has no edges")
        if not np.isfinite(self.most).all():
            raise InputError(f"group {int(np.flatnonzero(~np.isfinite(self.most))[0])} of edges has no limit")
        require_connected(adjacency_of_edges(self.nodes, self.edges))

    @property
    def count(self) -> int:
        """Number K of groups."""
        return int(self.limits.shape[1])

    @cached_property
    def most(self) -> FloatArray:
        """The largest weight that each group can have, if all others have none, shape (K,)."""
        return self._within(np.ones(self.limits.shape[0]))

    def spread(self) -> FloatArray:
        """Give weights within the limits: of every limit, each group takes at most an equal part."""
        return self._within(np.maximum(np.bincount(self.limits.tocoo().row, minlength=self.limits.shape[0]), 1))

    def _within(self, parts: FloatArray | IntArray) -> FloatArray:
        entries = self.limits.tocoo()
        share = np.full(self.count, np.inf)
        used = entries.data > 0
        row, column = entries.row[used], entries.col[used]
        np.minimum.at(share, column, self.bounds[row] / parts[row] / entries.data[used])
        return share

    def sums(self, of_edges: FloatArray) -> FloatArray:
        """Sum numbers, one for each edge, over each group."""
        return np.bincount(self.groups, weights=of_edges, minlength=self.count).astype(np.float64)

    def laplacian(self, values: FloatArray) -> FloatArray:
        """Give the dense matrix sum_k x_k L_k."""
        u, v = self.edges.T
        weights = values[self.groups]
        L = np.zeros((self.nodes, self.nodes))
        np.add.at(L, (u, v), -weights)
        L += L.T
        L[np.diag_indices(self.nodes)] = -L.sum(axis=1)
        return L

    def sparse_laplacian(self, values: FloatArray) -> sparse.csr_array:
        """Give the sparse matrix sum_k x_k L_k."""
        u, v = self.edges.T
        half = sparse.coo_array((values[self.groups], (u, v)), shape=(self.nodes, self.nodes))
        both = sparse.csr_array(half + half.T)
        return sparse.csr_array(sparse.diags_array(np.asarray(both.sum(axis=1)).ravel()) - both)

    def connectivity(self, values: FloatArray) -> float:
        """Compute mu_2(sum_k x_k L_k)."""
        return float(np.linalg.eigvalsh(self.laplacian(values))[1])

    def filled(self, values: FloatArray) -> FloatArray:
        """Scale weights so that they just keep all limits."""
        return np.asarray(values * ((1 - 4 * EPS) / float((self.limits @ values / self.bounds).max())))

    def bound(self, factor: FloatArray, prices: FloatArray) -> float:
        """Give the bound on the connectivity that a dual point proves.

        Parameters
        ----------
        factor : ndarray of float64, shape (n, r)
            F of any scale, whose Z = P F F^T P / trace(P F F^T P), P = I - J, is positive semidefinite, and has the
            trace 1 and Z 1 = 0, whatever F is.
        prices : ndarray of float64, shape (R,)
            Of the limits, at least 0; at the scale of F F^T.

        Returns
        -------
        float
            At least sum_k x_k <Z, L_k> >= mu_2(sum_k x_k L_k), for all x within the limits.
        """
        F = np.ascontiguousarray(factor - factor.mean(axis=0))  # by rows, which are gathered
        # Sums of n squares are off by n times the rounding of one at most.
        rounding = (self.nodes + 8) * EPS
        rest = F.mean(axis=0)
        trace = (float(np.vdot(F, F)) - self.nodes * float(rest @ rest)) * (1 - rounding)
        if not (np.isfinite(trace) and trace > 0):
            return np.inf
        squares = np.empty(len(self.edges))
        for first in range(0, squares.size, BLOCK):
            u, v = self.edges[first : first + BLOCK].T
            apart = F[u] - F[v]
            squares[first : first + BLOCK] = np.einsum("ij,ij->i", apart, apart)
        worth = self.sums(squares) * ((1 + rounding) / trace)
        prices = np.maximum(prices, 0) / trace
        price = self.limits.T @ prices
        total = float(self.bounds @ prices)
        # What a group is worth beyond its price is earned by its largest weight at most, or prices rise for all.
        beyond = total + float(self.most @ np.maximum(worth - price * (1 - rounding), 0))
        with np.errstate(divide="ignore", invalid="ignore"):
            raised = total * max(1.0, float(np.where(worth > 0, worth / price, 0).max()))
        bound = min(beyond, raised) if np.isfinite(raised) else beyond
        return bound * (1 + rounding) if np.isfinite(bound) else np.inf
