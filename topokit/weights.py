"""Mixing weights for a graph: registered rules that turn a connected graph into a doubly stochastic matrix.

Rules that go by degrees give exact fractions. Two families have two conventions in the literature, which differ by
one in the denominator; they are named apart here:

====================  =======================================  ==============================================
name                  weight of an edge                        where it is called so
====================  =======================================  ==============================================
metropolis-hastings   1 / (1 + max(d_i, d_j))                  decentralized learning, gossip implementations
metropolis-boyd       1 / max(d_i, d_j)                        Boyd, Diaconis, Xiao 2004 ("local-degree")
max-degree            1 / max degree                           Xiao, Boyd 2004
max-degree-plus-one   1 / (1 + max degree)                     decentralized learning, gossip implementations
====================  =======================================  ==============================================

Without the "+ 1" a node of the largest degree keeps nothing of its own value: on a bipartite regular graph (an even
ring, a hypercube) the SLEM is then 1 and the values never agree.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import networkx as nx
import numpy as np

from topokit.errors import GraphError
from topokit.matrix import INT64_MAX, Graph, IntArray, MixingMatrix
from topokit.registry import weighting
from topokit.spectral import laplacian_extremes

__all__ = [
    "given_weights",
    "laplacian_weights",
    "max_degree_plus_one_weights",
    "max_degree_weights",
    "metropolis_boyd_weights",
    "metropolis_hastings_weights",
    "require_connected",
    "uniform_weights",
]

FLOAT_TOLERANCE = 1e-9  # on row and column sums of given weights
DYADIC = 1 << 20  # given floats that are multiples of 1 / DYADIC are taken as exact


class _Edges(NamedTuple):
    """The graph as messages: ``source[k]`` sends to ``target[k]``; an undirected edge is two of them."""

    nodes: int
    target: IntArray
    source: IntArray
    degree: IntArray


def require_connected(graph: Graph) -> None:
    """Refuse graphs on which values cannot spread from every node to every other.

    Raises
    ------
    GraphError
        Naming two nodes of which one cannot reach the other.

    Examples
    --------
    >>> require_connected(nx.empty_graph(3))
    Traceback (most recent call last):
    topokit.errors.GraphError: the graph is disconnected (3 components): node 0 cannot reach node 1
    """
    first = next(iter(graph.nodes))
    for view in (graph, graph.reverse(copy=False)) if isinstance(graph, nx.DiGraph) else (graph,):
        reached = {first, *nx.descendants(view, first)}
        other = next((node for node in graph.nodes if node not in reached), None)
        if other is None:
            continue
        a, b = (first, other) if view is graph else (other, first)
        if isinstance(graph, nx.DiGraph):
            how, count, kind = (
                "not strongly connected",
                nx.number_strongly_connected_components(graph),
                "strong components",
            )
        else:
            how, count, kind = "disconnected", nx.number_connected_components(graph), "components"
        raise GraphError(f"the graph is {how} ({count} {kind}): node {a} cannot reach node {b}")


def _messages(graph: Graph, rule: str, *, directed: bool = False, loops: bool = False) -> _Edges:
    """Check that a graph can be given weights and list its messages, self-loops left out."""
    nodes = graph.number_of_nodes()
    if nodes == 0:
        raise GraphError("the graph has no nodes")
    if set(graph.nodes) != set(range(nodes)):
        odd = next(node for node in graph.nodes if not isinstance(node, int) or not 0 <= node < nodes)
        raise GraphError(
            f"nodes must be numbered 0 to {nodes - 1}, found {odd!r}; topokit.graph_files.relabel numbers them"
        )
    if graph.is_multigraph():
        pair = next(((u, v) for u, v in graph.edges() if graph.number_of_edges(u, v) > 1), None)
        where = f" (nodes {pair[0]} and {pair[1]} are joined more than once)" if pair else ""
        raise GraphError(f"the graph is a multigraph{where}; make it simple first: nx.Graph(graph)")
    if graph.is_directed() and not directed:
        raise GraphError(
            f"{rule} weights need an undirected graph, this one is directed; graph.to_undirected() makes every edge "
            "an exchange, and uniform weights serve directed graphs in which all degrees are equal"
        )
    if not loops:
        loop = next(iter(nx.nodes_with_selfloops(graph)), None)
        if loop is not None:
            raise GraphError(f"node {loop} has a self-loop, but {rule} weights set the self weights; remove the loop")
    require_connected(graph)
    pairs = np.array([(u, v) for u, v in graph.edges() if u != v], dtype=np.int64).reshape(-1, 2)
    source, target = pairs[:, 0], pairs[:, 1]
    if not graph.is_directed():
        source, target = np.concatenate((source, target)), np.concatenate((target, source))
    return _Edges(nodes, target, source, np.bincount(target, minlength=nodes).astype(np.int64))


def _with_self_weights(edges: _Edges, denominator: IntArray) -> MixingMatrix:
    """Give every message the weight 1 / denominator and every node the rest of 1, exactly where 64 bits can hold it."""
    n = edges.nodes
    sums: list[Fraction] = [Fraction(0)] * n
    counts: dict[tuple[int, int], int] = {}
    for key in zip(edges.target.tolist(), denominator.tolist(), strict=True):
        counts[key] = counts.get(key, 0) + 1
    for (node, d), count in counts.items():
        sums[node] += Fraction(count, d)
    rest = [1 - s for s in sums]
    keep = [i for i, r in enumerate(rest) if r != 0]
    target = np.concatenate((edges.target, np.array(keep, dtype=np.int64)))
    source = np.concatenate((edges.source, np.array(keep, dtype=np.int64)))
    weight = np.concatenate((1 / denominator, np.array([float(rest[i]) for i in keep], dtype=np.float64)))
    if any(rest[i].denominator > INT64_MAX for i in keep):
        return MixingMatrix.from_entries(n, target, source, weight)
    ones = np.ones(denominator.size, dtype=np.int64)
    numerator = np.concatenate((ones, np.array([rest[i].numerator for i in keep], dtype=np.int64)))
    denominators = np.concatenate((denominator, np.array([rest[i].denominator for i in keep], dtype=np.int64)))
    return MixingMatrix.from_entries(n, target, source, weight, numerator=numerator, denominator=denominators)


@weighting(
    "uniform",
    summary="1/(degree + 1) for itself and each neighbour; regular graphs, directed ones too",
    source="folklore",
)
def uniform_weights(graph: Graph) -> MixingMatrix:
    """Give a node and each of its d neighbours the weight 1/(d + 1).

    Doubly stochastic on regular graphs only. A directed graph is regular if all in- and out-degrees are equal.

    Parameters
    ----------
    graph : networkx.Graph or networkx.DiGraph
        Connected, nodes 0 to n - 1, without self-loops. An edge u -> v says that u sends to v.

    Raises
    ------
    GraphError
        If two nodes have different degrees, or the graph is not connected or not simple.

    Examples
    --------
    >>> uniform_weights(nx.cycle_graph(4)).fractions()[0]
    Fraction(1, 3)
    """
    edges = _messages(graph, "uniform", directed=True)
    out = np.bincount(edges.source, minlength=edges.nodes)
    d = int(edges.degree[0])
    for degrees, way in ((edges.degree, "in-"), (out, "out-")):
        odd = np.flatnonzero(degrees != d)
        if odd.size:
            i = int(odd[0])
            if graph.is_directed():
                raise GraphError(
                    f"uniform weights need a graph in which every in- and out-degree is the same: node 0 has in-degree "
                    f"{d}, node {i} has {way}degree {degrees[i]}"
                )
            raise GraphError(
                f"uniform weights need a regular graph: node 0 has degree {d}, node {i} has {degrees[i]}; "
                "metropolis-hastings serves any graph"
            )
    return _with_self_weights(edges, np.full(edges.target.size, d + 1, dtype=np.int64))


@weighting(
    "metropolis-hastings",
    summary="1/(1 + max(d_i, d_j)) on edges; any undirected graph",
    source="Xiao, Boyd, Kim 2007; the usual choice in decentralized learning",
)
def metropolis_hastings_weights(graph: Graph) -> MixingMatrix:
    """Give an edge {i, j} the weight 1/(1 + max(d_i, d_j)) and each node the rest of 1 (always positive).

    `metropolis_boyd_weights` is the convention without the "1 +".

    Parameters
    ----------
    graph : networkx.Graph
        Connected, undirected, nodes 0 to n - 1, without self-loops.

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
    >>> print(*metropolis_hastings_weights(nx.path_graph(3)).fractions())
    2/3 1/3 1/3 1/3 1/3 1/3 2/3
    """
    edges = _messages(graph, "metropolis-hastings")
    return _with_self_weights(edges, 1 + np.maximum(edges.degree[edges.target], edges.degree[edges.source]))


@weighting(
    "metropolis-boyd",
    summary="1/max(d_i, d_j) on edges; no convergence on bipartite regular graphs (even rings, hypercubes)",
    source="Boyd, Diaconis, Xiao 2004",
)
def metropolis_boyd_weights(graph: Graph) -> MixingMatrix:
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
    >>> print(*metropolis_boyd_weights(nx.path_graph(3)).fractions())
    1/2 1/2 1/2 1/2 1/2 1/2
    """
    edges = _messages(graph, "metropolis-boyd")
    return _with_self_weights(edges, np.maximum(edges.degree[edges.target], edges.degree[edges.source]))


@weighting(
    "max-degree",
    summary="1/(largest degree) on every edge; no convergence on bipartite regular graphs",
    source="Xiao, Boyd 2004",
)
def max_degree_weights(graph: Graph) -> MixingMatrix:
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
    >>> print(*max_degree_weights(nx.star_graph(2)).fractions())
    1/2 1/2 1/2 1/2 1/2 1/2
    """
    edges = _messages(graph, "max-degree")
    return _with_self_weights(edges, np.full(edges.target.size, edges.degree.max(), dtype=np.int64))


@weighting(
    "max-degree-plus-one",
    summary="1/(1 + largest degree) on every edge; any undirected graph",
    source="folklore; implementations of decentralized learning",
)
def max_degree_plus_one_weights(graph: Graph) -> MixingMatrix:
    """Give every edge the weight 1/(1 + D), D the largest degree, and each node the rest of 1 (always positive).

    Raises
    ------
    GraphError
        If the graph is directed, not connected or not simple.

    Examples
    --------
    >>> print(*max_degree_plus_one_weights(nx.star_graph(2)).fractions())
    1/3 1/3 1/3 1/3 2/3 1/3 2/3
    """
    edges = _messages(graph, "max-degree-plus-one")
    return _with_self_weights(edges, np.full(edges.target.size, 1 + edges.degree.max(), dtype=np.int64))


@weighting(
    "laplacian",
    summary="the best constant 2/(mu_2 + mu_n) on every edge; self weights may be negative",
    source="Xiao, Boyd 2004",
    exact=False,
)
def laplacian_weights(graph: Graph) -> MixingMatrix:
    """Give every edge the constant 2/(mu_2 + mu_n), for which W = I - alpha L has the smallest SLEM.

    mu_2 and mu_n are the second smallest and the largest eigenvalue of the graph Laplacian L; the SLEM is
    (mu_n - mu_2)/(mu_n + mu_2). Self weights are negative at nodes of degree above 1/alpha.

    Raises
    ------
    GraphError
        If the graph is directed, not connected or not simple.

    References
    ----------
    .. [1] L. Xiao, S. Boyd, "Fast linear iterations for distributed averaging", Systems & Control Letters 53, 2004.

    Examples
    --------
    >>> laplacian_weights(nx.star_graph(3)).to_dense()[0]
    array([-0.2,  0.4,  0.4,  0.4])
    """
    edges = _messages(graph, "laplacian")
    if edges.nodes == 1:
        return MixingMatrix.from_entries(1, [0], [0], [1.0])
    alpha = 2 / sum(laplacian_extremes(graph))
    own = np.arange(edges.nodes)
    weight = np.concatenate((np.full(edges.target.size, alpha), 1 - alpha * edges.degree))
    # A self weight of 0, as in the complete graph's relatives, comes out of the eigenvalues as a rounding error.
    keep = np.abs(weight) > 1e-14
    target, source = np.concatenate((edges.target, own)), np.concatenate((edges.source, own))
    return MixingMatrix.from_entries(edges.nodes, target[keep], source[keep], weight[keep])


def _number(value: Any, source: int, target: int) -> Fraction | float:
    """Read one given weight: exactly where it is a fraction, an integer, or a short dyadic float."""
    try:
        if isinstance(value, str) and "/" in value:
            return Fraction(value)
        if isinstance(value, Fraction | int):
            return Fraction(value)
        number = float(value)
        return Fraction(number) if (number * DYADIC).is_integer() else number
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise GraphError(f"the weight of the edge {source} -> {target} is {value!r}, which is not a number") from None


@weighting(
    "given",
    summary="the weights that the graph's edges carry, checked",
    source="the user's graph",
)
def given_weights(graph: Graph, attribute: str = "weight") -> MixingMatrix:
    """Take the weights from an edge attribute and check that they are doubly stochastic.

    A self-loop carries the self weight. A node without one gets what is missing to a row sum of 1.

    Parameters
    ----------
    graph : networkx.Graph or networkx.DiGraph
        Connected, nodes 0 to n - 1. The weight of an edge u -> v is that of u's value in the next value of v.
    attribute : str, default "weight"
        Name of the attribute: numbers, or fractions as text (``"1/3"``).

    Returns
    -------
    MixingMatrix
        Exact if every weight is a fraction, an integer, or a float such as 0.25 that is exactly a short binary one.

    Raises
    ------
    GraphError
        If a weight is missing, not a number or not finite, a row or column does not sum to 1, or the graph is not
        connected or not simple.

    Examples
    --------
    >>> graph = nx.Graph([(0, 1, {"weight": "1/3"})])
    >>> print(*given_weights(graph).fractions())
    2/3 1/3 1/3 2/3
    """
    nodes = _messages(graph, "given", directed=True, loops=True).nodes
    entries: dict[tuple[int, int], Fraction | float] = {}
    value: Any
    for u, v, value in graph.edges(data=attribute):
        if value is None:
            raise GraphError(f"the edge {u} -> {v} has no {attribute!r}; given weights need one on every edge")
        number = _number(value, u, v)
        if not np.isfinite(float(number)):
            raise GraphError(f"the weight of the edge {u} -> {v} is {value}; weights must be finite")
        entries[v, u] = number
        if not graph.is_directed():
            entries[u, v] = number
    exact = all(isinstance(w, Fraction) for w in entries.values())
    if not exact:
        entries = {key: float(w) for key, w in entries.items()}
    row_sums = _sums(nodes, entries, axis=0)
    for i in range(nodes):
        if (i, i) not in entries:
            missing = 1 - row_sums[i]
            entries[i, i] = missing if exact or abs(missing) > FLOAT_TOLERANCE else 0.0
    for axis, line in enumerate(("row", "column")):
        for i, total in enumerate(_sums(nodes, entries, axis)):
            if abs(float(total - 1)) > (0 if exact else FLOAT_TOLERANCE):
                whose = "what it receives" if axis == 0 else "what it sends"
                raise GraphError(
                    f"the {line} of node {i} ({whose}) sums to {total}; every row and column must sum to 1"
                )
    target, source = np.array([key for key, w in entries.items() if w != 0], dtype=np.int64).reshape(-1, 2).T
    weights = [w for w in entries.values() if w != 0]
    fractions = [w for w in weights if isinstance(w, Fraction)]
    if exact and all(max(abs(w.numerator), w.denominator) <= INT64_MAX for w in fractions):
        return MixingMatrix.from_fractions(nodes, target, source, fractions)
    return MixingMatrix.from_entries(nodes, target, source, [float(w) for w in weights])


def _sums(nodes: int, entries: dict[tuple[int, int], Fraction | float], axis: int) -> list[Fraction | float]:
    """Sum the entries of every row (axis 0) or column (axis 1)."""
    sums: list[Fraction | float] = [Fraction(0)] * nodes
    for key, w in entries.items():
        sums[key[axis]] += w
    return sums
