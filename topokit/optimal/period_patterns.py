"""The rounds of a period as their weights see them: where each weight acts, and which weights are the start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from topokit.adjacency import GraphLike, adjacency_of_edges
from topokit.errors import GraphError, InputError
from topokit.kinds import Cyclic
from topokit.matrix import FloatArray, IntArray, MixingMatrix
from topokit.schedule import Schedule
from topokit.weights.messages import messages_of, require_connected

__all__ = ["Pattern", "RoundLike", "pattern_of", "reach_bound", "require_mixing", "start_matrices", "start_weights"]

RoundLike: TypeAlias = "MixingMatrix | GraphLike | IntArray"

EPS = float(np.finfo(np.float64).eps)


class Pattern(NamedTuple):
    """What the weights of one round act on: W = I + sum of w[group[i]] left_i right_i^T.

    Of an exchange, left_i = e_a - e_b and right_i = e_b - e_a; of a message from b to a, left_i = e_a.
    """

    a: IntArray
    b: IntArray
    group: IntArray
    groups: int
    exchange: bool

    def matrix(self, nodes: int, weights: FloatArray) -> MixingMatrix:
        """Give W without its zeros."""
        target, source, weight = self.messages(weights)
        selves = 1 - np.bincount(target, weight, minlength=nodes)
        own = np.arange(nodes)
        rows, columns = np.concatenate((target, own)), np.concatenate((source, own))
        values = np.concatenate((weight, selves))
        keep = np.abs(values) > 4 * EPS
        return MixingMatrix.from_entries(nodes, rows[keep], columns[keep], values[keep])

    def apply(self, weights: FloatArray, X: FloatArray) -> FloatArray:
        """Give W X."""
        target, source, weight = self.messages(weights)
        n = X.shape[0]
        moves = sparse.csr_array((weight, (target, source)), shape=(n, n))
        selves = 1 - np.bincount(target, weight, minlength=n)
        return np.asarray(moves @ X + selves[:, None] * X, dtype=np.float64)

    def messages(self, weights: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
        """Give target, source and weight of each message."""
        each = weights[self.group]
        if self.exchange:
            return np.concatenate((self.a, self.b)), np.concatenate((self.b, self.a)), np.tile(each, 2)
        return self.a, self.b, each

    def factors(self, after: FloatArray, before: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give `after` left_i and right_i^T `before` as rows, shape (terms, n) each."""
        left = after[:, self.a].T - after[:, self.b].T if self.exchange else after[:, self.a].T
        return left, before[self.b] - before[self.a]

    def node_sums(self, nodes: int) -> sparse.csr_array:
        """Give the matrix of the weights that meet at a node, of the nodes at which there are several."""
        ends = np.concatenate((self.a, self.b)) if self.exchange else self.a
        groups = np.concatenate((self.group, self.group)) if self.exchange else self.group
        ones = np.ones(ends.size)
        sums = sparse.csr_array((ones, (ends, groups)), shape=(nodes, self.groups))
        return sparse.csr_array(sums[np.diff(sums.indptr) > 1])


def start_matrices(rounds: Schedule | Sequence[RoundLike], nodes: int | None) -> list[MixingMatrix]:
    """Give each round as a matrix whose weights are the start.

    Raises
    ------
    InputError
        If these are no rounds of one number of nodes, or a schedule without a period.

    Examples
    --------
    >>> start_matrices([np.array([[0, 1]])], None)[0].to_dense().tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    if isinstance(rounds, Schedule):
        rule = rounds.rule
        if not isinstance(rule, Cyclic) or rule.copies != 1 or rule.mixing != "doubly-stochastic":
            raise InputError(
                f"the weights of a period are optimised for doubly stochastic rounds that repeat, not for {rule.name} "
                f"rounds, {rule.mixing}"
            )
        rounds = rule.rounds
    given = list(rounds)
    if not given:
        raise InputError("a period needs at least one round, got none")
    arrays = [r for r in given if isinstance(r, np.ndarray) and r.ndim == 2 and np.issubdtype(r.dtype, np.integer)]
    if nodes is None and arrays:
        nodes = 1 + max((int(edges.max(initial=-1)) for edges in arrays), default=-1)
    matrices = [W if isinstance(W, MixingMatrix) else _first_weights(W, t, nodes) for t, W in enumerate(given)]
    for t, W in enumerate(matrices):
        if W.nodes != matrices[0].nodes:
            raise InputError(f"round {t} has {W.nodes} nodes, but round 0 has {matrices[0].nodes}; expected the same")
    return matrices


def _first_weights(graph: Any, t: int, nodes: int | None) -> MixingMatrix:
    if isinstance(graph, np.ndarray):
        if graph.ndim != 2 or graph.shape[1] != 2 or not np.issubdtype(graph.dtype, np.integer):
            raise InputError(
                f"round {t} is an array of shape {graph.shape}; expected edges, whole numbers of shape (m, 2)"
            )
        assert nodes is not None
        if graph.size and (graph.min() < 0 or graph.max() >= nodes):
            raise InputError(f"an edge of round {t} leaves the nodes 0 to {nodes - 1}")
        graph = adjacency_of_edges(nodes, graph)
    messages = messages_of(graph, "period", directed=True, require=lambda _: None)
    weight = 1 / (1 + int(messages.in_degree.max(initial=0)))
    W = sparse.csr_array(
        (np.full(messages.source.size, weight), (messages.target, messages.source)),
        shape=(messages.nodes, messages.nodes),
    )
    return MixingMatrix.from_matrix(sparse.csr_array(W + sparse.diags_array(1 - W.sum(axis=1))))


def pattern_of(W: MixingMatrix, t: int) -> Pattern:
    """Say what the weights of round t act on.

    Raises
    ------
    GraphError
        If the round is directed, and no permutation.

    Examples
    --------
    >>> pattern_of(MixingMatrix.from_matrix(np.full((2, 2), 0.5)), 0).exchange
    True
    """
    n = W.nodes
    apart = (W.target != W.source) & (W.weight != 0)
    target, source = W.target[apart], W.source[apart]
    if np.array_equal(np.sort(target * n + source), np.sort(source * n + target)):
        once = target < source
        edges = int(once.sum())
        return Pattern(target[once], source[once], np.arange(edges), edges, exchange=True)
    heard, sent = W.in_degree, W.out_degree
    if (heard > 1).any() or (heard != sent).any():
        i = int(np.flatnonzero((heard > 1) | (heard != sent))[0])
        raise GraphError(
            f"round {t} is directed, and node {i} hears {heard[i]} and sends to {sent[i]}; in a directed round every "
            "node hears one and sends to one, or none, as in one-peer exponential rounds"
        )
    links = sparse.csr_array((np.ones(target.size), (target, source)), shape=(n, n))
    _, cycle = connected_components(links, directed=False)
    _, group = np.unique(cycle[target], return_inverse=True)
    return Pattern(target, source, group.astype(np.int64), int(group.max()) + 1, exchange=False)


def start_weights(W: MixingMatrix, pattern: Pattern, t: int, nonnegative: bool) -> FloatArray:
    """Take the weights of round t as they are, shape (groups,), or refuse them.

    Raises
    ------
    InputError
        If a pattern with weights does not make this matrix, or a weight is negative and must not be.

    Examples
    --------
    >>> W = MixingMatrix.from_matrix(np.full((2, 2), 0.5))
    >>> start_weights(W, pattern_of(W, 0), 0, nonnegative=True).tolist()
    [0.5]
    """
    dense = W.to_csr()
    weights = np.zeros(pattern.groups)
    if pattern.groups:
        weights[pattern.group] = dense[pattern.a, pattern.b]
    off = abs(sparse.csr_array(pattern.matrix(W.nodes, weights).to_csr() - dense))
    if off.nnz and off.max() > 1e-9:
        raise InputError(
            f"the weights of round {t} are no start: expected a symmetric matrix, or one weight along each cycle of "
            "messages, and rows that sum to 1"
        )
    if nonnegative and W.weight.min() < 0:
        raise InputError(f"round {t} has a weight of {W.weight.min():g}; nonnegative=False allows negative weights")
    return weights


def require_mixing(nodes: int, patterns: Sequence[Pattern]) -> None:
    """Refuse rounds that together leave the graph disconnected, with a GraphError."""
    edges = np.concatenate([np.stack((pattern.a, pattern.b), axis=1) for pattern in patterns])
    try:
        require_connected(adjacency_of_edges(nodes, np.unique(np.sort(edges, axis=1), axis=0)))
    except GraphError as error:
        raise GraphError(f"no weights of these rounds can mix: together {error}") from None


def reach_bound(nodes: int, patterns: Sequence[Pattern]) -> float:
    """Bound the norm by how far values travel: k entries of sum 1 are at least sqrt(1/k - 1/n) off 1/n.

    Examples
    --------
    >>> ring = start_matrices([np.array([[0, 1], [2, 3]])], None)
    >>> round(reach_bound(4, [pattern_of(W, 0) for W in ring]), 6)
    0.57735
    """
    reached = np.eye(nodes, dtype=np.bool_)
    for pattern in patterns:
        target, source, _ = pattern.messages(np.ones(pattern.groups))
        links = sparse.csr_array((np.ones(target.size), (target, source)), shape=(nodes, nodes))
        reached = reached | ((links @ reached.astype(np.float64)) > 0)
    bound = 0.0
    for axis in (0, 1):
        off = np.maximum(0.0, 1 / reached.sum(axis=axis) - 1 / nodes)
        bound = max(bound, float(off.max()), float(off.sum()) / max(1, nodes - 1))
    return float(np.sqrt(bound) * (1 - 8 * EPS))
