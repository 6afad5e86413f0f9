"""Named static topologies, their nodes numbered 0 to n - 1.

Each is built as an array of edges, of which its builder makes a networkx graph and the registry a sparse matrix. An
edge u -> v of a directed graph says that u sends to v, so that ``W[v, u]`` is positive; an undirected edge is an
exchange. Each builder is registered, with the sizes at which it exists and the weighting that suits it.
"""

from __future__ import annotations

from math import isqrt

import numpy as np

from topokit.adjacency import graph_of_edges, sorted_edges
from topokit.errors import InputError
from topokit.matrix import Graph, IntArray
from topokit.registry import TOPOLOGIES, Promise, topology
from topokit.topologies.common import complete_edges, no_power_of_two

__all__ = [
    "complete_graph",
    "exponential_graph",
    "grid_graph",
    "hypercube_graph",
    "path_graph",
    "ring_graph",
    "star_graph",
    "torus_graph",
]


def _ring_edges(nodes: int) -> IntArray:
    own = np.arange(nodes if nodes > 2 else 1)
    return sorted_edges(nodes, own, (own + 1) % nodes)


@topology(
    "ring",
    "static",
    summary="each node exchanges with the next and the previous one",
    source="folklore",
    edges=_ring_edges,
    weights="uniform",
    degree="2",
    exact="n <= 3",
    promise=lambda nodes: Promise(degree=min(2, nodes - 1), exact=nodes <= 3),
)
def ring_graph(nodes: int) -> Graph:
    """Build the ring; of two nodes it is a single edge.

    Parameters
    ----------
    nodes : int
        Number of nodes, at least 2.

    Raises
    ------
    GraphError
        If there are fewer than 2 nodes.

    Notes
    -----
    With uniform weights 1/3 the spectral gap is (2/3)(1 - cos(2 pi/n)), about 13/n^2.

    Examples
    --------
    >>> sorted(ring_graph(4).edges)
    [(0, 1), (0, 3), (1, 2), (2, 3)]
    """
    TOPOLOGIES["ring"].require(nodes)
    return graph_of_edges(nodes, _ring_edges(nodes))


def _path_edges(nodes: int) -> IntArray:
    own = np.arange(nodes - 1)
    return np.stack((own, own + 1), axis=1)


@topology(
    "path",
    "static",
    summary="a line of nodes, each exchanging with its one or two neighbours",
    source="folklore",
    edges=_path_edges,
    degree="2",
    exact="n = 2",
    promise=lambda nodes: Promise(degree=min(2, nodes - 1), exact=nodes == 2),
    ranked=False,
)
def path_graph(nodes: int) -> Graph:
    """Build the path 0 - 1 - ... - (n - 1).

    Raises
    ------
    GraphError
        If there are fewer than 2 nodes.

    Examples
    --------
    >>> list(path_graph(3).edges)
    [(0, 1), (1, 2)]
    """
    TOPOLOGIES["path"].require(nodes)
    return graph_of_edges(nodes, _path_edges(nodes))


def _sides(nodes: int, rows: int | None, columns: int | None) -> tuple[int, int] | None:
    """Complete the sides of a rectangle; None where they do not multiply to the number of nodes."""
    for name, side in (("rows", rows), ("columns", columns)):
        if side is not None and side < 1:
            raise InputError(f"{name} must be at least 1, got {side}")
    if rows is None and columns is None:
        rows = next(r for r in range(isqrt(nodes), 0, -1) if nodes % r == 0)
    if rows is None:
        assert columns is not None
        rows = nodes // columns
    if columns is None:
        columns = nodes // rows
    return (rows, columns) if rows * columns == nodes else None


def _sides_wanted(rows: int | None, columns: int | None) -> str:
    if rows is not None and columns is not None:
        return f"of {rows} x {columns} needs {rows * columns} nodes"
    given, side = ("rows", rows) if rows is not None else ("columns", columns)
    return f"with {side} {given} needs a multiple of {side}"


def _rectangle_promise(nodes: int, rows: int | None = None, columns: int | None = None) -> Promise:
    sides = _sides(nodes, rows, columns)
    assert sides is not None
    return Promise(degree=sum(min(side - 1, 2) for side in sides), exact=nodes == 2)


def _no_grid(nodes: int, rows: int | None = None, columns: int | None = None) -> str | None:
    if nodes < 2:
        return "needs at least 2 nodes"
    return None if _sides(nodes, rows, columns) else _sides_wanted(rows, columns)


def _rectangle_edges(nodes: int, rows: int | None, columns: int | None, *, periodic: bool) -> IntArray:
    sides = _sides(nodes, rows, columns)
    assert sides is not None
    number = np.arange(nodes).reshape(sides)
    pairs = [(number[:-1], number[1:]), (number[:, :-1], number[:, 1:])]
    if periodic:
        # On a side of 2, the step back reaches the same node as the step forward.
        pairs += [(number[-1:], number[:1])] if sides[0] > 2 else []
        pairs += [(number[:, -1:], number[:, :1])] if sides[1] > 2 else []
    ends = (np.concatenate([end.ravel() for end in ends]) for ends in zip(*pairs, strict=True))
    return sorted_edges(nodes, *ends)


def _grid_edges(nodes: int, rows: int | None = None, columns: int | None = None) -> IntArray:
    return _rectangle_edges(nodes, rows, columns, periodic=False)


@topology(
    "grid",
    "static",
    summary="a 2-D mesh without wrap-around, as close to square as n allows",
    source="folklore",
    obstacle=_no_grid,
    edges=_grid_edges,
    degree="4",
    exact="n = 2",
    promise=_rectangle_promise,
)
def grid_graph(nodes: int, rows: int | None = None, columns: int | None = None) -> Graph:
    """Build the rows x columns grid; node number = row * columns + column.

    Parameters
    ----------
    nodes : int
        Number of nodes, at least 2.
    rows, columns : int, optional
        The sides. Default: the factors of `nodes` closest to each other, fewer rows than columns. For a prime number
        of nodes this is a path.

    Raises
    ------
    GraphError
        If the sides do not multiply to the number of nodes.

    Examples
    --------
    >>> sorted(grid_graph(6)[4])
    [1, 3, 5]
    """
    TOPOLOGIES["grid"].require(nodes, rows=rows, columns=columns)
    return graph_of_edges(nodes, _grid_edges(nodes, rows, columns))


def _no_torus(nodes: int, rows: int | None = None, columns: int | None = None) -> str | None:
    if nodes < 4:
        return "needs at least 4 nodes"
    sides = _sides(nodes, rows, columns)
    if sides is None:
        return _sides_wanted(rows, columns)
    if min(sides) < 2:
        return "needs two sides of at least 2 nodes (a single row is a ring)"
    return None


def _torus_edges(nodes: int, rows: int | None = None, columns: int | None = None) -> IntArray:
    return _rectangle_edges(nodes, rows, columns, periodic=True)


@topology(
    "torus",
    "static",
    summary="a 2-D grid whose rows and columns wrap around, as close to square as n allows",
    source="folklore",
    obstacle=_no_torus,
    edges=_torus_edges,
    weights="uniform",
    sizes="n >= 4, not prime",
    degree="4",
    exact="never",
    promise=_rectangle_promise,
)
def torus_graph(nodes: int, rows: int | None = None, columns: int | None = None) -> Graph:
    """Build the rows x columns torus; node number = row * columns + column.

    Parameters
    ----------
    nodes : int
        Number of nodes, at least 4 and not prime.
    rows, columns : int, optional
        The sides, at least 2. Default: the factors of `nodes` closest to each other, fewer rows than columns.

    Raises
    ------
    GraphError
        If the sides do not multiply to the number of nodes, or one of them is 1.

    Notes
    -----
    Where a side is 2, the step forward and the step back reach the same node: one edge, not two, so that the degree
    is 3 (2 x k) or 2 (2 x 2) instead of 4. The graph stays regular. With uniform weights 1/5 the spectral gap of the
    a x a torus is (2/5)(1 - cos(2 pi/a)) for a >= 3.

    Examples
    --------
    >>> sorted(torus_graph(12)[0])
    [1, 3, 4, 8]
    """
    TOPOLOGIES["torus"].require(nodes, rows=rows, columns=columns)
    return graph_of_edges(nodes, _torus_edges(nodes, rows, columns))


def _hypercube_edges(nodes: int) -> IntArray:
    own = np.arange(nodes)
    lower = [own[own & (1 << k) == 0] for k in range(nodes.bit_length() - 1)]
    return sorted_edges(nodes, np.concatenate(lower), np.concatenate([low | 1 << k for k, low in enumerate(lower)]))


@topology(
    "hypercube",
    "static",
    summary="nodes exchange with those whose number differs in one bit (n a power of two)",
    source="folklore",
    obstacle=no_power_of_two,
    edges=_hypercube_edges,
    weights="uniform",
    sizes="2^m",
    degree="log2 n",
    exact="n = 2",
    promise=lambda nodes: Promise(degree=nodes.bit_length() - 1, exact=nodes == 2),
)
def hypercube_graph(nodes: int) -> Graph:
    """Build the hypercube: i and j are neighbours if i XOR j is a power of two.

    Raises
    ------
    GraphError
        If the number of nodes is not a power of two.

    Notes
    -----
    With uniform weights 1/(1 + log2 n) the spectral gap is 2/(1 + log2 n).

    Examples
    --------
    >>> sorted(hypercube_graph(8)[5])
    [1, 4, 7]
    """
    TOPOLOGIES["hypercube"].require(nodes)
    return graph_of_edges(nodes, _hypercube_edges(nodes))


def _star_edges(nodes: int) -> IntArray:
    leaves = np.arange(1, nodes)
    return np.stack((np.zeros_like(leaves), leaves), axis=1)


@topology(
    "star",
    "static",
    summary="every node exchanges with node 0 only",
    source="folklore",
    edges=_star_edges,
    degree="n - 1",
    exact="n = 2",
    promise=lambda nodes: Promise(degree=nodes - 1, exact=nodes == 2),
)
def star_graph(nodes: int) -> Graph:
    """Build the star with node 0 at its centre.

    Raises
    ------
    GraphError
        If there are fewer than 2 nodes.

    Notes
    -----
    With Metropolis-Hastings weights the spectral gap is 1/n for n >= 3.

    Examples
    --------
    >>> list(star_graph(4).edges)
    [(0, 1), (0, 2), (0, 3)]
    """
    TOPOLOGIES["star"].require(nodes)
    return graph_of_edges(nodes, _star_edges(nodes))


@topology(
    "complete",
    "static",
    summary="every node exchanges with every other; exact after one round",
    source="folklore",
    edges=complete_edges,
    weights="uniform",
    degree="n - 1",
    exact="always",
    promise=lambda nodes: Promise(degree=nodes - 1, exact=True),
)
def complete_graph(nodes: int) -> Graph:
    """Build the complete graph, on which gossip is an all-reduce.

    Raises
    ------
    GraphError
        If there are fewer than 2 nodes.

    Examples
    --------
    >>> complete_graph(5).number_of_edges()
    10
    """
    TOPOLOGIES["complete"].require(nodes)
    return graph_of_edges(nodes, complete_edges(nodes))


def _exponential_edges(nodes: int) -> IntArray:
    own = np.arange(nodes)[:, None]
    offsets = 1 << np.arange((nodes - 1).bit_length())
    source = (own + offsets) % nodes
    return np.stack((source, np.broadcast_to(own, source.shape)), axis=2).reshape(-1, 2)


@topology(
    "exponential",
    "static",
    summary="node i receives from i + 1, i + 2, i + 4, ... (mod n)",
    source="Ying, Yuan, Chen, Hu, Pan, Yin 2021 (arXiv 2110.13363)",
    edges=_exponential_edges,
    weights="uniform",
    directed=True,
    degree="ceil(log2 n)",
    exact="n <= 3",
    promise=lambda nodes: Promise(degree=(nodes - 1).bit_length(), exact=nodes <= 3),
)
def exponential_graph(nodes: int) -> Graph:
    """Build the static exponential graph: i receives from i + 2^j (mod n), j = 0 ... ceil(log2 n) - 1.

    Raises
    ------
    GraphError
        If there are fewer than 2 nodes.

    Notes
    -----
    Every node also sends to ceil(log2 n) others, i - 2^j. With uniform weights 1/(1 + ceil(log2 n)) the spectral gap
    is 2/(1 + ceil(log2 n)) for even n and larger for odd n.

    References
    ----------
    .. [1] B. Ying, K. Yuan, Y. Chen, H. Hu, P. Pan, W. Yin, "Exponential Graph is Provably Efficient for
       Decentralized Deep Training", NeurIPS 2021.

    Examples
    --------
    >>> sorted(exponential_graph(6).predecessors(0))
    [1, 2, 4]
    """
    TOPOLOGIES["exponential"].require(nodes)
    return graph_of_edges(nodes, _exponential_edges(nodes), directed=True)
