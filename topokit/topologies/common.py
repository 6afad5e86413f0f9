"""What several families need: numbering, sizes, and rounds of simple shapes with exact weights."""

from __future__ import annotations

import networkx as nx
import numpy as np

from topokit.errors import InputError
from topokit.matrix import Graph, IntArray, MixingMatrix

__all__ = ["averaged_with", "complete_edges", "no_power_of_two", "no_tree", "numbered"]


def numbered(graph: Graph) -> Graph:
    """Renumber the nodes in sorted order, whatever the order in which a generator added nodes and edges."""
    number = {node: i for i, node in enumerate(sorted(graph.nodes))}
    result: Graph = nx.Graph()
    result.add_nodes_from(range(len(number)))
    pairs = ((number[u], number[v]) for u, v in graph.edges)
    result.add_edges_from(sorted((min(pair), max(pair)) for pair in pairs))
    return result


def complete_edges(nodes: int) -> IntArray:
    """Give all pairs of nodes, shape (n (n - 1)/2, 2)."""
    return np.stack(np.triu_indices(nodes, 1), axis=1)


def no_power_of_two(nodes: int) -> str | None:
    """Say why a family that needs a power of two does not exist, or None."""
    return None if nodes >= 2 and nodes & (nodes - 1) == 0 else "needs a power of two"


def no_tree(nodes: int, arity: int = 2) -> str | None:
    """Say why a family on complete trees does not exist, or None."""
    if arity < 1:
        raise InputError(f"arity must be at least 1, got {arity}")
    return None if nodes >= 2 else "needs at least 2 nodes"


def averaged_with(sources: IntArray) -> MixingMatrix:
    """Give the round in which node i takes the mean of its own value and that of ``sources[i]``, exactly."""
    nodes = sources.size
    own = np.arange(nodes)
    half = np.ones(2 * nodes, dtype=np.int64)
    return MixingMatrix.from_entries(
        nodes,
        np.concatenate((own, own)),
        np.concatenate((own, sources)),
        half / 2,
        numerator=half,
        denominator=2 * half,
    )
