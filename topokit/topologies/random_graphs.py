"""Static graphs drawn at random, once: the file keeps the graph, the seed tells how to draw it again.

Each is drawn until it is connected, a bounded number of times. Up to 10,000 nodes, random regular and Erdos-Renyi
graphs are those that networkx draws from the seed; beyond, those of `topokit.topologies.random_edges`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, pi, sqrt

import networkx as nx
import numpy as np

from topokit.adjacency import adjacency_of_edges, graph_of_edges, sorted_edges
from topokit.errors import GraphError, InputError
from topokit.matrix import Graph, IntArray
from topokit.registry import TOPOLOGIES, Promise, topology
from topokit.topologies.common import complete_edges
from topokit.topologies.random_edges import binomial_edges, geometric_edges, regular_edges

__all__ = ["erdos_renyi_graph", "half_random_graph", "random_geometric_graph", "random_regular_graph"]

MAX_DRAWS = 200  # of a random graph, until one is connected
NETWORKX_NODES = 10_000  # up to which graphs are those that networkx draws from a seed: it takes minutes for a million

Seed = int | np.random.Generator


def _first_connected(
    draw: Callable[[np.random.Generator], IntArray], seed: Seed, nodes: int, what: str, remedy: str
) -> IntArray:
    from scipy.sparse.csgraph import connected_components

    rng = np.random.default_rng(seed)
    for _ in range(MAX_DRAWS):
        edges = draw(rng)
        pieces, _ = connected_components(adjacency_of_edges(nodes, edges), directed=False)
        if pieces == 1:
            return edges
    raise GraphError(f"none of {MAX_DRAWS} random graphs of {nodes} nodes with {what} was connected{remedy}")


def _sorted(graph: Graph) -> IntArray:
    edges = np.array(graph.edges, dtype=np.int64).reshape(-1, 2)
    return sorted_edges(graph.number_of_nodes(), edges[:, 0], edges[:, 1])


def _no_regular(nodes: int, degree: int = 4, seed: Seed = 0) -> str | None:
    del seed
    if degree < 1:
        raise InputError(f"degree must be at least 1, got {degree}")
    if nodes <= degree:
        return f"of degree {degree} needs more than {degree} nodes"
    if nodes * degree % 2:
        return f"of odd degree {degree} needs an even number of nodes"
    return "of degree 1 is connected for 2 nodes only" if degree == 1 and nodes > 2 else None


def _regular_promise(nodes: int, degree: int = 4, seed: Seed = 0) -> Promise:
    del seed
    return Promise(degree=degree, exact=degree == nodes - 1)


def _random_regular_edges(nodes: int, degree: int = 4, seed: Seed = 0) -> IntArray:
    def draw(rng: np.random.Generator) -> IntArray:
        if nodes <= NETWORKX_NODES or 4 * degree > nodes:
            return _sorted(nx.random_regular_graph(degree, nodes, seed=rng))
        if degree == 2:  # the connected ones are the rings through all nodes
            ring = rng.permutation(nodes)
            return sorted_edges(nodes, ring, np.roll(ring, 1))
        return regular_edges(nodes, degree, rng)

    remedy = ": degree 3 or more nearly always is, and the connected graph of degree 2 is the topology ring"
    return _first_connected(draw, seed, nodes, f"degree {degree}", remedy)


@topology(
    "random-regular",
    "static",
    summary="a connected graph drawn at random among those in which every node has the same degree",
    source="Kim, Vu 2003 (generator); Friedman 2008 (its gap is near the best a regular graph can have)",
    obstacle=_no_regular,
    edges=_random_regular_edges,
    weights="uniform",
    sizes="n > degree, n degree even",
    degree="degree",
    exact="n = degree + 1",
    promise=_regular_promise,
)
def random_regular_graph(nodes: int, degree: int = 4, seed: Seed = 0) -> Graph:
    """Draw a random regular graph, again until it is connected.

    Parameters
    ----------
    nodes : int
        Number of nodes, more than `degree`; nodes * degree must be even.
    degree : int, default 4
        Number of neighbours of every node.
    seed : int or numpy.random.Generator, default 0
        Source of randomness.

    Raises
    ------
    GraphError
        If no such graph exists, or no connected one was found (only likely at degree 2, where a draw is mostly
        several cycles).

    Notes
    -----
    Up to 10,000 nodes, and for degrees above a quarter of them, the graph is that of ``networkx.random_regular_graph``;
    beyond, it is drawn by `topokit.topologies.random_edges.regular_edges`, a million nodes in seconds.

    Examples
    --------
    >>> set(dict(random_regular_graph(10, degree=3).degree).values())
    {3}
    """
    TOPOLOGIES["random-regular"].require(nodes, degree=degree)
    return graph_of_edges(nodes, _random_regular_edges(nodes, degree, seed))


def _no_erdos_renyi(nodes: int, probability: float | None = None, seed: Seed = 0) -> str | None:
    del seed
    if probability is not None and not 0 < probability <= 1:
        raise InputError(f"probability must be above 0 and at most 1, got {probability}")
    return None if nodes >= 2 else "needs at least 2 nodes"


def _erdos_renyi_promise(nodes: int, probability: float | None = None, seed: Seed = 0) -> Promise:
    del seed
    return Promise(degree=nodes - 1, exact=True if probability == 1 or nodes == 2 else None)


def _erdos_renyi_edges(nodes: int, probability: float | None = None, seed: Seed = 0) -> IntArray:
    p = min(1.0, 2 * log(nodes) / nodes) if probability is None else probability

    def draw(rng: np.random.Generator) -> IntArray:
        if p == 1:
            return complete_edges(nodes)
        if nodes <= NETWORKX_NODES:
            return _sorted(nx.fast_gnp_random_graph(nodes, p, seed=rng))
        return binomial_edges(nodes, p, rng)

    remedy = f"; above ln(n)/n = {log(nodes) / nodes:.4g} most are"
    return _first_connected(draw, seed, nodes, f"edge probability {p:.4g}", remedy)


@topology(
    "erdos-renyi",
    "static",
    summary="every pair of nodes is an edge with the same probability, drawn until connected",
    source="Gilbert 1959; Erdos, Renyi 1959",
    obstacle=_no_erdos_renyi,
    edges=_erdos_renyi_edges,
    degree="about (n - 1) probability",
    exact="n = 2",
    promise=_erdos_renyi_promise,
)
def erdos_renyi_graph(nodes: int, probability: float | None = None, seed: Seed = 0) -> Graph:
    """Draw an Erdos-Renyi graph G(n, p), again until it is connected.

    Parameters
    ----------
    nodes : int
        Number of nodes, at least 2.
    probability : float, optional
        Probability of each edge. Default: min(1, 2 ln(n)/n), twice the threshold of connectivity.
    seed : int or numpy.random.Generator, default 0
        Source of randomness.

    Raises
    ------
    GraphError
        If no connected graph was found in a bounded number of draws.

    Notes
    -----
    Up to 10,000 nodes the graph is that of ``networkx.fast_gnp_random_graph``; beyond, it is drawn in the same way by
    `topokit.topologies.random_edges.binomial_edges`.

    Examples
    --------
    >>> nx.is_connected(erdos_renyi_graph(20, seed=1))
    True
    """
    TOPOLOGIES["erdos-renyi"].require(nodes, probability=probability)
    return graph_of_edges(nodes, _erdos_renyi_edges(nodes, probability, seed))


def _half_random_promise(nodes: int, seed: Seed = 0) -> Promise:
    del seed
    return Promise(degree=nodes - 1, exact=True if nodes == 2 else None)


def _half_random_edges(nodes: int, seed: Seed = 0) -> IntArray:
    return _erdos_renyi_edges(nodes, 0.5, seed)


@topology(
    "half-random",
    "static",
    summary="every pair of nodes is an edge with probability 1/2, drawn until connected: dense, and mixes fast",
    source="Ying, Yuan, Chen, Hu, Pan, Yin 2021 (arXiv 2110.13363)",
    edges=_half_random_edges,
    degree="about n/2",
    exact="n = 2",
    promise=_half_random_promise,
    ranked=False,
)
def half_random_graph(nodes: int, seed: Seed = 0) -> Graph:
    """Draw a graph in which half of all pairs exchange, again until it is connected.

    The topology ``erdos-renyi`` with probability 1/2, under the name that comparisons of topologies give it.

    Parameters
    ----------
    nodes : int
        Number of nodes, at least 2.
    seed : int or numpy.random.Generator, default 0
        Source of randomness.

    Raises
    ------
    GraphError
        If there are fewer than 2 nodes.

    References
    ----------
    .. [1] B. Ying, K. Yuan, Y. Chen, H. Hu, P. Pan, W. Yin, "Exponential Graph is Provably Efficient for
       Decentralized Deep Training", NeurIPS 2021.

    Examples
    --------
    >>> graph = half_random_graph(40)
    >>> 300 < graph.number_of_edges() < 480
    True
    """
    TOPOLOGIES["half-random"].require(nodes)
    return graph_of_edges(nodes, _half_random_edges(nodes, seed))


def _no_geometric(nodes: int, radius: float | None = None, seed: Seed = 0) -> str | None:
    del seed
    if radius is not None and not radius > 0:
        raise InputError(f"radius must be above 0, got {radius}")
    return None if nodes >= 2 else "needs at least 2 nodes"


def _geometric_promise(nodes: int, radius: float | None = None, seed: Seed = 0) -> Promise:
    del seed
    everyone = radius is not None and radius > sqrt(2)  # the diagonal of the square
    return Promise(degree=nodes - 1, exact=True if everyone or nodes == 2 else None)


def _random_geometric_edges(nodes: int, radius: float | None = None, seed: Seed = 0) -> IntArray:
    r = sqrt(2 * log(nodes) / (pi * nodes)) if radius is None else radius
    threshold = sqrt(log(nodes) / (pi * nodes))
    remedy = f"; well above sqrt(ln(n)/(pi n)) = {threshold:.4g} most are"
    return _first_connected(lambda rng: geometric_edges(nodes, r, rng), seed, nodes, f"radius {r:.4g}", remedy)


@topology(
    "random-geometric",
    "static",
    summary="nodes at random places of a square, each exchanging with those near it; drawn until connected",
    source="Gupta, Kumar 1998 (radius); Boyd, Ghosh, Prabhakar, Shah 2006 (gossip on it)",
    obstacle=_no_geometric,
    edges=_random_geometric_edges,
    degree="about 2 ln n",
    exact="n = 2",
    promise=_geometric_promise,
    ranked=False,
)
def random_geometric_graph(nodes: int, radius: float | None = None, seed: Seed = 0) -> Graph:
    """Draw a random geometric graph, the usual model of a wireless network, again until it is connected.

    Nodes are placed in the unit square independently and uniformly; those at most `radius` apart are neighbours.

    Parameters
    ----------
    nodes : int
        Number of nodes, at least 2.
    radius : float, optional
        Distance up to which nodes are neighbours. Default: sqrt(2 ln(n)/(pi n)), at which a node far from the border
        has 2 ln n neighbours on average: twice the threshold of connectivity.
    seed : int or numpy.random.Generator, default 0
        Source of randomness.

    Raises
    ------
    GraphError
        If no connected graph was found in a bounded number of draws.

    References
    ----------
    .. [1] P. Gupta, P. R. Kumar, "Critical power for asymptotic connectivity in wireless networks", Stochastic
       Analysis, Control, Optimization and Applications, 1998.
    .. [2] S. Boyd, A. Ghosh, B. Prabhakar, D. Shah, "Randomized gossip algorithms", IEEE Transactions on Information
       Theory 52(6), 2006.

    Examples
    --------
    >>> nx.is_connected(random_geometric_graph(50, seed=1))
    True
    """
    TOPOLOGIES["random-geometric"].require(nodes, radius=radius)
    return graph_of_edges(nodes, _random_geometric_edges(nodes, radius, seed))
