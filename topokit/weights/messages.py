"""The graph as messages: what every rule for weights starts from, and the checks that they share.

A graph is a networkx graph, or a sparse adjacency matrix: A[u, v] is not 0 if u sends to v, and the graph is undirected
if the pattern of A is symmetric.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import networkx as nx
import numpy as np
from scipy import sparse

from topokit.adjacency import GraphLike, SparseGraph, adjacency_of_edges, asymmetric_pair, pattern_of, reached_from
from topokit.errors import GraphError
from topokit.matrix import Graph, IntArray

__all__ = ["Messages", "messages_of", "require_connected"]

GraphT = TypeVar("GraphT")


class Messages(NamedTuple):
    """The graph as messages: ``source[k]`` sends to ``target[k]``; an undirected edge is two of them."""

    nodes: int
    target: IntArray
    source: IntArray
    directed: bool = False

    @property
    def in_degree(self) -> IntArray:
        """Number of peers each node receives from, shape (n,)."""
        return np.bincount(self.target, minlength=self.nodes).astype(np.int64)

    @property
    def out_degree(self) -> IntArray:
        """Number of peers each node sends to, shape (n,)."""
        return np.bincount(self.source, minlength=self.nodes).astype(np.int64)

    def adjacency(self) -> sparse.csr_array:
        """Give the sparse matrix A with A[u, v] = 1 if u sends to v."""
        return adjacency_of_edges(self.nodes, np.stack((self.source, self.target), axis=1), directed=True)


def require_connected(graph: GraphLike) -> None:
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
    if not isinstance(graph, nx.Graph):
        _require_connected_pattern(pattern_of(graph))
        return
    first = next(iter(graph.nodes))
    for view in (graph, graph.reverse(copy=False)) if isinstance(graph, nx.DiGraph) else (graph,):
        reached = {first, *nx.descendants(view, first)}
        other = next((node for node in graph.nodes if node not in reached), None)
        if other is None:
            continue
        a, b = (first, other) if view is graph else (other, first)
        if isinstance(graph, nx.DiGraph):
            raise _disconnected(nx.number_strongly_connected_components(graph), a, b, directed=True)
        raise _disconnected(nx.number_connected_components(graph), a, b, directed=False)


def _require_connected_pattern(pattern: sparse.csr_array) -> None:
    from scipy.sparse.csgraph import connected_components

    directed = asymmetric_pair(pattern) is not None
    for backwards in (False, True) if directed else (False,):
        reached = reached_from(sparse.csr_array(pattern.T) if backwards else pattern, 0)
        if not reached.all():
            other = int(np.flatnonzero(~reached)[0])
            count, _ = connected_components(pattern, connection="strong")
            raise _disconnected(count, *((other, 0) if backwards else (0, other)), directed=directed)


def _disconnected(count: int, start: Any, end: Any, *, directed: bool) -> GraphError:
    how, kind = ("not strongly connected", "strong components") if directed else ("disconnected", "components")
    return GraphError(f"the graph is {how} ({count} {kind}): node {start} cannot reach node {end}")


def messages_of(
    graph: GraphLike,
    rule: str,
    *,
    directed: bool = False,
    loops: bool = False,
    require: Callable[[GraphLike], None] = require_connected,
) -> Messages:
    """Check that a graph can be given weights and list its messages, self-loops left out.

    Parameters
    ----------
    graph : networkx.Graph, networkx.DiGraph or sparse array, shape (n, n)
        The values of a sparse array are ignored; it is an undirected graph if its pattern is symmetric.
    rule : str
        Name of the weighting, for messages.
    directed, loops : bool, default False
        Whether the weighting takes directed graphs, and self-loops.
    require : callable
        Refuses graphs that are not connected enough.

    Raises
    ------
    GraphError
        If the graph is empty, not simple, not numbered 0 to n - 1, or of a sort that the weighting does not take.

    Examples
    --------
    >>> messages_of(nx.path_graph(2), "uniform").source
    array([0, 1])
    """
    if isinstance(graph, nx.Graph):
        return _of_networkx(graph, rule, directed, loops, require)
    return _of_pattern(graph, rule, directed, loops, require)


def _of_networkx(graph: Graph, rule: str, directed: bool, loops: bool, require: Callable[[Graph], None]) -> Messages:
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
        raise _one_way(rule, "graph.to_undirected()")
    if not loops:
        loop = next(iter(nx.nodes_with_selfloops(graph)), None)
        if loop is not None:
            raise _loop(loop, rule)
    require(graph)
    pairs = np.array([(u, v) for u, v in graph.edges() if u != v], dtype=np.int64).reshape(-1, 2)
    source, target = pairs[:, 0], pairs[:, 1]
    if not graph.is_directed():
        source, target = np.concatenate((source, target)), np.concatenate((target, source))
    return Messages(nodes, target, source, graph.is_directed())


def _of_pattern(
    graph: SparseGraph, rule: str, directed: bool, loops: bool, require: Callable[[SparseGraph], None]
) -> Messages:
    pattern = pattern_of(graph)
    nodes = int(pattern.shape[0])
    if nodes == 0:
        raise GraphError("the graph has no nodes")
    pair = asymmetric_pair(pattern)
    if pair is not None and not directed:
        raise _one_way(rule, "A + A.T", f" (A[{pair[0]}, {pair[1]}] is not 0, A[{pair[1]}, {pair[0]}] is)")
    target = pattern.indices.astype(np.int64)
    source = np.repeat(np.arange(nodes), np.diff(pattern.indptr))
    own = target == source
    if own.any():
        if not loops:
            raise _loop(int(target[own][0]), rule)
        source, target = source[~own], target[~own]
    require(pattern)
    return Messages(nodes, target, source, pair is not None)


def _one_way(rule: str, remedy: str, where: str = "") -> GraphError:
    return GraphError(
        f"{rule} weights need an undirected graph, this one is directed{where}; balanced (doubly stochastic) and "
        f"push-sum (column-stochastic) weights serve directed graphs, and {remedy} makes every edge an exchange"
    )


def _loop(node: Any, rule: str) -> GraphError:
    return GraphError(f"node {node} has a self-loop, but {rule} weights set the self weights; remove the loop")
