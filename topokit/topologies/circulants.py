"""Circulant graphs: every node has its neighbours at the same distances, round a circle."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import gcd

import numpy as np

from topokit.adjacency import graph_of_edges
from topokit.errors import InputError
from topokit.matrix import Graph, IntArray
from topokit.registry import TOPOLOGIES, Promise, topology

__all__ = ["circulant_graph", "ring_lattice_graph"]


def _distances(nodes: int, offsets: Sequence[int], directed: bool) -> list[int]:
    """Give the distances 1 ... n - 1 at which a node has neighbours."""
    ahead = {offset % nodes for offset in offsets}
    return sorted(ahead if directed else ahead | {-offset % nodes for offset in ahead})


def _check_offsets(offsets: Sequence[int]) -> None:
    if not offsets:
        raise InputError("offsets must name at least one distance, for instance 1,3")
    for offset in offsets:
        try:
            whole = operator.index(offset)
        except TypeError:
            raise InputError(f"offsets must be whole numbers, got {offset!r}") from None
        if whole == 0:
            raise InputError("offset 0 is no distance: it would join every node to itself")


def _no_circulant(nodes: int, offsets: Sequence[int] | None = None, directed: bool = False) -> str | None:
    del directed
    if offsets is None:
        return "needs offsets, the distances of neighbours such as 1,3, besides the number of nodes"
    _check_offsets(offsets)
    if nodes < 2:
        return "needs at least 2 nodes"
    listed = ",".join(map(str, offsets))
    if any(offset % nodes == 0 for offset in offsets):
        return f"with offsets {listed} needs a number of nodes that divides none of them"
    if gcd(nodes, *offsets) > 1:
        return f"with offsets {listed} needs a number of nodes without a divisor common to all of them"
    return None


def _circulant_promise(nodes: int, offsets: Sequence[int] | None = None, directed: bool = False) -> Promise:
    degree = len(_distances(nodes, offsets or (), directed))
    return Promise(degree=degree, exact=degree == nodes - 1)


def _circulant_edges(nodes: int, offsets: Sequence[int] | None = None, directed: bool = False) -> IntArray:
    distances = np.array(_distances(nodes, offsets or (), directed))
    if not directed:
        distances = distances[2 * distances <= nodes]  # the others are the same edges, seen from the other end
    own = np.arange(nodes)
    edges = np.stack(((own + distances[:, None]) % nodes, np.broadcast_to(own, (distances.size, nodes))), axis=2)
    edges = edges.reshape(-1, 2)
    # Half way round the circle, each edge has come up from both ends.
    return edges if directed or 2 * distances[-1] < nodes else edges[: edges.shape[0] - nodes // 2]


@topology(
    "circulant",
    "static",
    summary="node i exchanges with i + s and i - s (mod n) for the offsets s that you give",
    source="folklore",
    obstacle=_no_circulant,
    edges=_circulant_edges,
    weights="uniform",
    sizes="gcd(n, offsets) = 1",
    degree="<= 2 offsets",
    exact="degree = n - 1",
    promise=_circulant_promise,
    instead=("ring-lattice",),
    ranked=False,
)
def circulant_graph(nodes: int, offsets: Sequence[int] | None = None, directed: bool = False) -> Graph:
    """Build the circulant graph with neighbours at given distances.

    Parameters
    ----------
    nodes : int
        Number of nodes, at least 2, without a divisor common to all offsets: else the graph is not connected.
    offsets : sequence of int
        Distances s, modulo n: node i receives from i + s, and unless the graph is directed from i - s too. Required.
    directed : bool, default False
        Whether node i only receives from i + s, and sends to i - s.

    Returns
    -------
    networkx.Graph or networkx.DiGraph

    Raises
    ------
    InputError
        If an offset is 0 or not a whole number.
    GraphError
        If there are no offsets, one is a multiple of the number of nodes, or the graph is not connected.

    Examples
    --------
    >>> sorted(circulant_graph(10, offsets=(1, 3))[0])
    [1, 3, 7, 9]
    >>> sorted(circulant_graph(10, offsets=(1, 3), directed=True).predecessors(0))
    [1, 3]
    """
    TOPOLOGIES["circulant"].require(nodes, offsets=offsets, directed=directed)
    return graph_of_edges(nodes, _circulant_edges(nodes, offsets, directed), directed=directed)


def _no_ring_lattice(nodes: int, degree: int = 4) -> str | None:
    if degree < 2 or degree % 2:
        raise InputError(f"degree must be even and at least 2, half to each side, got {degree}")
    return None if nodes > degree else f"of degree {degree} needs more than {degree} nodes"


def _ring_lattice_edges(nodes: int, degree: int = 4) -> IntArray:
    return _circulant_edges(nodes, range(1, degree // 2 + 1))


@topology(
    "ring-lattice",
    "static",
    summary="a ring on which each node exchanges with several nodes on both sides, not only with the next",
    source="Watts, Strogatz 1998 (their graph before rewiring)",
    obstacle=_no_ring_lattice,
    edges=_ring_lattice_edges,
    weights="uniform",
    sizes="n > degree",
    degree="degree",
    exact="n = degree + 1",
    promise=lambda nodes, degree=4: Promise(degree=degree, exact=degree == nodes - 1),
    instead=("complete",),
    ranked=False,
)
def ring_lattice_graph(nodes: int, degree: int = 4) -> Graph:
    """Build the regular ring lattice: each node is joined to the degree/2 nearest on both sides.

    Parameters
    ----------
    nodes : int
        Number of nodes, more than `degree`.
    degree : int, default 4
        Number of neighbours of every node, even.

    Raises
    ------
    InputError
        If `degree` is odd or less than 2.
    GraphError
        If there are too few nodes.

    Notes
    -----
    With uniform weights the eigenvalues are sin(pi k (d + 1)/n) / ((d + 1) sin(pi k/n)) for k = 1 ... n - 1: the
    spectral gap shrinks with n as that of a ring, about pi^2 d (d + 2)/(6 n^2).

    Examples
    --------
    >>> sorted(ring_lattice_graph(10)[0])
    [1, 2, 8, 9]
    """
    TOPOLOGIES["ring-lattice"].require(nodes, degree=degree)
    return graph_of_edges(nodes, _ring_lattice_edges(nodes, degree))
