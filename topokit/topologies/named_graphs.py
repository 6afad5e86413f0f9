"""Graphs with a name: those that stress a method (bottlenecks, trees), and those that experiments were run on."""

from __future__ import annotations

from collections.abc import Callable

import networkx as nx
import numpy as np

from topokit.adjacency import graph_of_edges
from topokit.errors import InputError
from topokit.matrix import Graph, IntArray
from topokit.registry import TOPOLOGIES, Promise, topology
from topokit.topologies.common import no_tree, numbered

__all__ = [
    "barbell_graph",
    "davis_women_graph",
    "karate_club_graph",
    "lollipop_graph",
    "petersen_graph",
    "tree_graph",
]

LEAST_CLIQUE = 3  # nodes: two nodes are an edge, and the graph would be a path


def _only(count: int) -> Callable[[int], str | None]:
    def obstacle(nodes: int) -> str | None:
        return None if nodes == count else f"has {count} nodes"

    return obstacle


@topology(
    "petersen",
    "static",
    summary="the Petersen graph: 10 nodes of degree 3, any two at most 2 steps apart",
    source="Petersen 1898",
    obstacle=_only(10),
    weights="uniform",
    sizes="n = 10",
    degree="3",
    exact="never",
    promise=lambda nodes: Promise(degree=3, exact=False),
    instead=("random-regular",),
    ranked=False,
)
def petersen_graph(nodes: int = 10) -> Graph:
    """Build the Petersen graph: the ring 0 ... 4, the star 5, 7, 9, 6, 8, and the spokes i - (i + 5).

    Parameters
    ----------
    nodes : int, default 10
        Number of nodes, 10.

    Raises
    ------
    GraphError
        For any other number of nodes.

    Notes
    -----
    With uniform weights 1/4 the spectral gap is 1/2.

    Examples
    --------
    >>> sorted(petersen_graph()[0])
    [1, 4, 5]
    """
    TOPOLOGIES["petersen"].require(nodes)
    return numbered(nx.petersen_graph())


def _check_path(path: int) -> None:
    if path < 0:
        raise InputError(f"path must be at least 0, got {path}")


def _no_barbell(nodes: int, path: int = 0) -> str | None:
    _check_path(path)
    least = 2 * LEAST_CLIQUE + path
    if nodes >= least and (nodes - path) % 2 == 0:
        return None
    between = f"with {path} node{'s' if path > 1 else ''} between its cliques " if path else ""
    return f"{between}needs an {'odd' if path % 2 else 'even'} number of nodes, at least {least}"


@topology(
    "barbell",
    "static",
    summary="two cliques joined by an edge, or by a path: the bottleneck that slows gossip most",
    source="folklore",
    obstacle=_no_barbell,
    sizes="n - path even, >= 6",
    degree="(n - path)/2",
    exact="never",
    promise=lambda nodes, path=0: Promise(degree=(nodes - path) // 2, exact=False),
    instead=("lollipop",),
    ranked=False,
)
def barbell_graph(nodes: int, path: int = 0) -> Graph:
    """Build two cliques of (n - path)/2 nodes, the last node of one joined to the first of the other.

    Parameters
    ----------
    nodes : int
        Number of nodes; n - path is even and at least 6.
    path : int, default 0
        Number of nodes of a path between the cliques; 0 joins them by an edge.

    Raises
    ------
    InputError
        If `path` is negative.
    GraphError
        If the graph does not exist for this number of nodes.

    Examples
    --------
    >>> graph = barbell_graph(6)
    >>> sorted(graph[2]), sorted(graph[3])
    ([0, 1, 3], [2, 4, 5])
    """
    TOPOLOGIES["barbell"].require(nodes, path=path)
    return numbered(nx.barbell_graph((nodes - path) // 2, path))


def _clique(nodes: int, clique: int | None) -> int:
    return (2 * nodes + 1) // 3 if clique is None else clique


def _no_lollipop(nodes: int, clique: int | None = None) -> str | None:
    if clique is not None and clique < LEAST_CLIQUE:
        raise InputError(f"clique must be at least {LEAST_CLIQUE}, got {clique}")
    if clique is None:
        return None if nodes > LEAST_CLIQUE else f"needs more than {LEAST_CLIQUE} nodes"
    return None if nodes > clique else f"with a clique of {clique} needs more than {clique} nodes"


@topology(
    "lollipop",
    "static",
    summary="a clique with a path hanging from it: the graph on which random walks are slowest",
    source="Brightwell, Winkler 1990",
    obstacle=_no_lollipop,
    sizes="n >= 4, n > clique",
    degree="clique",
    exact="never",
    promise=lambda nodes, clique=None: Promise(degree=_clique(nodes, clique), exact=False),
    ranked=False,
)
def lollipop_graph(nodes: int, clique: int | None = None) -> Graph:
    """Build a clique of the first nodes, the others on a path that starts at its last node.

    Parameters
    ----------
    nodes : int
        Number of nodes, at least 4.
    clique : int, optional
        Number of nodes of the clique, at least 3 and less than `nodes`. Default: floor((2n + 1)/3), from which a
        random walk takes longest to reach the end of the path.

    Raises
    ------
    InputError
        If `clique` is less than 3.
    GraphError
        If no node is left for the path.

    References
    ----------
    .. [1] G. Brightwell, P. Winkler, "Maximum hitting time for random walks on graphs", Random Structures and
       Algorithms 1(3), 1990.

    Examples
    --------
    >>> graph = lollipop_graph(6)
    >>> sorted(graph[3]), sorted(graph[5])
    ([0, 1, 2, 4], [4])
    """
    TOPOLOGIES["lollipop"].require(nodes, clique=clique)
    size = _clique(nodes, clique)
    return numbered(nx.lollipop_graph(size, nodes - size))


def _tree_promise(nodes: int, arity: int = 2) -> Promise:
    root = min(arity, nodes - 1)
    first_child = 1 + min(arity, nodes - 1 - root)  # its parent and its own children, which no node has more of
    return Promise(degree=max(root, first_child), exact=nodes == 2)


def _tree_edges(nodes: int, arity: int = 2) -> IntArray:
    child = np.arange(1, nodes)
    return np.stack(((child - 1) // arity, child), axis=1)


@topology(
    "tree",
    "static",
    summary="a complete tree: node i exchanges with its parent (i - 1) // arity and with its children",
    source="folklore",
    obstacle=no_tree,
    edges=_tree_edges,
    degree="arity + 1",
    exact="n = 2",
    promise=_tree_promise,
    ranked=False,
)
def tree_graph(nodes: int, arity: int = 2) -> Graph:
    """Build the complete tree, filled level by level: node i > 0 has the parent (i - 1) // arity.

    Parameters
    ----------
    nodes : int
        Number of nodes, at least 2.
    arity : int, default 2
        Number of children of every node, as long as there are nodes left; 1 is a path.

    Raises
    ------
    InputError
        If `arity` is less than 1.
    GraphError
        If there are fewer than 2 nodes.

    Examples
    --------
    >>> sorted(tree_graph(7)[1])
    [0, 3, 4]
    """
    TOPOLOGIES["tree"].require(nodes, arity=arity)
    return graph_of_edges(nodes, _tree_edges(nodes, arity))


@topology(
    "davis-women",
    "static",
    summary="18 women and the 14 events they attended: a small bipartite social network",
    source="Davis, Gardner, Gardner 1941; gossip on it: Vogels, Karimireddy, Jaggi 2020 (arXiv 2008.01425)",
    obstacle=_only(32),
    sizes="n = 32",
    degree="14",
    exact="never",
    promise=lambda nodes: Promise(degree=14, exact=False),
    ranked=False,
)
def davis_women_graph(nodes: int = 32) -> Graph:
    """Build the social network of Davis's southern women: 0 to 17 are the women, 18 to 31 the events.

    Parameters
    ----------
    nodes : int, default 32
        Number of nodes, 32.

    Raises
    ------
    GraphError
        For any other number of nodes.

    Notes
    -----
    The order is that of ``networkx.davis_southern_women_graph``. The events are numbered as in the study.

    References
    ----------
    .. [1] A. Davis, B. B. Gardner, M. R. Gardner, "Deep South", University of Chicago Press, 1941.
    .. [2] T. Vogels, S. P. Karimireddy, M. Jaggi, "Practical Low-Rank Communication Compression in Decentralized Deep
       Learning" (PowerGossip), NeurIPS 2020.

    Examples
    --------
    >>> davis_women_graph().number_of_edges()
    89
    """
    TOPOLOGIES["davis-women"].require(nodes)
    graph = nx.davis_southern_women_graph()
    return numbered(nx.relabel_nodes(graph, {name: i for i, name in enumerate(graph)}))


@topology(
    "karate-club",
    "static",
    summary="34 members of a karate club and their friendships: a small social network with two factions",
    source="Zachary 1977",
    obstacle=_only(34),
    sizes="n = 34",
    degree="17",
    exact="never",
    promise=lambda nodes: Promise(degree=17, exact=False),
    ranked=False,
)
def karate_club_graph(nodes: int = 34) -> Graph:
    """Build the friendships of Zachary's karate club, without their strengths.

    Parameters
    ----------
    nodes : int, default 34
        Number of nodes, 34.

    Raises
    ------
    GraphError
        For any other number of nodes.

    References
    ----------
    .. [1] W. W. Zachary, "An information flow model for conflict and fission in small groups", Journal of
       Anthropological Research 33(4), 1977.

    Examples
    --------
    >>> karate_club_graph().number_of_edges()
    78
    """
    TOPOLOGIES["karate-club"].require(nodes)
    return numbered(nx.karate_club_graph())
