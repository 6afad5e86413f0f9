"""What weights of messages leave to the nodes themselves, as exact fractions, for all nodes at once."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from topokit.matrix import INT64_MAX, IntArray, MixingMatrix, quotients
from topokit.weights.messages import Messages

__all__ = ["with_self_weights"]

LARGE = 2.0**62  # products of this size, computed in floating point, may not fit into 64 bits


def with_self_weights(messages: Messages, denominator: IntArray) -> MixingMatrix:
    """Give every message the weight 1 / denominator and every node the rest of 1, exactly where 64 bits can hold it.

    Parameters
    ----------
    messages : Messages
    denominator : ndarray of int64, shape (m,)
        One for each message, at least 1.

    Returns
    -------
    MixingMatrix
        In floating point if the self weight of some node has a denominator of more than 64 bits.

    Examples
    --------
    >>> import networkx as nx
    >>> from topokit.weights.messages import messages_of
    >>> print(*with_self_weights(messages_of(nx.path_graph(2), "uniform"), np.array([3, 3])).fractions())
    2/3 1/3 1/3 2/3
    """
    n = messages.nodes
    groups = _Groups(n, messages.target, denominator)
    numerator, whole, large = groups.sums()
    numerator = whole - numerator
    common = np.gcd(numerator, whole)
    numerator, whole = numerator // common, whole // common
    weight = quotients(numerator, whole)
    exact = True
    for node in np.flatnonzero(large).tolist():
        rest = 1 - groups.sum_of(node)
        weight[node] = float(rest)
        fits = rest.denominator <= INT64_MAX
        exact = exact and fits
        # Where the fraction does not fit, it only matters that it is not 0.
        numerator[node], whole[node] = (rest.numerator, rest.denominator) if fits else (1, 1)
    keep = np.flatnonzero(numerator)
    target = np.concatenate((messages.target, keep))
    source = np.concatenate((messages.source, keep))
    weights = np.concatenate((1 / denominator, weight[keep]))
    if not exact:
        return MixingMatrix.from_entries(n, target, source, weights)
    return MixingMatrix.from_entries(
        n,
        target,
        source,
        weights,
        numerator=np.concatenate((np.ones_like(denominator), numerator[keep])),
        denominator=np.concatenate((denominator, whole[keep])),
    )


class _Groups:
    """Messages counted by the node that receives them and their denominator; few of a node's denominators differ."""

    def __init__(self, nodes: int, target: IntArray, denominator: IntArray) -> None:
        self.nodes = nodes
        kinds, kind = np.unique(denominator, return_inverse=True)
        pair, self.count = np.unique(target * max(1, kinds.size) + kind, return_counts=True)
        node, which = np.divmod(pair, max(1, kinds.size))
        self.denominator = kinds[which]
        self.start = np.searchsorted(node, np.arange(nodes + 1))

    def sums(self) -> tuple[IntArray, IntArray, NDArray[np.bool_]]:
        """Add up count / denominator for every node.

        Returns
        -------
        numerator, denominator : ndarray of int64, shape (nodes,)
        large : ndarray of bool, shape (nodes,)
            Nodes for which 64 bits may not be enough; their sums are 0.
        """
        numerator, common = np.zeros(self.nodes, dtype=np.int64), np.ones(self.nodes, dtype=np.int64)
        large = np.zeros(self.nodes, dtype=np.bool_)
        sizes = np.diff(self.start)
        node = np.flatnonzero(sizes)
        for place in range(int(sizes.max(initial=0))):
            # One more summand of every node that has so many.
            node = node[(sizes[node] > place) & ~large[node]]
            summand = self.start[node] + place
            p, q, c, d = numerator[node], common[node], self.count[summand], self.denominator[summand]
            shared = np.gcd(q, d)
            left, right = d // shared, q // shared
            wide = left.astype(np.float64)
            too_large = (wide * q > LARGE) | (wide * p + c.astype(np.float64) * right > LARGE)
            large[node[too_large]] = True
            # Products that overflow belong to nodes that are left out from here on.
            p, q = p * left + c * right, q * left
            shared = np.gcd(p, q)
            numerator[node], common[node] = p // shared, q // shared
        numerator[large], common[large] = 0, 1
        return numerator, common, large

    def sum_of(self, node: int) -> Fraction:
        """Add up count / denominator for one node, in integers without limit."""
        own = slice(self.start[node], self.start[node + 1])
        pairs = zip(self.count[own].tolist(), self.denominator[own].tolist(), strict=True)
        return sum((Fraction(c, d) for c, d in pairs), Fraction(0))
