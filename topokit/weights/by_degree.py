"""Weights that go by the degrees of an edge's two ends, as exact fractions."""

from __future__ import annotations

import numpy as np

from topokit.adjacency import GraphLike
from topokit.errors import GraphError
from topokit.matrix import IntArray, MixingMatrix
from topokit.registry import weighting
from topokit.weights.messages import Messages, messages_of
from topokit.weights.self_weights import with_self_weights

__all__ = [
    "max_degree_plus_one_weights",
    "max_degree_weights",
    "metropolis_boyd_weights",
    "metropolis_hastings_weights",
    "uniform_weights",
]


def _larger_degree(messages: Messages) -> IntArray:
    """Give the larger degree of the two ends of every message."""
    degree = messages.in_degree
    return np.maximum(degree[messages.target], degree[messages.source])


@weighting(
    "uniform",
    summary="1/(degree + 1) for itself and each neighbour; regular graphs, directed ones too",
    source="folklore",
)
def uniform_weights(graph: GraphLike) -> MixingMatrix:
    """Give a node and each of its d neighbours the weight 1/(d + 1).

    Doubly stochastic on regular graphs only. A directed graph is regular if all in- and out-degrees are equal.

    Parameters
    ----------
    graph : networkx.Graph, networkx.DiGraph or sparse array, shape (n, n)
        Connected, nodes 0 to n - 1, without self-loops. An edge u -> v, or an entry A[u, v], says that u sends to v.

    Raises
    ------
    GraphError
        If two nodes have different degrees, or the graph is not connected or not simple.

    Examples
    --------
    >>> import networkx as nx
    >>> uniform_weights(nx.cycle_graph(4)).fractions()[0]
    Fraction(1, 3)
    """
    messages = messages_of(graph, "uniform", directed=True)
    d = int(messages.in_degree[0])
    for degrees, way in ((messages.in_degree, "in-"), (messages.out_degree, "out-")):
        odd = np.flatnonzero(degrees != d)
        if odd.size:
            i = int(odd[0])
            if messages.directed:
                raise GraphError(
                    f"uniform weights need a graph in which every in- and out-degree is the same: node 0 has in-degree "
                    f"{d}, node {i} has {way}degree {degrees[i]}; balanced serves any strongly connected graph"
                )
            raise GraphError(
                f"uniform weights need a regular graph: node 0 has degree {d}, node {i} has {degrees[i]}; "
                "metropolis-hastings serves any graph"
            )
    return with_self_weights(messages, np.full(messages.target.size, d + 1, dtype=np.int64))


@weighting(
    "metropolis-hastings",
    summary="1/(1 + max(d_i, d_j)) on edges; any undirected graph",
    source="Xiao, Boyd, Kim 2007; the usual choice in decentralized learning",
)
def metropolis_hastings_weights(graph: GraphLike) -> MixingMatrix:
    """Give an edge {i, j} the weight 1/(1 + max(d_i, d_j)) and each node the rest of 1 (always positive).

    `metropolis_boyd_weights` is the convention without the "1 +".

    Parameters
    ----------
    graph : networkx.Graph or sparse array, shape (n, n)
        Connected, undirected, nodes 0 to n - 1, without self-loops. Of an adjacency matrix, only the pattern counts.

    Returns
    -------
    MixingMatrix
        Symmetric and doubly stochastic. Exact unless a self weight needs a denominator of more than 64 bits (a node
        with neighbours of very many different degrees), then in floating point.

    Raises
    ------
    GraphError
        If the graph is directed, not connected or not simple.

    References
    ----------
    .. [1] L. Xiao, S. Boyd, S.-J. Kim, "Distributed average consensus with least-mean-square deviation", Journal of
       Parallel and Distributed Computing 67(1), 2007.

    Examples
    --------
    >>> import networkx as nx
    >>> print(*metropolis_hastings_weights(nx.path_graph(3)).fractions())
    2/3 1/3 1/3 1/3 1/3 1/3 2/3
    """
    messages = messages_of(graph, "metropolis-hastings")
    return with_self_weights(messages, 1 + _larger_degree(messages))


@weighting(
    "metropolis-boyd",
    summary="1/max(d_i, d_j) on edges; no convergence on bipartite regular graphs (even rings, hypercubes)",
    source="Boyd, Diaconis, Xiao 2004",
)
def metropolis_boyd_weights(graph: GraphLike) -> MixingMatrix:
    """Give an edge {i, j} the weight 1/max(d_i, d_j) and each node the rest of 1, which may be 0.

    On a bipartite regular graph the SLEM is 1: the values of the two sides swap for ever. `metropolis_hastings_weights`
    has no such exception.

    Raises
    ------
    GraphError
        If the graph is directed, not connected or not simple.

    References
    ----------
    .. [1] S. Boyd, P. Diaconis, L. Xiao, "Fastest mixing Markov chain on a graph", SIAM Review 46(4), 2004.

    Examples
    --------
    >>> import networkx as nx
    >>> print(*metropolis_boyd_weights(nx.path_graph(3)).fractions())
    1/2 1/2 1/2 1/2 1/2 1/2
    """
    messages = messages_of(graph, "metropolis-boyd")
    return with_self_weights(messages, _larger_degree(messages))


@weighting(
    "max-degree",
    summary="1/(largest degree) on every edge; no convergence on bipartite regular graphs",
    source="Xiao, Boyd 2004",
)
def max_degree_weights(graph: GraphLike) -> MixingMatrix:
    """Give every edge the weight 1/D, D the largest degree, and each node the rest of 1, which may be 0.

    On a bipartite regular graph the SLEM is 1; `max_degree_plus_one_weights` has no such exception.

    Raises
    ------
    GraphError
        If the graph is directed, not connected or not simple.

    References
    ----------
    .. [1] L. Xiao, S. Boyd, "Fast linear iterations for distributed averaging", Systems & Control Letters 53, 2004.

    Examples
    --------
    >>> import networkx as nx
    >>> print(*max_degree_weights(nx.star_graph(2)).fractions())
    1/2 1/2 1/2 1/2 1/2 1/2
    """
    messages = messages_of(graph, "max-degree")
    return with_self_weights(messages, np.full(messages.target.size, messages.in_degree.max(), dtype=np.int64))


@weighting(
    "max-degree-plus-one",
    summary="1/(1 + largest degree) on every edge; any undirected graph",
    source="folklore; implementations of decentralized learning",
)
def max_degree_plus_one_weights(graph: GraphLike) -> MixingMatrix:
    """Give every edge the weight 1/(1 + D), D the largest degree, and each node the rest of 1 (always positive).

    Raises
    ------
    GraphError
        If the graph is directed, not connected or not simple.

    Examples
    --------
    >>> import networkx as nx
    >>> print(*max_degree_plus_one_weights(nx.star_graph(2)).fractions())
    1/3 1/3 1/3 1/3 2/3 1/3 2/3
    """
    messages = messages_of(graph, "max-degree-plus-one")
    return with_self_weights(messages, np.full(messages.target.size, 1 + messages.in_degree.max(), dtype=np.int64))
