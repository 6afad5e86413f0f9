"""Weights for directed graphs: doubly stochastic ones, from a circulation, and the column-stochastic ones of push-sum.

Rows and columns of W both sum to 1 if and only if the weights of the messages are a circulation. Positive ones exist if
and only if every edge lies on a cycle, that is, for a graph in one piece, if and only if it is strongly connected:
adding up a cycle through every edge gives such a circulation, and what leaves a part of the graph has to come back.
"""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from topokit.adjacency import GraphLike, pattern_of
from topokit.errors import GraphError
from topokit.matrix import IntArray, MixingMatrix
from topokit.registry import weighting
from topokit.weights.messages import Messages, messages_of, require_connected

__all__ = ["balanced_weights", "push_sum_weights"]


@weighting(
    "balanced",
    summary="f/D with a circulation f of whole numbers; any strongly connected directed graph",
    source="Gharesifard, Cortes 2012 (when they exist); Hoffman 1960 (circulations)",
)
def balanced_weights(graph: GraphLike) -> MixingMatrix:
    """Give the edges of a directed graph doubly stochastic weights f/D, all positive, with the smallest possible D.

    f is a circulation of whole numbers, at least 1 on every edge, and D is 1 more than the most that leaves a node;
    a node keeps the rest of 1, at least 1/D. No doubly stochastic weights, positive on edges and nodes, are multiples
    of 1/D' with D' < D. On an undirected graph f is 1, which gives `max_degree_plus_one_weights`: here as there, one
    busy node makes all others cautious.

    Parameters
    ----------
    graph : networkx.DiGraph, networkx.Graph or sparse array, shape (n, n)
        Strongly connected, nodes 0 to n - 1, without self-loops. An edge u -> v, or an entry A[u, v], says that u sends
        to v.

    Returns
    -------
    MixingMatrix
        Doubly stochastic and exact, in general not symmetric; positive on every edge and for every node itself.

    Raises
    ------
    GraphError
        If the graph is not strongly connected, which means that some edge lies on no cycle and no such weights exist;
        or if it is not simple.

    Notes
    -----
    The smallest D is found by maximum flows, each of which finds a circulation for the D that is tried, or a cut that
    raises D. There can be several circulations for the smallest D; the graph alone decides which one is taken.

    References
    ----------
    .. [1] B. Gharesifard, J. Cortes, "When does a digraph admit a doubly stochastic adjacency matrix?", American
       Control Conference 2010; "Distributed strategies for generating weight-balanced and doubly stochastic digraphs",
       European Journal of Control 18(6), 2012.
    .. [2] A. J. Hoffman, "Some recent applications of the theory of linear inequalities to extremal combinatorial
       analysis", Proceedings of Symposia in Applied Mathematics 10, 1960.

    Examples
    --------
    The ring 0 -> 1 -> 2 -> 0 with the shortcut 0 -> 2: the edge 2 -> 0 has to carry back what both carried away.

    >>> import networkx as nx
    >>> balanced_weights(nx.DiGraph([(0, 1), (0, 2), (1, 2), (2, 0)])).to_dense().round(3)
    array([[0.333, 0.   , 0.667],
           [0.333, 0.667, 0.   ],
           [0.333, 0.333, 0.333]])
    """
    messages = messages_of(graph, "balanced", directed=True, require=_require_cycles)
    source, target, flow = _circulation(messages)
    leaving = np.zeros(messages.nodes, dtype=np.int64)
    np.add.at(leaving, source, flow)
    whole = 1 + int(leaving.max())
    own = np.arange(messages.nodes)
    numerator = np.concatenate((flow, whole - leaving))
    common = np.gcd(numerator, whole)
    return MixingMatrix.from_entries(
        messages.nodes,
        np.concatenate((target, own)),
        np.concatenate((source, own)),
        numerator / whole,
        numerator=numerator // common,
        denominator=whole // common,
    )


def _require_cycles(graph: GraphLike) -> None:
    """Refuse graphs with an edge that lies on no cycle, naming one, and graphs in several pieces."""
    count, bridge = _bridge(graph)
    if bridge is not None:
        u, v = bridge
        raise GraphError(
            f"the graph is not strongly connected ({count} strong components): the edge {u} -> {v} lies on no "
            "cycle, so that what it carries never comes back and doubly stochastic weights would have to be 0 on "
            f"it; add edges that lead back, such as {v} -> {u}, which push-sum would need too"
        )
    require_connected(graph)


def _bridge(graph: GraphLike) -> tuple[int, tuple[Any, Any] | None]:
    """Count the strong components of a directed graph and find the first edge between two of them."""
    if isinstance(graph, nx.Graph):
        if not isinstance(graph, nx.DiGraph):
            return 1, None
        pieces = list(nx.strongly_connected_components(graph))
        component = {node: k for k, members in enumerate(pieces) for node in members}
        return len(pieces), next(((u, v) for u, v in graph.edges if component[u] != component[v]), None)
    from scipy.sparse.csgraph import connected_components

    pattern = pattern_of(graph)
    count, label = connected_components(pattern, connection="strong")
    source = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
    between = np.flatnonzero(label[source] != label[pattern.indices])
    return count, (int(source[between[0]]), int(pattern.indices[between[0]])) if between.size else None


def _circulation(messages: Messages) -> tuple[IntArray, IntArray, IntArray]:
    """Find the circulation of whole numbers, at least 1 on every edge, of which the least leaves the busiest node.

    Returns
    -------
    source, target, flow : ndarray of int64, shape (m,)
    """
    limit = int(max(messages.in_degree.max(), messages.out_degree.max()))
    while True:
        flow, cut = _limited_circulation(messages, limit)
        if flow is not None:
            return flow
        limit = cut


def _limited_circulation(messages: Messages, limit: int) -> tuple[tuple[IntArray, IntArray, IntArray] | None, int]:
    """Find a circulation of which at most `limit` passes any node; where there is none, a larger lower bound on it.

    Every node is split into an entrance and an exit. Each edge carries 1 beforehand, which is to be led on from its
    entrance to the exits: the maximum flow from a source, which supplies the entrances, to a sink, which drains the
    exits, has the value m if and only if the circulation exists.
    """
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    n, edges = messages.nodes, messages.target.size
    entrance, exit_ = np.arange(n), np.arange(n, 2 * n)
    supply, drain = 2 * n, 2 * n + 1
    tail = np.concatenate((np.full(n, supply), exit_, entrance, exit_[messages.source]))
    head = np.concatenate((entrance, np.full(n, drain), exit_, entrance[messages.target]))
    capacity = np.concatenate((messages.in_degree, messages.out_degree, np.full(n, limit), np.full(edges, edges)))
    network = sparse.csr_array(
        (capacity.astype(np.int32), (tail.astype(np.int32), head.astype(np.int32))), shape=(2 * n + 2, 2 * n + 2)
    )
    result = maximum_flow(network, supply, drain)
    if result.flow_value == edges:
        once = sparse.coo_array((np.ones(edges, dtype=np.int64), (messages.source, messages.target)), shape=(n, n))
        again = sparse.csr_array(result.flow)[n : 2 * n, :n]  # from exits to entrances
        flow = sparse.coo_array(once.tocsr() + again.maximum(0))
        flow.eliminate_zeros()
        source, target = (ids.astype(np.int64) for ids in flow.coords)
        return (source, target, flow.data.astype(np.int64)), limit
    # What the supply still reaches is one side of a minimum cut. The edges that enter it have to leave it by the nodes
    # whose entrances alone are reached, whatever the limit.
    residual = sparse.csr_array(network - result.flow)
    residual.eliminate_zeros()
    reached: NDArray[np.bool_] = np.zeros(2 * n + 2, dtype=bool)
    reached[breadth_first_order(residual, supply, return_predecessors=False)] = True
    entering = int((reached[entrance[messages.target]] & ~reached[exit_[messages.source]]).sum())
    passing = int((reached[entrance] & ~reached[exit_]).sum())
    return None, -(-entering // passing)


@weighting(
    "push-sum",
    summary="1/(out-degree + 1) of the sender for itself and all it sends to; columns alone sum to 1",
    source="Kempe, Dobra, Gehrke 2003; Assran, Loizou, Ballas, Rabbat 2019 (arXiv 1811.10792)",
    mixing="column-stochastic",
)
def push_sum_weights(graph: GraphLike) -> MixingMatrix:
    """Give all that node u sends, and what it keeps, the weight 1/(1 + d), d being the out-degree of u.

    The weights only need what the sender knows. Columns sum to 1, so that the sum of all values stays what it is, but
    rows do not: the values x_i tend to n pi_i times the mean, pi being the `topokit.perron.perron_vector` of W.
    Push-sum mixes a number w_i, 1 at the start, in the same way; it tends to n pi_i, and x_i / w_i to the mean. An
    algorithm that does not divide does not average with these weights: `balanced_weights` needs no division.

    Parameters
    ----------
    graph : networkx.DiGraph, networkx.Graph or sparse array, shape (n, n)
        Strongly connected, nodes 0 to n - 1, without self-loops. An edge u -> v, or an entry A[u, v], says that u sends
        to v.

    Returns
    -------
    MixingMatrix
        Column-stochastic and exact; all weights, also the self weights, are positive.

    Raises
    ------
    GraphError
        If the graph is not strongly connected or not simple.

    References
    ----------
    .. [1] D. Kempe, A. Dobra, J. Gehrke, "Gossip-Based Computation of Aggregate Information", FOCS 2003.
    .. [2] M. Assran, N. Loizou, N. Ballas, M. Rabbat, "Stochastic Gradient Push for Distributed Deep Learning",
       ICML 2019.

    Examples
    --------
    Node 0 sends to 1 and 2, which send to 2 and to 0:

    >>> import networkx as nx
    >>> push_sum_weights(nx.DiGraph([(0, 1), (0, 2), (1, 2), (2, 0)])).to_dense().round(3)
    array([[0.333, 0.   , 0.5  ],
           [0.333, 0.5  , 0.   ],
           [0.333, 0.5  , 0.5  ]])
    """
    messages = messages_of(graph, "push-sum", directed=True)
    own = np.arange(messages.nodes)
    target, source = np.concatenate((messages.target, own)), np.concatenate((messages.source, own))
    share = 1 + messages.out_degree[source]
    return MixingMatrix.from_entries(
        messages.nodes, target, source, 1 / share, numerator=np.ones_like(share), denominator=share
    )
